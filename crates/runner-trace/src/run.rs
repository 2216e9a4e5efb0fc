//! The tool: lines in, deliveries, `done` lines out, and what each kind of ending means.

use std::sync::Arc;

use runner_cli::exit::{Exit, Fail};
use runner_cli::signals::Signals;
use runner_cli::state::Leftover;
use runner_cli::stdin::{Ending, Lines};
use runner_cli::stdout::Output;
use runner_core::event::{Hello, JobKey, State};
use runner_core::line::{encode, encode_end};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::Cli;
use crate::error::Error;
use crate::intake::{Action, Intake, NewJob};
use crate::shared::Shared;
use crate::upload::{Delivery, Outcome};
use crate::writer::{Append, Writer};

/// Name of the tool.
pub(crate) const TOOL: &str = "runner-trace";

/// Runs until all that was read is delivered, or there is a reason to stop before.
///
/// QUIT changes nothing here: the pipe drains from its head, and this tool ends when its input does.
pub(crate) async fn run(args: Cli, signals: Signals) -> anyhow::Result<Exit> {
    let shared = Arc::new(Shared::new(args.state.open(TOOL)?));
    let (journals, failure) = Writer::start()?;
    let output = Output::stdout()?;
    let trace = Trace {
        intake: Intake::default(),
        deliveries: JoinSet::new(),
        input_ended: CancellationToken::new(),
        journals,
        shared,
        output: output.clone(),
        failed: false,
    };
    // whatever the pipe waits for, it can be left at once: nothing is kept but in the journals
    tokio::select! {
        biased;
        () = signals.stop.cancelled() => Ok(signals.stopped()),
        () = output.closed() => Ok(Exit::NeighbourLost),
        Ok(err) = failure => Err(err).exit(Exit::Io),
        exit = trace.run() => match exit? {
            Exit::JobFailed if args.ignore_job_result => Ok(Exit::Done),
            exit => Ok(exit),
        },
    }
}

struct Trace {
    intake: Intake,
    /// One task per job.
    deliveries: JoinSet<(JobKey, Result<Outcome, Error>)>,
    /// Told to the deliveries once all that was read is in the journals.
    input_ended: CancellationToken,
    journals: Writer,
    shared: Arc<Shared>,
    output: Output,
    /// Whether some job did not succeed.
    failed: bool,
}

impl Trace {
    /// From `hello` to `end`.
    async fn run(mut self) -> anyhow::Result<Exit> {
        self.output.write(encode(&Hello::resumable(TOOL))).await.exit(Exit::NeighbourLost)?;
        self.take_up().exit(Exit::Io)?;
        let mut lines = Lines::stdin()?;
        let mut queued: Option<Append> = None;
        let mut reading = true;
        while reading || queued.is_some() || !self.deliveries.is_empty() {
            let waiting = queued.as_ref().map_or(0, |append| append.line.len());
            tokio::select! {
                biased;
                Some(ended) = self.deliveries.join_next() => self.ended(ended?).await?,
                room = self.journals.room(waiting), if queued.is_some() => {
                    // one line at a time: while the disk is slow or full the input waits, and nothing else does
                    if let Some(append) = queued.take() {
                        self.journals.append(append, room);
                    }
                }
                received = lines.next(), if reading && queued.is_none() => match received {
                    Some(received) => queued = self.received(received).await?,
                    None => {
                        reading = false;
                        match lines.ending() {
                            Ending::Complete => {}
                            Ending::Lost => return Ok(Exit::NeighbourLost),
                            Ending::Failed(why) => {
                                return Err(anyhow::anyhow!("reading standard input: {why}")).exit(Exit::Io);
                            }
                        }
                        // the deliveries may end once all that was read is in the journals
                        self.journals.flush().await;
                        self.input_ended.cancel();
                    }
                },
            }
        }
        self.output.write(encode_end()).await.exit(Exit::NeighbourLost)?;
        self.output.flush().await.exit(Exit::NeighbourLost)?;
        Ok(if self.failed { Exit::JobFailed } else { Exit::Done })
    }

    /// Continues the jobs that have a journal.
    fn take_up(&mut self) -> anyhow::Result<()> {
        self.shared.state.sweep(Leftover::Gone)?;
        for folder in self.shared.state.jobs()? {
            if folder.journal_path().exists()
                && let Some(job) = self.intake.found(folder)?
            {
                self.deliver(job);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, NewJob { key, journal, folder }: NewJob) {
        let ended = self.input_ended.clone();
        let delivery = Delivery::new(key.clone(), journal, folder, Arc::clone(&self.shared), ended);
        self.deliveries.spawn(async move { (key, delivery.run().await) });
    }

    /// Sorts a line in; returns what is to be written to a journal.
    async fn received(&mut self, received: runner_cli::stdin::Received) -> anyhow::Result<Option<Append>> {
        match self.intake.take(received, &self.shared.state).exit(Exit::Io)? {
            Action::None => Ok(None),
            Action::PassOn(line) => {
                self.output.write((line + "\n").into_bytes()).await.exit(Exit::NeighbourLost)?;
                Ok(None)
            }
            Action::Append(line, new) => {
                if let Some(job) = new {
                    self.deliver(job);
                }
                Ok(Some(line))
            }
        }
    }

    /// A delivery has ended: frees the job's slot, then says so.
    async fn ended(&mut self, (key, outcome): (JobKey, Result<Outcome, Error>)) -> anyhow::Result<()> {
        match outcome.exit(Exit::Io)? {
            Outcome::Done(done) => {
                self.failed |= done.state != State::Success || !done.accepted;
                if let Err(err) = self.shared.state.remove_job(&key) {
                    tracing::error!("job {key}: {err}");
                }
                self.output.write(encode(&done)).await.exit(Exit::NeighbourLost)?;
            }
            Outcome::Unfinished if self.intake.was_seen(&key) => {
                self.failed = true;
                tracing::error!("job {key}: the input ended before its result and all of its log");
            }
            Outcome::Unfinished => {}
        }
        self.intake.forget(&key);
        Ok(())
    }
}

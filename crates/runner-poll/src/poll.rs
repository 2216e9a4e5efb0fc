//! The loop: what wakes it, and what it then does.

mod asking;
mod taking;

use std::sync::Arc;
use std::time::Duration;

use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::signals::Signals;
use runner_cli::stdout::Closed;
use runner_cli::watch::Watch;
use runner_core::event::JobKey;
use runner_core::line;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::asking::Asked;
use self::taking::Storing;
use crate::configuration::{Configuration, Reread};
use crate::metrics::{Counters, Metrics, RunnerNow};
use crate::monitor::Pages;
use crate::renewal;
use crate::round::Round;
use crate::slots::Slots;
use crate::source::Source;
use crate::take::{Taken, Taker};
use crate::turn::Turn;

/// How long a request may still bring a job after QUIT.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// How long a stop waits for answers under way, which may bring a job.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long a stop waits for the disk: a job that was given and not stored is lost for an hour.
const STORE: Duration = Duration::from_secs(10);
/// When to look again at a state directory that cannot take jobs; nothing tells when a disk has room.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The loop's state.
pub(crate) struct Poll {
    configuration: Configuration,
    /// This machine's id.
    system_id: String,
    round: Round,
    slots: Slots,
    taker: Taker,
    signals: Signals,
    /// Requests under way; they hold slots.
    asking: JoinSet<Asked>,
    /// Jobs on their way into the state directory.
    storing: JoinSet<Storing>,
    /// Jobs on their way from there to the line.
    taking: JoinSet<(JobKey, Taken)>,
    /// The one token that is being renewed.
    renewing: JoinSet<(Arc<Source>, anyhow::Result<()>)>,
    counters: Counters,
    /// Who asks for the metrics.
    pages: Pages,
    jobs: Watch,
    /// The folders of the jobs have changed since they were looked at.
    stale: bool,
    /// What is wrong with the state directory, once that was told.
    trouble: Option<String>,
    /// No job is taken before, because the state directory refused one.
    not_before: Instant,
    once: bool,
}

impl Poll {
    pub(crate) fn new(
        configuration: Configuration,
        system_id: String,
        taker: Taker,
        pages: Pages,
        jobs: Watch,
        signals: Signals,
        once: bool,
    ) -> Self {
        let now = Instant::now();
        let mut round = Round::default();
        round.replace(&configuration.sources, configuration.check_interval, now);
        Self {
            round,
            configuration,
            system_id,
            slots: Slots::default(),
            taker,
            signals,
            asking: JoinSet::new(),
            storing: JoinSet::new(),
            taking: JoinSet::new(),
            renewing: JoinSet::new(),
            counters: Counters::new(),
            pages,
            jobs,
            stale: true,
            trouble: None,
            not_before: now,
            once,
        }
    }

    /// Asks and prints until a signal, the reader's end, or the one job of `--once`.
    pub(crate) async fn run(&mut self) -> anyhow::Result<Exit> {
        loop {
            self.renew();
            let wake = self.ask_all();
            tokio::select! {
                biased;
                () = self.signals.stop.cancelled() => {
                    self.secure().await;
                    return Ok(self.signals.stopped());
                }
                () = self.taker.output.closed() => {
                    self.secure().await;
                    return Err(failure(Exit::NeighbourLost, Closed));
                }
                Some(taken) = self.taking.join_next() => {
                    let (key, taken) = taken?;
                    if self.settle(&key, taken)? && self.once {
                        return self.end().await;
                    }
                }
                Some(stored) = self.storing.join_next() => self.stored(stored?)?,
                Some(asked) = self.asking.join_next() => self.heard(asked?),
                Some(renewed) = self.renewing.join_next() => self.renewed(renewed?),
                () = self.signals.drain.cancelled() => return self.drain().await,
                Some(page) = self.pages.recv() => self.show(page),
                () = self.jobs.changed() => self.stale = true,
                () = self.signals.reload.notified() => self.reload(true),
                () = self.configuration.changed() => self.reload(false),
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Begins to renew the token that is due.
    fn renew(&mut self) {
        if self.renewing.is_empty()
            && let Some(source) = self.round.begin_renewal(Instant::now())
        {
            let path = self.configuration.path().to_owned();
            self.renewing.spawn(async move { (Arc::clone(&source), renewal::renew(path, source).await) });
        }
    }

    fn renewed(&mut self, (source, renewed): (Arc<Source>, anyhow::Result<()>)) {
        let next = renewed.is_err().then(|| Instant::now() + renewal::AGAIN);
        if let Err(err) = renewed {
            tracing::error!("runner `{}`: its token cannot be renewed: {err:#}", source.title());
        }
        self.round.renewed(&source.runner, next);
        self.reload(false); // the new token stands in the file
    }

    fn reload(&mut self, forced: bool) {
        match self.configuration.reload(forced) {
            Reread::Same => {}
            Reread::Unusable => self.counters.failed_loads += 1,
            Reread::New => {
                self.counters.loads += 1;
                self.round.replace(&self.configuration.sources, self.configuration.check_interval, Instant::now());
            }
        }
    }

    /// Answers who asks for the metrics.
    fn show(&self, page: oneshot::Sender<String>) {
        let now = |turn: &Turn| RunnerNow {
            identity: turn.source.identity(),
            jobs: self.slots.used_by(&turn.source.id()),
            limit: turn.source.runner.limit,
            most_requests: turn.most(),
            allowed_requests: turn.parallel(),
            requests: turn.in_flight,
        };
        let metrics = Metrics {
            system_id: &self.system_id,
            concurrent: self.configuration.concurrent,
            is_draining: self.signals.drain.is_cancelled(),
            runners: self.round.turns().map(now).collect(),
            counters: &self.counters,
        };
        // Whoever asked may have given up.
        let _ = page.send(metrics.render());
    }

    /// Waits for the requests under way and for the jobs they bring, then ends.
    async fn drain(&mut self) -> anyhow::Result<Exit> {
        tracing::info!("no more jobs are taken");
        let deadline = Instant::now() + LAST_ANSWER;
        while !(self.asking.is_empty() && self.storing.is_empty() && self.taking.is_empty()) {
            tokio::select! {
                biased;
                () = self.signals.stop.cancelled() => {
                    self.secure().await;
                    return Ok(self.signals.stopped());
                }
                () = self.taker.output.closed() => {
                    self.secure().await;
                    return Err(failure(Exit::NeighbourLost, Closed));
                }
                Some(taken) = self.taking.join_next() => {
                    let (key, taken) = taken?;
                    self.settle(&key, taken)?;
                }
                Some(stored) = self.storing.join_next() => self.stored(stored?)?,
                Some(asked) = self.asking.join_next() => self.heard(asked?),
                Some(page) = self.pages.recv() => self.show(page),
                () = tokio::time::sleep_until(deadline), if !self.asking.is_empty() => self.asking = JoinSet::new(),
            }
        }
        self.end().await
    }

    async fn end(&mut self) -> anyhow::Result<Exit> {
        let output = &self.taker.output;
        output.write(line::encode_end()).await.exit(Exit::NeighbourLost)?;
        output.flush().await.exit(Exit::NeighbourLost)?;
        Ok(Exit::Done)
    }
}

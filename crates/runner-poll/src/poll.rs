//! The loop: who may ask, what came back, when to look again.

use std::sync::Arc;
use std::time::Duration;

use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::signals::Signals;
use runner_cli::stdout::Closed;
use runner_cli::watch::Watch;
use runner_core::duration::GoDuration;
use runner_core::event::JobKey;
use runner_core::job::RunnerRef;
use runner_core::line;
use runner_gitlab::{Error, JobReply};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::configuration::Configuration;
use crate::renewal;
use crate::round::Round;
use crate::slots::Slots;
use crate::source::Source;
use crate::space;
use crate::take::{Stored, Taken, Taker, job_line, refuse};
use crate::turn::{Change, Heard, Turn};

/// How long a request may still bring a job after QUIT.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// How long a stop waits for what GitLab has given or is about to give: a job that is not stored is lost for an hour.
const SECURE: Duration = Duration::from_secs(1);
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
    jobs: Watch,
    /// What is wrong with the state directory, once that was told.
    trouble: Option<String>,
    /// No job is taken before, because the state directory refused one.
    not_before: Instant,
    once: bool,
}

/// A request that has been answered.
struct Asked {
    source: Arc<Source>,
    at: Instant,
    answer: Result<JobReply, Error>,
}

/// A job that has been stored, or has not.
struct Storing {
    source: Arc<Source>,
    key: JobKey,
    job: Result<Stored, Taken>,
}

impl Poll {
    pub(crate) fn new(
        configuration: Configuration,
        system_id: String,
        taker: Taker,
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
            jobs,
            trouble: None,
            not_before: now,
            once,
        }
    }

    /// Prints the jobs of the state directory again.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<()> {
        let signals = self.signals.clone();
        let mut resumed = JoinSet::new();
        for dir in self.taker.state.jobs().exit(Exit::Io)? {
            let taker = self.taker.clone();
            resumed.spawn(async move { taker.resume(&dir).await });
        }
        tokio::select! {
            () = signals.stop.cancelled() => {}
            taken = resumed.join_all() => {
                let printed = taken.iter().filter(|taken| matches!(taken, Taken::Printed)).count();
                if printed > 0 {
                    tracing::info!("{printed} unfinished jobs go on");
                }
            }
        }
        Ok(())
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
                () = self.jobs.changed() => {}
                () = self.signals.reload.notified() => self.reload(true),
                () = self.configuration.changed() => self.reload(false),
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Sends a request for every runner that is due, as far as slots are free. Returns when the next one is due.
    fn ask_all(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if let Err(err) = self.look() {
            if self.trouble.as_ref() != Some(&err) {
                tracing::error!("{err}; no jobs are taken");
                self.trouble = Some(err);
            }
            return Some(now + LOOK_AGAIN);
        }
        if self.trouble.take().is_some() {
            tracing::info!("the state directory can be used again");
        }
        if self.not_before > now {
            return Some(self.not_before);
        }
        while let Some(index) = self.round.next(now, |turn| self.has_slot(turn)) {
            self.ask(index, now);
        }
        self.round.wake(now, |turn| self.has_slot(turn))
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

    fn look(&mut self) -> Result<(), String> {
        let state = &self.taker.state;
        self.slots.refresh(state).map_err(|err| err.to_string())?;
        space::check(state.jobs_path()).map_err(|err| format!("{}: {err}", state.jobs_path().display()))
    }

    /// Whether one more job would fit. Each request under way may bring one.
    fn has_slot(&self, turn: &Turn) -> bool {
        let limit = turn.source.runner.limit as usize;
        let mine = self.slots.used_by(&turn.source.id()) + turn.in_flight as usize;
        self.free_slots() > 0 && (limit == 0 || mine < limit)
    }

    fn free_slots(&self) -> usize {
        let most = match self.once {
            true if self.taking.is_empty() && self.storing.is_empty() => {
                self.configuration.concurrent.min(self.slots.used() + 1)
            }
            true => 0,
            false => self.configuration.concurrent,
        };
        most.saturating_sub(self.slots.used() + self.asking.len())
    }

    fn ask(&mut self, index: usize, at: Instant) {
        let spare = self.free_slots().saturating_sub(1);
        let (source, last_update) = self.round.ask(index, at, self.configuration.check_interval, spare);
        let system_id = self.system_id.clone();
        self.asking.spawn(async move {
            let answer = source.ask(&system_id, last_update.as_deref()).await;
            Asked { source, at, answer }
        });
    }

    fn heard(&mut self, Asked { source, at, answer }: Asked) {
        // A runner that was taken out of the configuration has no turn any more; its job is run all the same.
        if let Some(turn) = self.round.turn_of(&source) {
            turn.in_flight = turn.in_flight.saturating_sub(1);
            let change = turn.hear(Heard::from(&answer), at, Instant::now(), self.configuration.check_interval);
            tell(&source, change, answer.as_ref().err());
        }
        if let Ok(JobReply::Job { id, payload, correlation_id }) = answer {
            self.take(source, id, payload, correlation_id);
        }
    }

    fn take(
        &mut self,
        source: Arc<Source>,
        id: u64,
        payload: Box<serde_json::value::RawValue>,
        correlation_id: String,
    ) {
        let runner = &source.runner;
        let mut job = job_line(
            id,
            RunnerRef {
                name: runner.name.clone(),
                url: runner.url.clone(),
                short_token: runner.short_token().to_owned(),
                system_id: self.system_id.clone(),
                id: (runner.id > 0).then_some(runner.id),
                tls: runner.tls(),
                concurrent_id: 0,
                concurrent_project_id: 0,
                correlation_id,
                config: runner.to_line_config(),
            },
            payload,
        );
        let key = job.key();
        let numbers = self.slots.claim(&key, source.id(), project_of(job.payload.get()));
        let taker = self.taker.clone();
        self.storing.spawn(async move {
            let Some(numbers) = numbers else {
                refuse(&source.client, &source.info, &job, "an earlier run of this job is not finished here").await;
                return Storing { source, key, job: Err(Taken::Dropped) };
            };
            job.runner.concurrent_id = numbers.concurrent;
            job.runner.concurrent_project_id = numbers.project;
            tracing::info!("job {id} of {} for runner `{}`", source.client.host(), source.title());
            let job = taker.store(&source.client, &source.info, job).await;
            Storing { source, key, job }
        });
    }

    fn stored(&mut self, Storing { source, key, job }: Storing) -> anyhow::Result<()> {
        match job {
            Ok(job) => {
                let taker = self.taker.clone();
                self.taking.spawn(async move { (key, taker.begin(&source.client, &source.info, job).await) });
            }
            Err(taken) => drop(self.settle(&key, taken)?),
        }
        Ok(())
    }

    /// Stores what GitLab has given, for the next start.
    async fn secure(&mut self) {
        let secured = async {
            while !(self.asking.is_empty() && self.storing.is_empty()) {
                tokio::select! {
                    Some(_stored) = self.storing.join_next() => {}
                    // A failed request brought no job.
                    Some(Ok(asked)) = self.asking.join_next() => self.heard(asked),
                    else => {}
                }
            }
        };
        if tokio::time::timeout(SECURE, secured).await.is_err() {
            tracing::debug!("a request for a job was cut short");
        }
    }

    /// Returns whether the job was printed.
    fn settle(&mut self, key: &JobKey, taken: Taken) -> anyhow::Result<bool> {
        self.slots.settle(key);
        match taken {
            Taken::Printed => Ok(true),
            Taken::Dropped => Ok(false),
            Taken::NoRoom(err) => {
                tracing::error!("{err}; no jobs are taken for {} s", LOOK_AGAIN.as_secs());
                self.not_before = Instant::now() + LOOK_AGAIN;
                Ok(false)
            }
            Taken::Closed => Err(failure(Exit::NeighbourLost, Closed)),
        }
    }

    fn reload(&mut self, forced: bool) {
        if self.configuration.reload(forced) {
            self.round.replace(&self.configuration.sources, self.configuration.check_interval, Instant::now());
        }
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

/// One line for each change, none for each failure.
fn tell(source: &Source, change: Option<Change>, err: Option<&Error>) {
    let title = source.title();
    let why = err.map(ToString::to_string).unwrap_or_default();
    match change {
        Some(Change::Fails(pause)) => {
            tracing::warn!("runner `{title}`: {why}; asking again in {}", GoDuration::from(pause))
        }
        Some(Change::Rests(rest)) => {
            tracing::error!("runner `{title}`: {why}; it is not asked for {}", GoDuration::from(rest));
        }
        Some(Change::Recovered) => tracing::info!("runner `{title}`: GitLab answers again"),
        None if !why.is_empty() => tracing::debug!("runner `{title}`: {why}"),
        None => {}
    }
}

fn project_of(payload: &str) -> u64 {
    #[derive(Default, Deserialize)]
    struct Peek {
        job_info: Info,
    }
    #[derive(Default, Deserialize)]
    struct Info {
        project_id: u64,
    }
    // An unreadable payload is handed back in the next step, which says what is wrong with it.
    serde_json::from_str::<Peek>(payload).unwrap_or_default().job_info.project_id
}

//! Asks GitLab for jobs, as far as slots are free, and takes in what it answers.

use std::sync::Arc;

use runner_core::duration::GoDuration;
use runner_gitlab::{Error, JobReply};
use tokio::time::Instant;

use super::{LOOK_AGAIN, Poll};
use crate::source::Source;
use crate::space;
use crate::turn::{Change, Heard, Turn};

/// A request that has been answered.
pub(super) struct Asked {
    source: Arc<Source>,
    at: Instant,
    answer: Result<JobReply, Error>,
}

impl Poll {
    /// Sends a request for every runner that is due, as far as slots are free. Returns when the next one is due.
    pub(super) fn ask_all(&mut self) -> Option<Instant> {
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

    pub(super) fn look(&mut self) -> Result<(), String> {
        let state = &self.taker.state;
        if self.stale {
            self.slots.refresh(state).map_err(|err| err.to_string())?;
            self.stale = false;
        }
        space::check(state.jobs_path()).map_err(|err| format!("{}: {err}", state.jobs_path().display()))
    }

    /// Whether one more job would fit. Each request under way may bring one.
    pub(super) fn has_slot(&self, turn: &Turn) -> bool {
        let limit = turn.source.runner.limit as usize;
        let mine = self.slots.used_by(&turn.source.id()) + turn.in_flight as usize;
        self.free_slots() > 0 && (limit == 0 || mine < limit)
    }

    pub(super) fn free_slots(&self) -> usize {
        let most = match self.once {
            true if self.taking.is_empty() && self.storing.is_empty() => {
                self.configuration.concurrent.min(self.slots.used() + 1)
            }
            true => 0,
            false => self.configuration.concurrent,
        };
        most.saturating_sub(self.slots.used() + self.asking.len())
    }

    pub(super) fn ask(&mut self, index: usize, at: Instant) {
        let spare = self.free_slots().saturating_sub(1);
        let (source, last_update) = self.round.ask(index, at, self.configuration.check_interval, spare);
        let system_id = self.system_id.clone();
        self.asking.spawn(async move {
            let answer = source.ask(&system_id, last_update.as_deref()).await;
            Asked { source, at, answer }
        });
    }

    pub(super) fn heard(&mut self, Asked { source, at, answer }: Asked) {
        self.counters.answered(source.identity(), status_of(&answer));
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

/// The answer's status, -1 where there was none that could be read.
fn status_of(answer: &Result<JobReply, Error>) -> i32 {
    match answer {
        Ok(JobReply::Job { .. }) => 201,
        Ok(JobReply::None { .. }) => 204,
        Err(err) => err.status().map_or(-1, i32::from),
    }
}

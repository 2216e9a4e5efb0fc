//! What ends a job, or a script of it, from outside: its time, and the word of the executor.

use std::time::Duration;

use runner_core::control::Cancel;
use runner_core::duration::GoDuration;
use runner_core::failure::FailureReason;
use tokio::sync::watch;
use tokio::time::Instant;

use super::control::Control;
use super::failure::Failure;

/// What was said from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The job's time is over: everything ends.
    Deadline,
    /// The time of the sources is over: everything ends.
    SourcesDeadline,
    /// The job is canceled while its script runs: only the script ends.
    Canceling,
    /// The job is canceled: everything ends.
    Canceled,
}

/// Which part of the job runs; it decides what a cancel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All tries of the sources: they have a time of their own.
    Sources,
    /// From there to the download of artifacts.
    Before,
    /// The user's steps.
    Script,
    /// From `after_script` on.
    After,
}

impl Phase {
    fn hears(self, cancel: Option<Cancel>) -> Option<Stop> {
        match (self, cancel?) {
            (Self::Sources | Self::Before, _) | (_, Cancel::Canceled) => Some(Stop::Canceled),
            (Self::Script, Cancel::Canceling) => Some(Stop::Canceling),
            (Self::After, Cancel::Canceling) => None,
        }
    }
}

/// A time and when it is over.
#[derive(Debug, Clone, Copy)]
struct Limit {
    time: Duration,
    over: Instant,
}

impl Limit {
    fn from_now(time: Duration) -> Self {
        Self { time, over: Instant::now() + time }
    }
}

/// The limits of one job.
#[derive(Debug)]
pub(crate) struct Limits {
    control: watch::Receiver<Control>,
    job: Limit,
    sources_time: Option<Duration>,
    /// From when the sources begin.
    sources: Option<Limit>,
}

impl Limits {
    /// The job's clock starts now. The sources may have a time of their own.
    pub(crate) fn new(control: watch::Receiver<Control>, timeout: Duration, sources_time: Option<Duration>) -> Self {
        Self { control, job: Limit::from_now(timeout), sources_time, sources: None }
    }

    /// The clock of the sources starts now.
    pub(crate) fn begin_sources(&mut self) {
        self.sources = self.sources_time.map(Limit::from_now);
    }

    /// When `phase` must be over, and what that means.
    fn deadline(&self, phase: Phase) -> (Instant, Stop) {
        match self.sources.filter(|limit| phase == Phase::Sources && limit.over < self.job.over) {
            Some(limit) => (limit.over, Stop::SourcesDeadline),
            None => (self.job.over, Stop::Deadline),
        }
    }

    /// What already stops `phase`.
    pub(crate) fn stop_now(&self, phase: Phase) -> Option<Stop> {
        let (over, stop) = self.deadline(phase);
        if Instant::now() >= over {
            return Some(stop);
        }
        phase.hears(self.control.borrow().cancel)
    }

    /// Waits for something that stops `phase`.
    pub(crate) async fn stop(&self, phase: Phase) -> Stop {
        let mut control = self.control.clone();
        let canceled = async move {
            match control.wait_for(|control| phase.hears(control.cancel).is_some()).await {
                Ok(control) => phase.hears(control.cancel).unwrap_or(Stop::Canceled),
                Err(_) => std::future::pending().await, // nobody can say anything any more
            }
        };
        let (over, stop) = self.deadline(phase);
        tokio::select! {
            stop = canceled => stop,
            () = tokio::time::sleep_until(over) => stop,
        }
    }

    /// Time left.
    pub(crate) fn left(&self) -> Duration {
        self.job.over.saturating_duration_since(Instant::now())
    }

    /// How a job fails that `stop` ended.
    pub(crate) fn failure(&self, stop: Stop) -> Failure {
        let overdue = |message| Failure::new(message, FailureReason::JobExecutionTimeout);
        match stop {
            Stop::Deadline => {
                overdue(format!("execution took longer than {} seconds", GoDuration::from(self.job.time)))
            }
            Stop::SourcesDeadline => {
                let time = self.sources.map(|limit| limit.time).unwrap_or_default();
                overdue(format!("get sources timeout: exceeded timeout of {}", GoDuration::from(time)))
            }
            Stop::Canceling | Stop::Canceled => Failure::new("canceled", FailureReason::JobCanceled),
        }
    }
}

/// What a variable like `RUNNER_SCRIPT_TIMEOUT` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing, or nothing that can be: the default stays.
    Default,
    /// No more than the job's own time.
    Job,
    /// This long.
    Time(Duration),
}

/// Reads the variable `name` with this `value`; the text says what is wrong with it. `left` is what the job has left.
pub(crate) fn script_timeout(name: &str, value: &str, left: Duration) -> (Wish, Option<String>) {
    let value = value.trim();
    if value.is_empty() {
        return (Wish::Default, None);
    }
    let Ok(duration) = value.parse::<GoDuration>() else {
        return (Wish::Default, Some(format!("Ignoring malformed {name} timeout: {value}")));
    };
    let Some(time) = duration.to_std() else {
        return (Wish::Default, Some(format!("Ignoring relative {name} timeout: {value}")));
    };
    if time.is_zero() {
        return (Wish::Default, None);
    }
    if time > left {
        let text = format!("{name} timeout: {value} is longer than job timeout. Setting to job timeout");
        return (Wish::Job, Some(text));
    }
    (Wish::Time(time), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j151_script_timeouts_are_go_durations_below_the_time_left() {
        let left = Duration::from_secs(60);
        for (value, wish, warning) in [
            ("", Wish::Default, None),
            ("0", Wish::Default, None),
            ("30s", Wish::Time(Duration::from_secs(30)), None),
            ("500ms", Wish::Time(Duration::from_millis(500)), None),
            ("90", Wish::Default, Some("Ignoring malformed X timeout: 90")),
            ("soon", Wish::Default, Some("Ignoring malformed X timeout: soon")),
            ("-5s", Wish::Default, Some("Ignoring relative X timeout: -5s")),
            ("2m", Wish::Job, Some("X timeout: 2m is longer than job timeout. Setting to job timeout")),
        ] {
            let (found, text) = script_timeout("X", value, left);
            assert_eq!((found, text.as_deref()), (wish, warning), "{value}");
        }
    }

    #[test]
    fn a_cancel_means_what_the_phase_makes_of_it() {
        for (phase, cancel, stop) in [
            (Phase::Sources, Cancel::Canceling, Some(Stop::Canceled)),
            (Phase::Before, Cancel::Canceling, Some(Stop::Canceled)),
            (Phase::Script, Cancel::Canceling, Some(Stop::Canceling)),
            (Phase::After, Cancel::Canceling, None),
            (Phase::Script, Cancel::Canceled, Some(Stop::Canceled)),
            (Phase::After, Cancel::Canceled, Some(Stop::Canceled)),
        ] {
            assert_eq!(phase.hears(Some(cancel)), stop);
            assert_eq!(phase.hears(None), None);
        }
    }
}

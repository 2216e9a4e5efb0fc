//! When a runner may be asked again: interval, back-off, rest of a refused one, and how many requests at once.
//!
//! Source: GitLab runner contract, polling, adaptive request concurrency and unhealthy runners. Time is an argument.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::source::Source;

/// Longest pause between two requests to a GitLab that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One runner's place in the round.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) source: Arc<Source>,
    /// Requests under way.
    pub(crate) in_flight: u32,
    /// Value of the queue at the last answer.
    pub(crate) last_update: Option<String>,
    /// Not to be asked before.
    pub(crate) due: Instant,
    /// When it was asked last; the one that waits longest is next.
    pub(crate) asked: Option<Instant>,
    refusals: u32,
    failing: Option<ExponentialBackoff>,
    /// Parallel requests that pay off, 1 or more.
    allowance: f64,
}

/// What an answer means for the next request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    /// A job.
    Job,
    /// Nothing to do; the queue's new value.
    Nothing(Option<String>),
    /// The token is not accepted, or nothing could be sent because of the configuration.
    Refused,
    /// GitLab or the way there has a problem; how long it asked to wait.
    Failed(Option<Duration>),
}

/// A change worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first failure or refusal.
    Fails,
    /// It answers again.
    Recovered,
    /// It is not asked for that long.
    Rests(Duration),
}

impl Turn {
    /// A runner that may be asked at once.
    pub(crate) fn new(source: Arc<Source>, now: Instant) -> Self {
        let last_update = None;
        Self { source, in_flight: 0, last_update, due: now, asked: None, refusals: 0, failing: None, allowance: 1.0 }
    }

    /// Whether another request may be under way now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due <= now && self.in_flight < self.parallel()
    }

    /// Requests that may be under way at one time.
    fn parallel(&self) -> u32 {
        let runner = &self.source.runner;
        let most = u32::try_from(runner.request_concurrency).unwrap_or(1).max(1);
        match runner.feature_flags.get("FF_USE_ADAPTIVE_REQUEST_CONCURRENCY") {
            Some(false) => most,
            // `as` is exact: the value lies between 1 and a u32
            _ => (self.allowance.clamp(1.0, most.into()).ceil() as u32).min(most),
        }
    }

    /// Takes in the answer to the request that was sent at `asked`. The caller counts `in_flight` down.
    pub(crate) fn hear(&mut self, heard: Heard, asked: Instant, now: Instant, interval: Duration) -> Option<Change> {
        let was_failing = self.failing.is_some() || self.refusals > 0;
        let strict = self.source.runner.strict_check_interval;
        match heard {
            Heard::Refused => return self.refused(now, interval, was_failing),
            Heard::Failed(wait) => {
                self.allowance *= 0.5;
                self.refusals = 0; // a server that is down says nothing about the token
                let failing = self.failing.get_or_insert_with(backoff);
                let pause = failing.next().unwrap_or(LONGEST_PAUSE);
                self.due = now + interval.max(pause).max(wait.unwrap_or_default());
                self.clamp();
                return (!was_failing).then_some(Change::Fails);
            }
            Heard::Job => {
                self.allowance *= 1.1;
                self.due = if strict { now.max(asked + interval) } else { now };
            }
            Heard::Nothing(value) => {
                self.allowance *= 0.95;
                self.last_update = value.or(self.last_update.take());
                self.due = asked + interval;
            }
        }
        self.clamp();
        self.failing = None;
        self.refusals = 0;
        was_failing.then_some(Change::Recovered)
    }

    fn refused(&mut self, now: Instant, interval: Duration, was_failing: bool) -> Option<Change> {
        self.failing = None;
        self.refusals += 1;
        let runner = &self.source.runner;
        if self.refusals < runner.unhealthy_requests_limit() {
            self.due = now + interval;
            return (!was_failing).then_some(Change::Fails);
        }
        self.refusals = 0;
        let rest = runner.unhealthy_interval();
        self.due = now + rest;
        Some(Change::Rests(rest))
    }

    fn clamp(&mut self) {
        let most = u32::try_from(self.source.runner.request_concurrency).unwrap_or(1).max(1);
        self.allowance = self.allowance.clamp(1.0, most.into());
    }
}

/// 1 s, doubling, with jitter, up to [`LONGEST_PAUSE`], without end.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3);

    fn turn(lines: &str) -> Turn {
        let _ = rustls::crypto::ring::default_provider().install_default(); // by the first test that gets here
        let text =
            format!("[[runners]]\nurl = \"http://127.0.0.1:1\"\ntoken = \"t\"\nexecutor = \"kubernetes\"\n{lines}");
        let (config, _) = runner_core::config::Config::parse(&text, |_| None).unwrap();
        let source = Source::new(&config.runners[0], &config.labels, &[]).unwrap();
        Turn::new(Arc::new(source), Instant::now())
    }

    /// Seconds from the answer, which came a second after the request, to the next request.
    fn pause(turn: &mut Turn, heard: Heard) -> (f64, Option<Change>) {
        let asked = Instant::now();
        let now = asked + Duration::from_secs(1);
        let change = turn.hear(heard, asked, now, INTERVAL);
        (turn.due.saturating_duration_since(now).as_secs_f64(), change)
    }

    #[test]
    fn after_a_job_it_is_asked_at_once_and_else_after_the_interval() {
        let mut usual = turn("");
        assert_eq!(pause(&mut usual, Heard::Job), (0.0, None));
        assert_eq!(pause(&mut usual, Heard::Nothing(None)), (2.0, None));
        let mut strict = turn("strict_check_interval = true\n");
        assert_eq!(pause(&mut strict, Heard::Job), (2.0, None));
    }

    #[test]
    fn the_queue_value_stays_until_a_new_one_comes() {
        let mut turn = turn("");
        for (value, expected) in [(Some("5f"), "5f"), (None, "5f"), (Some("60"), "60")] {
            pause(&mut turn, Heard::Nothing(value.map(str::to_owned)));
            assert_eq!(turn.last_update.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_refused_runner_rests_after_the_third_time_and_is_then_tried_anew() {
        let mut turn = turn("unhealthy_interval = \"10m\"\n");
        let rest = Change::Rests(Duration::from_secs(600));
        for expected in [(3.0, Some(Change::Fails)), (3.0, None), (600.0, Some(rest)), (3.0, Some(Change::Fails))] {
            assert_eq!(pause(&mut turn, Heard::Refused), expected);
        }
        assert_eq!(pause(&mut turn, Heard::Nothing(None)), (2.0, Some(Change::Recovered)));
    }

    #[test]
    fn a_failing_server_is_left_alone_for_longer_each_time_and_told_about_once() {
        let mut turn = turn("");
        assert_eq!(pause(&mut turn, Heard::Failed(None)), (3.0, Some(Change::Fails)));
        let pauses: Vec<f64> = (0..9).map(|_| pause(&mut turn, Heard::Failed(None)).0).collect();
        assert!(pauses[1] >= 4.0 && pauses[8] >= 60.0 && pauses[8] <= 120.0, "{pauses:?}");
        assert_eq!(pause(&mut turn, Heard::Failed(Some(Duration::from_secs(300)))), (300.0, None));
        assert_eq!(pause(&mut turn, Heard::Job), (0.0, Some(Change::Recovered)));
        assert_eq!(pause(&mut turn, Heard::Failed(None)), (3.0, Some(Change::Fails)), "the back-off starts again");
    }

    #[test]
    fn parallel_requests_grow_with_jobs_and_shrink_without() {
        let mut turn = turn("request_concurrency = 3\n");
        let mut seen = vec![turn.parallel()];
        for heard in std::iter::repeat_n(Heard::Job, 20).chain(std::iter::repeat_n(Heard::Nothing(None), 40)) {
            pause(&mut turn, heard);
            seen.push(turn.parallel());
        }
        seen.dedup();
        assert_eq!(seen, [1, 2, 3, 2, 1]);
        let fixed = "request_concurrency = 3\n[runners.feature_flags]\nFF_USE_ADAPTIVE_REQUEST_CONCURRENCY = false\n";
        assert_eq!(self::turn(fixed).parallel(), 3);
    }
}

//! When a runner may be asked again: interval, back-off, rest of a refused one, and how many requests at once.
//!
//! Source: GitLab runner contract, polling, adaptive request concurrency and unhealthy runners. Time is an argument.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use runner_gitlab::{Error, JobReply};
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
    /// It was refused too often.
    rests: bool,
    failing: Option<ExponentialBackoff>,
    /// When its token is to be renewed.
    pub(crate) renew_at: Option<Instant>,
    /// Its token is being renewed: it asks no more.
    pub(crate) is_renewing: bool,
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
    /// GitLab asks for patience; how long, if it said so.
    Busy(Option<Duration>),
    /// GitLab or the way there has a problem.
    Failed,
}

impl From<&Result<JobReply, Error>> for Heard {
    fn from(answer: &Result<JobReply, Error>) -> Self {
        match answer {
            Ok(JobReply::Job { .. }) => Self::Job,
            Ok(JobReply::None { last_update }) => Self::Nothing(last_update.clone()),
            Err(err) if err.is_refused() || err.is_configuration() => Self::Refused,
            Err(err) if err.is_retryable() => Self::Busy(err.wait()),
            // Another runner was faster: as good as no job.
            Err(err) if err.status() == Some(409) => Self::Nothing(None),
            Err(_) => Self::Failed,
        }
    }
}

/// A change worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first failure or refusal; when it is asked again.
    Fails(Duration),
    /// It answers again.
    Recovered,
    /// It is not asked for that long.
    Rests(Duration),
}

impl Turn {
    /// A runner that is asked from `due` on.
    pub(crate) fn new(source: Arc<Source>, renew_at: Option<Instant>, due: Instant) -> Self {
        Self {
            source,
            in_flight: 0,
            last_update: None,
            due,
            asked: None,
            refusals: 0,
            rests: false,
            failing: None,
            renew_at,
            is_renewing: false,
            allowance: 1.0,
        }
    }

    /// The same runner in a new configuration: it is asked as if it had never been refused or failed.
    pub(crate) fn again(self, source: Arc<Source>, renew_at: Option<Instant>, now: Instant) -> Self {
        let due = if self.failing.is_some() || self.refusals > 0 || self.rests { now } else { self.due };
        Self { source, renew_at, due, refusals: 0, failing: None, rests: false, ..self }
    }

    /// Whether another request may be under way now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due <= now && !self.is_renewing && self.in_flight < self.parallel()
    }

    /// Requests that may be under way at one time.
    pub(crate) fn parallel(&self) -> u32 {
        match self.source.runner.feature_flags.get("FF_USE_ADAPTIVE_REQUEST_CONCURRENCY") {
            Some(false) => self.most(),
            // `as` is exact: the value lies between 1 and a u32
            _ => (self.allowance.ceil() as u32).min(self.most()),
        }
    }

    /// Takes in the answer to the request that was sent at `asked`. The caller counts `in_flight` down.
    pub(crate) fn hear(&mut self, heard: Heard, asked: Instant, now: Instant, interval: Duration) -> Option<Change> {
        let was_failing = self.failing.is_some() || self.refusals > 0;
        let rested = std::mem::take(&mut self.rests);
        match heard {
            Heard::Refused => return self.refused(now, interval, was_failing),
            Heard::Busy(wait) => {
                self.allow(0.5);
                return self.failed(now, interval.max(wait.unwrap_or_default()), was_failing);
            }
            Heard::Failed => {
                self.allow(0.95);
                return self.failed(now, interval, was_failing);
            }
            Heard::Job => {
                self.allow(1.1);
                self.due = if self.source.runner.strict_check_interval { now.max(asked + interval) } else { now };
            }
            Heard::Nothing(value) => {
                self.allow(0.95);
                self.last_update = value.or(self.last_update.take());
                self.due = asked + interval;
            }
        }
        self.failing = None;
        self.refusals = 0;
        (was_failing || rested).then_some(Change::Recovered)
    }

    fn failed(&mut self, now: Instant, least: Duration, was_failing: bool) -> Option<Change> {
        self.refusals = 0; // a server that is down says nothing about the token
        let pause = self.failing.get_or_insert_with(backoff).next().unwrap_or(LONGEST_PAUSE).max(least);
        let pause = Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)); // as it is told
        self.due = now + pause;
        (!was_failing).then_some(Change::Fails(pause))
    }

    fn refused(&mut self, now: Instant, interval: Duration, was_failing: bool) -> Option<Change> {
        self.failing = None;
        self.refusals += 1;
        let runner = &self.source.runner;
        if self.refusals < runner.unhealthy_requests_limit() {
            self.due = now + interval;
            return (!was_failing).then_some(Change::Fails(interval));
        }
        self.refusals = 0;
        self.rests = true;
        let rest = runner.unhealthy_interval();
        self.due = now + rest;
        Some(Change::Rests(rest))
    }

    /// Source: GitLab runner contract, adaptive request concurrency.
    fn allow(&mut self, factor: f64) {
        self.allowance = (self.allowance * factor).clamp(1.0, self.most().into());
    }

    /// `request_concurrency`, 1 if it is below.
    pub(crate) fn most(&self) -> u32 {
        u32::try_from(self.source.runner.request_concurrency.max(1)).unwrap_or(u32::MAX)
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
pub(crate) mod tests {
    use runner_gitlab::Call;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3);

    /// A runner with these lines in its entry.
    pub(crate) fn source(lines: &str) -> Arc<Source> {
        let _ = rustls::crypto::ring::default_provider().install_default(); // by the first test that gets here
        let text = format!("[[runners]]\nurl = \"http://127.0.0.1:1\"\nexecutor = \"kubernetes\"\n{lines}");
        let (config, _) = runner_core::config::Config::parse(&text, |_| None).unwrap();
        Arc::new(Source::new(&config.runners[0], &config.labels, &[]).unwrap())
    }

    fn turn(lines: &str) -> Turn {
        Turn::new(source(&format!("token = \"t\"\n{lines}")), None, Instant::now())
    }

    /// Seconds from the answer, which came a second after the request, to the next request.
    fn pause(turn: &mut Turn, heard: Heard) -> (f64, Option<Change>) {
        let asked = Instant::now();
        let now = asked + Duration::from_secs(1);
        let change = turn.hear(heard, asked, now, INTERVAL);
        (turn.due.saturating_duration_since(now).as_secs_f64(), change)
    }

    #[test]
    fn p09_p10_after_a_job_it_is_asked_at_once_and_else_after_the_interval() {
        assert_eq!(runner_core::config::Config::default().check_interval(), INTERVAL);
        let mut usual = turn("");
        assert_eq!(pause(&mut usual, Heard::Job), (0.0, None));
        assert_eq!(pause(&mut usual, Heard::Nothing(None)), (2.0, None));
        let mut strict = turn("strict_check_interval = true\n");
        assert_eq!(pause(&mut strict, Heard::Job), (2.0, None));
    }

    #[test]
    fn p18_only_a_refused_token_speaks_against_the_runner() {
        let answer = |status| {
            let (host, message, wait) = ("h".to_owned(), String::new(), Some(Duration::from_secs(9)));
            Err(Error::Status { call: Call::RequestJob, host, status, message, wait, location: None })
        };
        for (statuses, expected) in [
            (&[401, 403][..], Heard::Refused),
            (&[409], Heard::Nothing(None)),
            (&[408, 429, 500, 502, 503, 504, 520], Heard::Busy(Some(Duration::from_secs(9)))),
            (&[400, 404, 410, 501], Heard::Failed),
        ] {
            for status in statuses {
                assert_eq!(Heard::from(&answer(*status)), expected, "{status}");
            }
        }
        let transport = Error::Transport { call: Call::RequestJob, host: "h".to_owned(), why: "reset".to_owned() };
        assert_eq!(Heard::from(&Err(transport)), Heard::Failed);
    }

    #[test]
    fn p51_the_queue_value_stays_until_a_new_one_comes() {
        let mut turn = turn("");
        for (value, expected) in [(Some("5f"), "5f"), (None, "5f"), (Some("60"), "60")] {
            pause(&mut turn, Heard::Nothing(value.map(str::to_owned)));
            assert_eq!(turn.last_update.as_deref(), Some(expected));
        }
    }

    #[test]
    fn p14_p16_p17_a_refused_runner_rests_after_the_third_time_and_is_then_tried_anew() {
        let mut turn = turn("unhealthy_interval = \"10m\"\n");
        let rest = Change::Rests(Duration::from_secs(600));
        let fails = Some(Change::Fails(INTERVAL));
        for expected in [(3.0, fails), (3.0, None), (600.0, Some(rest)), (3.0, fails)] {
            assert_eq!(pause(&mut turn, Heard::Refused), expected);
        }
        pause(&mut turn, Heard::Refused);
        assert_eq!(pause(&mut turn, Heard::Nothing(None)), (2.0, Some(Change::Recovered)));
        for expected in [(3.0, fails), (3.0, None), (600.0, Some(rest))] {
            assert_eq!(pause(&mut turn, Heard::Refused), expected, "counted from 0 again");
        }
    }

    #[test]
    fn p03_p18_a_failing_server_is_left_alone_for_longer_each_time_and_told_about_once() {
        let mut turn = turn("");
        let fails = Some(Change::Fails(INTERVAL));
        assert_eq!(pause(&mut turn, Heard::Failed), (3.0, fails));
        let pauses: Vec<f64> = (0..9).map(|_| pause(&mut turn, Heard::Busy(None)).0).collect();
        assert!(pauses[1] >= 4.0 && pauses[8] >= 60.0 && pauses[8] <= 120.0, "{pauses:?}");
        assert_eq!(pause(&mut turn, Heard::Busy(Some(Duration::from_secs(300)))), (300.0, None));
        assert_eq!(pause(&mut turn, Heard::Job), (0.0, Some(Change::Recovered)));
        assert_eq!(pause(&mut turn, Heard::Failed), (3.0, fails), "the back-off starts again");
    }

    #[test]
    fn p07_p12_p13_parallel_requests_grow_with_jobs_and_shrink_without() {
        let mut turn = turn("request_concurrency = 3\n");
        let mut seen = vec![turn.parallel()];
        for heard in std::iter::repeat_n(Heard::Job, 20).chain(std::iter::repeat_n(Heard::Nothing(None), 40)) {
            pause(&mut turn, heard);
            seen.push(turn.parallel());
        }
        seen.dedup();
        assert_eq!(seen, [1, 2, 3, 2, 1]);
        assert_eq!(pause(&mut turn, Heard::Job).0, 0.0);
        turn.allowance = 3.0;
        pause(&mut turn, Heard::Busy(None));
        assert_eq!(turn.parallel(), 2, "1.5, rounded up");
        for below in ["0", "-1"] {
            let mut turn = self::turn(&format!("request_concurrency = {below}\n"));
            pause(&mut turn, Heard::Job);
            assert_eq!(turn.parallel(), 1);
        }
        let fixed = "request_concurrency = 3\n[runners.feature_flags]\nFF_USE_ADAPTIVE_REQUEST_CONCURRENCY = false\n";
        assert_eq!(self::turn(fixed).parallel(), 3);
    }
}

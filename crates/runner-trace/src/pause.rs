//! How long to wait after a failure.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use runner_gitlab::Error;

/// From 1 s, doubling up to 60 s, with jitter; without end.
#[derive(Debug)]
pub(crate) struct Pauses(ExponentialBackoff);

impl Pauses {
    /// Begins at the shortest.
    pub(crate) fn new() -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_secs(1))
            .with_factor(2.0)
            .with_max_delay(LONGEST)
            .without_max_times()
            .with_jitter();
        Self(pauses.build())
    }

    /// The next pause: what the server asked for, if it did.
    pub(crate) fn after(&mut self, err: &Error) -> Duration {
        let pause = self.next();
        err.wait().unwrap_or(pause)
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST).min(LONGEST)
    }
}

const LONGEST: Duration = Duration::from_secs(60);

/// Whether the next attempt will hardly end otherwise: a 4xx that is neither a lock (409) nor a matter of time or load, or an
/// address nobody can have. A TLS file that cannot be read may be put right, so it does not count.
pub(crate) fn is_lasting(err: &Error) -> bool {
    match (err, err.status()) {
        (_, Some(status)) => (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429),
        (Error::Url { .. }, None) => true,
        _ => false,
    }
}

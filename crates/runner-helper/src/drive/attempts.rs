//! How often a stage is tried, and how long is waited in between.

use std::time::Duration;

use super::job::Job;
use super::log::Log;

/// Tries in all that the variable `key` asks for: 1 to 10.
pub(crate) fn attempts(job: &Job, log: &Log, key: &str) -> u32 {
    let value = job.variables.value(key);
    let Ok(wanted) = value.trim().parse::<i64>() else { return 1 };
    let attempts = wanted.clamp(1, 10);
    if attempts != wanted {
        log.warn(&format!("{key}: number of attempts out of the range [1, 10], clamping to: {attempts}"));
    }
    u32::try_from(attempts).unwrap_or(1)
}

/// Pauses between two tries of a stage.
#[derive(Debug)]
pub(crate) struct Pause {
    next: Duration,
    doubles: bool,
}

impl Pause {
    /// The first pause; each next one is longer.
    pub(crate) fn new(doubles: bool) -> Self {
        Self { next: Duration::from_secs(if doubles { 5 } else { 1 }), doubles }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        // 5, 10, 20 s … up to 5 min, or 1, 2, 4, 5, 5 s
        let most = Duration::from_secs(if self.doubles { 300 } else { 5 });
        self.next = (now * 2).min(most);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let seconds = |doubles| {
            let mut pause = Pause::new(doubles);
            std::iter::repeat_with(|| pause.next().as_secs()).take(8).collect::<Vec<_>>()
        };
        assert_eq!(seconds(true), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(seconds(false), [1, 2, 4, 5, 5, 5, 5, 5]);
    }
}

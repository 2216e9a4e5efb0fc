//! Parts of a log that were lost on the way: when to ask for them. What is printed again can be lost again.

use std::time::Duration;

use tokio::time::Instant;

/// Text that was asked for has this long to come, twice as long each time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    last: Option<Asked>,
    /// How often anything was asked for; tells one request from another.
    pub(crate) count: u32,
}

#[derive(Debug)]
struct Asked {
    from: u64,
    patience: Duration,
    until: Instant,
}

impl Replay {
    /// Text is missing after `received` bytes: whether to ask for it now, because it is news or has not come in time.
    pub(crate) fn asks(&mut self, received: u64, now: Instant) -> bool {
        let patience = match &self.last {
            Some(asked) if asked.from == received && now < asked.until => return false,
            Some(asked) if asked.from == received => asked.patience * 2,
            _ => PATIENCE,
        };
        self.last = Some(Asked { from: received, patience, until: now + patience });
        self.count += 1;
        true
    }

    /// Returns when what is missing after `received` bytes is to be asked for again; never if nothing is.
    pub(crate) async fn overdue(&self, received: u64) {
        match self.last.as_ref().filter(|asked| asked.from == received) {
            Some(asked) => tokio::time::sleep_until(asked.until).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_is_asked_for_again_and_less_and_less_often() {
        let (mut replay, start) = (Replay::default(), Instant::now());
        let mut asks = |received, after| replay.asks(received, start + PATIENCE * after);
        assert!(asks(100, 0) && !asks(100, 0), "once");
        assert!(asks(100, 1) && !asks(100, 2), "again, with twice the patience");
        assert!(asks(100, 3));
        assert!(asks(200, 3), "another part");
        assert!(!asks(200, 3) && asks(200, 4));
        assert_eq!(replay.count, 5);
    }
}

//! How long is waited between two tries of a stage.

use std::time::Duration;

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
    fn j157_pauses_grow_to_a_limit() {
        let seconds = |doubles| {
            let mut pause = Pause::new(doubles);
            std::iter::repeat_with(|| pause.next().as_secs()).take(8).collect::<Vec<_>>()
        };
        assert_eq!(seconds(true), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(seconds(false), [1, 2, 4, 5, 5, 5, 5, 5]);
    }
}

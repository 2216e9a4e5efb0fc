//! The runners in turn: who is asked next, and what each may be asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use runner_core::config::Runner;
use tokio::time::Instant;

use crate::renewal;
use crate::source::Source;
use crate::turn::Turn;

/// The turns of all runners, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Round {
    turns: Vec<Turn>,
}

impl Round {
    /// Takes over the runners of a new configuration.
    ///
    /// New ones begin evenly spread over `interval`, so that they do not ask all at the same moment ever after. One that was there
    /// keeps its place and what it knows of the queue; that it was refused or failed is forgotten.
    pub(crate) fn replace(&mut self, sources: &[Arc<Source>], interval: Duration, now: Instant) {
        let mut before = std::mem::take(&mut self.turns);
        let count = u32::try_from(sources.len()).unwrap_or(u32::MAX).max(1);
        for (source, number) in sources.iter().zip(0_u32..) {
            let renew_at = renewal::at(&source.runner, SystemTime::now()).map(|wait| now + wait);
            let known = before.iter().position(|turn| turn.source.is_same(&source.runner));
            self.turns.push(match known {
                Some(index) => before.swap_remove(index).again(Arc::clone(source), renew_at, now),
                None => Turn::new(Arc::clone(source), renew_at, now + interval * number / count),
            });
        }
    }

    /// The runner that is due, may ask, and has waited longest.
    pub(crate) fn next(&self, now: Instant, may_ask: impl Fn(&Turn) -> bool) -> Option<usize> {
        let due = self.turns.iter().enumerate().filter(|(_, turn)| turn.is_due(now) && may_ask(turn));
        due.min_by_key(|(_, turn)| turn.asked).map(|(index, _)| index)
    }

    /// Notes a request of the runner at `index`. Returns the runner and the value of the queue to send along.
    ///
    /// GitLab may hold a request with that value until there is something new, and all that time it keeps a slot. So it is sent only
    /// if `spare`, the slots that are free besides, are more than what the others need to ask.
    pub(crate) fn ask(
        &mut self,
        index: usize,
        now: Instant,
        interval: Duration,
        spare: usize,
    ) -> (Arc<Source>, Option<String>) {
        let others =
            self.turns.iter().enumerate().filter(|(other, turn)| *other != index && turn.due <= now + interval);
        let others = others.count();
        let may_be_held = others == 0 || spare > others;
        let turn = &mut self.turns[index];
        turn.in_flight += 1;
        turn.asked = Some(now);
        (Arc::clone(&turn.source), turn.last_update.clone().filter(|_| may_be_held))
    }

    /// All turns.
    pub(crate) fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter()
    }

    /// The turn of the runner that `source` stands for; none if it was taken out of the configuration.
    pub(crate) fn turn_of(&mut self, source: &Arc<Source>) -> Option<&mut Turn> {
        let index = self.turns.iter().position(|turn| Arc::ptr_eq(&turn.source, source));
        let index = index.or_else(|| self.turns.iter().position(|turn| turn.source.is_same(&source.runner)));
        index.map(|index| &mut self.turns[index])
    }

    /// When the next runner is due that may ask, or the next token is to be renewed.
    pub(crate) fn wake(&self, now: Instant, may_ask: impl Fn(&Turn) -> bool) -> Option<Instant> {
        let asks = self.turns.iter().filter(|turn| turn.due > now && may_ask(turn)).map(|turn| turn.due);
        asks.chain(self.turns.iter().filter_map(|turn| turn.renew_at).filter(|at| *at > now)).min()
    }

    /// The runner whose token is to be renewed now. It asks no more until [`Round::renewed`]; `None` also while it is still waiting
    /// for an answer.
    pub(crate) fn begin_renewal(&mut self, now: Instant) -> Option<Arc<Source>> {
        let due = self.turns.iter().find(|turn| turn.renew_at.is_some_and(|at| at <= now))?;
        let source = Arc::clone(&due.source);
        let mut idle = true;
        for turn in self.same(&source.runner) {
            turn.is_renewing = true;
            idle &= turn.in_flight == 0;
        }
        idle.then_some(source)
    }

    /// The attempt to renew this runner's token is over; the next one is made at `next`.
    pub(crate) fn renewed(&mut self, runner: &Runner, next: Option<Instant>) {
        for turn in self.same(runner) {
            turn.is_renewing = false;
            turn.renew_at = next;
        }
    }

    /// The turns with this runner's token.
    fn same(&mut self, runner: &Runner) -> impl Iterator<Item = &mut Turn> {
        self.turns.iter_mut().filter(|turn| turn.source.is_same(runner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Heard;
    use crate::turn::tests::source;

    const INTERVAL: Duration = Duration::from_secs(3);

    fn round(names: &[&str]) -> (Round, Vec<Arc<Source>>, Instant) {
        let sources: Vec<_> =
            names.iter().map(|name| source(&format!("name = \"{name}\"\ntoken = \"{name}\"\n"))).collect();
        let (mut round, now) = (Round::default(), Instant::now());
        round.replace(&sources, INTERVAL, now);
        (round, sources, now)
    }

    #[test]
    fn p08_runners_begin_spread_over_the_interval() {
        let (round, _, now) = round(&["a", "b", "c"]);
        let starts: Vec<u64> = round.turns.iter().map(|turn| (turn.due - now).as_secs()).collect();
        assert_eq!(starts, [0, 1, 2]);
        assert_eq!(round.wake(now, |_| true), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn who_has_waited_longest_is_next_and_who_may_not_ask_is_passed_over() {
        let (mut round, _, start) = round(&["a", "b", "c"]);
        let now = start + INTERVAL;
        let mut order = Vec::new();
        while let Some(index) = round.next(now, |turn| turn.source.runner.name != "b") {
            round.ask(index, now, INTERVAL, 9);
            order.push(index);
        }
        assert_eq!(order, [0, 2]);
        assert_eq!(round.next(now, |_| true), Some(1));
    }

    #[test]
    fn runners_that_always_get_jobs_are_asked_in_turn() {
        let (mut round, sources, start) = round(&["a", "b", "c"]);
        let mut order = Vec::new();
        for step in 0..9 {
            let now = start + INTERVAL + Duration::from_millis(step);
            let index = round.next(now, |_| true).unwrap();
            round.ask(index, now, INTERVAL, 0);
            order.push(index);
            let turn = round.turn_of(&sources[index]).unwrap();
            turn.in_flight = 0;
            turn.hear(Heard::Job, now, now, INTERVAL);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn p52_a_request_that_gitlab_may_hold_leaves_a_slot_to_each_other_runner() {
        let (mut round, ..) = round(&["a", "b"]);
        for turn in &mut round.turns {
            turn.last_update = Some("5f".to_owned());
        }
        let now = Instant::now() + INTERVAL;
        let mut sent = |index, spare| round.ask(index, now, INTERVAL, spare).1;
        assert_eq!([sent(0, 0), sent(0, 1), sent(0, 2)], [None, None, Some("5f".to_owned())]);
        round.turns[1].due = now + Duration::from_secs(3600); // it rests
        assert_eq!(round.ask(0, now, INTERVAL, 0).1.as_deref(), Some("5f"), "alone it may be held");
    }

    #[test]
    fn p32_a_runner_that_stays_keeps_its_queue_value_and_a_new_token_begins_without_one() {
        let (mut round, sources, now) = round(&["a", "b"]);
        for turn in &mut round.turns {
            turn.last_update = Some(turn.source.runner.name.clone());
            turn.in_flight = 1;
        }
        let changed = source("name = \"b\"\ntoken = \"new\"\n");
        round.replace(&[changed, Arc::clone(&sources[0])], INTERVAL, now);
        let known: Vec<_> = round.turns.iter().map(|turn| (turn.last_update.as_deref(), turn.in_flight)).collect();
        assert_eq!(known, [(None, 0), (Some("a"), 1)]);
        assert!(round.turn_of(&sources[1]).is_none(), "the answer to the old token is nobody's");
    }

    #[test]
    fn p26_a_token_is_renewed_when_none_of_its_requests_is_under_way() {
        let (mut round, sources, now) = round(&["a", "b"]);
        round.turns[0].renew_at = Some(now);
        round.ask(0, now, INTERVAL, 0);
        assert!(round.begin_renewal(now).is_none());
        assert_eq!(round.next(now + INTERVAL, |_| true), Some(1), "it asks no more meanwhile");
        round.turns[0].in_flight = 0;
        assert!(Arc::ptr_eq(&round.begin_renewal(now).unwrap(), &sources[0]));
        round.renewed(&sources[0].runner, Some(now + Duration::from_secs(60)));
        assert!(round.begin_renewal(now).is_none());
        assert_eq!(round.next(now + INTERVAL, |_| true), Some(1));
        assert_eq!(round.wake(now + INTERVAL, |_| false), Some(now + Duration::from_secs(60)));
    }
}

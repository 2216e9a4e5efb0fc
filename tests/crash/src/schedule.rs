//! What happens in a trial: a pure function of its seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::shape::Shape;

/// Jobs come, and faults strike, within this time.
const SPAN: Duration = Duration::from_millis(4_000);

/// Jobs and faults of one trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) jobs: Vec<Planned>,
    pub(crate) faults: Vec<Fault>,
}

/// A job, and when it is enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) shape: Shape,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) when: When,
    pub(crate) what: What,
}

/// The moment of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So long after the start.
    At(Duration),
    /// When this piece of traffic arrives, counted from 1, before it is passed on.
    Piece { side: Side, way: Way, number: u64 },
}

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Gitlab,
    Kube,
}

/// A direction of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    FromServer,
}

/// One of the programs of the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Poll,
    Exec,
    Trace,
}

/// All programs, in the order of the pipe.
pub(crate) const TOOLS: [Tool; 3] = [Tool::Poll, Tool::Exec, Tool::Trace];

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// SIGKILL.
    Kill(Vec<Tool>),
    /// SIGTERM.
    Stop(Vec<Tool>),
    /// SIGSTOP, and SIGCONT after a while.
    Freeze(Vec<Tool>, Duration),
    /// SIGKILL to all; before the restart the journals get half a line at their end, as if a write was interrupted.
    Tear,
    /// All connections to a server end. The piece of traffic that was the moment is lost too.
    Cut(Side),
    /// A server takes no connections.
    Refuse(Side, Duration),
    /// A server takes everything and answers nothing.
    Silence(Side, Duration),
    /// The next requests to a server go wrong.
    Misbehave(Side, Mishap),
    /// Watches must begin anew.
    Compact,
    /// The container logs are rotated.
    Rotate,
    /// A person or a node does something to the pod of a job.
    Harm(Harm, usize),
}

/// How requests go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// So many are answered with this status.
    Status(u16, u64),
    /// So many are carried out, and the answer is lost.
    LostAnswer(u64),
}

/// What is done to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    Delete,
    Evict,
    OomKill,
    KillHelper,
    KillBuild,
}

impl Schedule {
    /// The schedule of `seed`, with `jobs` jobs if that is given.
    pub(crate) fn new(seed: u64, jobs: Option<usize>) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Seeds count up; the first numbers of neighbours are alike.
        rng.u64(..);
        let jobs = jobs.unwrap_or_else(|| rng.usize(3..=8));
        let jobs: Vec<_> =
            (0..jobs).map(|_| Planned { at: moment(&mut rng) / 2, shape: Shape::random(&mut rng) }).collect();
        let faults = (0..rng.usize(1..=6)).map(|_| fault(&mut rng, jobs.len())).collect();
        Self { seed, jobs, faults }
    }
}

fn fault(rng: &mut Rng, jobs: usize) -> Fault {
    let what = what(rng, jobs);
    let when = match rng.bool() {
        true => When::At(moment(rng)),
        false => {
            let side = side(rng);
            let way = if rng.bool() { Way::ToServer } else { Way::FromServer };
            When::Piece { side, way, number: rng.u64(1..=60) }
        }
    };
    Fault { when, what }
}

fn what(rng: &mut Rng, jobs: usize) -> What {
    match rng.u8(0..20) {
        0..=5 => What::Kill(tools(rng)),
        6 => What::Stop(tools(rng)),
        7 | 8 => What::Freeze(tools(rng), while_away(rng)),
        9 => What::Tear,
        10 | 11 => What::Cut(side(rng)),
        12 => What::Refuse(side(rng), while_away(rng)),
        13 => What::Silence(side(rng), while_away(rng)),
        14..=16 => {
            let side = side(rng);
            let count = rng.u64(1..=4);
            let mishap = match rng.u8(0..3) {
                0 => Mishap::LostAnswer(count),
                _ => Mishap::Status(*choose(rng, &[429, 500, 502, 503]), count),
            };
            What::Misbehave(side, mishap)
        }
        17 => What::Compact,
        18 => What::Rotate,
        _ => {
            let harms = [Harm::Delete, Harm::Evict, Harm::OomKill, Harm::KillHelper, Harm::KillBuild];
            What::Harm(*choose(rng, &harms), rng.usize(..jobs))
        }
    }
}

fn moment(rng: &mut Rng) -> Duration {
    SPAN.mul_f64(rng.f64())
}

fn while_away(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(50..2_000))
}

fn side(rng: &mut Rng) -> Side {
    if rng.bool() { Side::Gitlab } else { Side::Kube }
}

/// Mostly one, sometimes two or all.
fn tools(rng: &mut Rng) -> Vec<Tool> {
    let mut tools = TOOLS.to_vec();
    let spared = match rng.u8(0..6) {
        0..=3 => 2,
        4 => 1,
        _ => 0,
    };
    for _ in 0..spared {
        tools.remove(rng.usize(..tools.len()));
    }
    tools
}

fn choose<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(..all.len())]
}

impl Fault {
    /// When it is over at the latest, but for a moment that traffic tells: that is waited for as long as others.
    pub(crate) fn latest(&self) -> Duration {
        let begins = match self.when {
            When::At(at) => at,
            When::Piece { .. } => SPAN,
        };
        match self.what {
            What::Freeze(_, time) | What::Refuse(_, time) | What::Silence(_, time) => begins + time,
            _ => begins,
        }
    }
}

impl What {
    /// The kind of fault, for the table.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Freeze(..) => "freeze",
            Self::Tear => "tear the journal",
            Self::Cut(_) => "cut connections",
            Self::Refuse(..) => "server down",
            Self::Silence(..) => "server silent",
            Self::Misbehave(_, Mishap::Status(..)) => "error answers",
            Self::Misbehave(_, Mishap::LostAnswer(_)) => "lost answers",
            Self::Compact => "compact",
            Self::Rotate => "rotate logs",
            Self::Harm(..) => "harm a pod",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { when, what } = self;
        match when {
            When::At(at) => write!(f, "{what:?} after {} ms", at.as_millis()),
            When::Piece { side, way, number } => write!(f, "{what:?} at piece {number} {way:?} of {side:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        for seed in 0..50 {
            assert_eq!(Schedule::new(seed, None), Schedule::new(seed, None));
        }
        assert_ne!(Schedule::new(1, None).jobs, Schedule::new(2, None).jobs);
    }

    #[test]
    fn many_seeds_reach_every_kind_of_fault_and_every_shape() {
        let all: Vec<_> = (0..500).map(|seed| Schedule::new(seed, None)).collect();
        let kinds: std::collections::BTreeSet<_> =
            all.iter().flat_map(|schedule| &schedule.faults).map(|fault| fault.what.kind()).collect();
        assert_eq!(kinds.len(), 12, "{kinds:?}");
        for shape in Shape::all() {
            assert!(all.iter().flat_map(|s| &s.jobs).any(|job| job.shape.name() == shape.name()), "{shape:?}");
        }
    }
}

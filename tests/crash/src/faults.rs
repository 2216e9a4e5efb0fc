//! Makes the faults of a schedule happen.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fake_gitlab::{Action, Cut};
use fake_kube::{Act, Fault as KubeFault};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::schedule::{Fault, Harm, Mishap, Side, What, When};
use crate::supervisor::Supervisor;
use crate::wire::Condition;
use crate::world::{NAMESPACE, Places, World};

/// What the faults of a trial act on, and what they did.
pub(crate) struct Faults<'a> {
    world: &'a World,
    supervisor: &'a Supervisor,
    began: Instant,
    /// Jobs whose pods were harmed, by name.
    harmed: Mutex<BTreeSet<String>>,
}

impl<'a> Faults<'a> {
    /// Faults are timed from now on.
    pub(crate) fn new(world: &'a World, supervisor: &'a Supervisor) -> Self {
        Self { world, supervisor, began: Instant::now(), harmed: Mutex::default() }
    }

    /// Waits for the moment of `fault` and lets it happen. Returns whether the moment came.
    pub(crate) async fn strike(&self, fault: &Fault) -> bool {
        match fault.when {
            When::At(at) => {
                tokio::time::sleep_until(self.began + at).await;
                self.happen(&fault.what).await;
                true
            }
            When::Piece { side, way, number } => {
                let Ok(piece) = self.world.wire(side).trap(way, number).await else { return false };
                // A server that is away does not hold the piece that told the moment.
                match &fault.what {
                    What::Refuse(..) | What::Silence(..) | What::Freeze(..) => {
                        drop(piece);
                        self.happen(&fault.what).await;
                    }
                    _ => {
                        self.happen(&fault.what).await;
                        drop(piece);
                    }
                }
                true
            }
        }
    }

    /// Nothing is wrong any more, and moments that did not come are not waited for.
    pub(crate) fn end(&self) {
        for side in [Side::Gitlab, Side::Kube] {
            self.world.wire(side).disarm();
        }
        self.world.gitlab.clear_faults();
        self.world.kube.faults().clear();
    }

    /// Jobs whose pods were harmed.
    pub(crate) fn harmed(&self) -> BTreeSet<String> {
        self.harmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn happen(&self, what: &What) {
        match what {
            What::Kill(tools) => drop(self.supervisor.signal(tools, Signal::KILL)),
            What::Stop(tools) => drop(self.supervisor.signal(tools, Signal::TERM)),
            What::Freeze(tools, time) => {
                let run = self.supervisor.signal(tools, Signal::STOP);
                tokio::time::sleep(*time).await;
                self.supervisor.signal_in(run, tools, Signal::CONT);
            }
            What::Tear => {
                let places = self.world.places.clone();
                self.supervisor.kill_and(move || tear(&places));
            }
            What::Cut(side) => self.world.wire(*side).cut(),
            What::Refuse(side, time) => self.condition(*side, Condition::Refusing, *time).await,
            What::Silence(side, time) => self.condition(*side, Condition::Silent, *time).await,
            What::Misbehave(side, mishap) => self.misbehave(*side, *mishap),
            What::Compact => self.world.kube.compact(),
            What::Rotate => {
                for pod in self.world.kube.pods() {
                    if let Some(name) = pod["metadata"]["name"].as_str() {
                        self.world.kube.rotate_log(NAMESPACE, name, "helper");
                    }
                }
            }
            What::Harm(harm, job) => self.harm(*harm, *job),
        }
    }

    async fn condition(&self, side: Side, condition: Condition, time: Duration) {
        self.world.wire(side).set(condition);
        tokio::time::sleep(time).await;
        self.world.wire(side).set(Condition::Open);
    }

    fn misbehave(&self, side: Side, mishap: Mishap) {
        match side {
            Side::Gitlab => {
                let (action, count) = match mishap {
                    Mishap::Status(status, count) => (Action { status: Some(status), ..Action::default() }, count),
                    Mishap::LostAnswer(count) => (Action { cut: Some(Cut::After), ..Action::default() }, count),
                };
                let (path, nth, count) = ("/api/v4/jobs/**".to_owned(), 1, Some(count));
                self.world.gitlab.inject(fake_gitlab::Fault { method: None, path, nth, every: 0, count, action });
            }
            Side::Kube => {
                let (fault, count) = match mishap {
                    Mishap::Status(429, count) => (KubeFault::too_many_requests(1), count),
                    Mishap::Status(status, count) => (KubeFault::answer(status), count),
                    Mishap::LostAnswer(count) => (KubeFault::new(Act::LoseAnswer {}), count),
                };
                self.world.kube.faults().add(fault.times(count));
            }
        }
    }

    /// Harms the pod of a job, if it has one now.
    fn harm(&self, harm: Harm, job: usize) {
        let job = crate::trial::name_of(job);
        let kube = &self.world.kube;
        for pod in kube.pods() {
            let Some(name) = pod["metadata"]["name"].as_str() else { continue };
            let id = pod["metadata"]["labels"]["job.runner.gitlab.com/id"].as_str().and_then(|id| id.parse().ok());
            let is_of_job = id.and_then(|id| self.world.gitlab.job(id)).is_some_and(|report| report.name == job);
            // A pod that is on its way out is not what decides its job any more.
            if !is_of_job || !pod["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            self.harmed.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone());
            // It may be gone at this moment.
            let _ = match harm {
                Harm::Delete => kube.delete(NAMESPACE, name),
                Harm::Evict => kube.evict(NAMESPACE, name, "The node was low on memory"),
                Harm::OomKill => kube.oom_kill(NAMESPACE, name, "build"),
                Harm::KillHelper => kube.kill(NAMESPACE, name, "helper", 9),
                Harm::KillBuild => kube.kill(NAMESPACE, name, "build", 9),
            };
        }
    }
}

/// Half a line at the end of every journal: what a write leaves that a crash interrupted.
fn tear(places: &Places) {
    for journal in places.journals() {
        let half = br#"{"v":1,"type":"log","job":1,"source":"pod","offset":0,"te"#;
        // The job may end at this moment, and its journal with it.
        let _ = OpenOptions::new().append(true).open(journal).and_then(|mut file| file.write_all(half));
    }
}

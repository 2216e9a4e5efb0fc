//! One pod's task: it waits for whatever may happen to the pod, and after each event brings the
//! containers nearer to what they should be and publishes what it knows.
//!
//! Two clocks run as on a real node. What the kubelet does itself is known at once; what happens to a
//! process it learns only at its next look (`status_lag`), so a status is always a little old.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::container::{Container, Role, State};
use super::pod_status::{self, Failure};
use super::stop::Stop;
use super::volumes::Volumes;
use super::{Order, PodView, reap};
use crate::cluster::Cluster;
use crate::json::{int, text};
use crate::store::{Commit, Key};
use crate::{clock, events};

/// From a change of the pod to its volumes being looked at again.
const VOLUME_DELAY: Duration = Duration::from_millis(60);

/// The kubelet looks at volumes again after so long even if nothing happened.
const VOLUME_PERIOD: Duration = Duration::from_secs(60);

/// What processes tell their pod's worker.
#[derive(Debug)]
pub(crate) enum Report {
    /// The run `id` of container `index` ended with this exit code.
    Ended { index: usize, id: String, code: i32 },
    /// What a probe of the run `id` found.
    Probed { index: usize, id: String, what: super::probe::Kind, good: bool },
}

/// The task's state.
pub(crate) struct Worker {
    pub(super) cluster: Arc<Cluster>,
    pub(super) key: Key,
    pub(super) uid: String,
    /// `<root>/p/<first 8 of the uid>`: short, because sockets in it have short paths only.
    pub(super) folder: PathBuf,
    pub(super) view: watch::Receiver<PodView>,
    /// The latest state of the object.
    pub(super) pod: Arc<Value>,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: Volumes,
    mounted: bool,
    refresh_at: Option<Instant>,
    mount_complaint: String,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    inbox: mpsc::UnboundedReceiver<Report>,
    /// Ticks of `status_lag` are counted from here.
    epoch: Instant,
    /// The next look at the containers, if something happened to them.
    look_at: Option<Instant>,
    deadline_at: Option<Instant>,
    pub(super) stop: Option<Stop>,
    /// Why the pod as a whole failed.
    pub(super) failure: Option<Failure>,
    /// The node is lost: nothing is reported any more.
    pub(super) silent: bool,
}

impl Worker {
    pub(crate) fn new(cluster: Arc<Cluster>, key: Key, folder: PathBuf, mut view: watch::Receiver<PodView>) -> Self {
        let pod = Arc::clone(&view.borrow_and_update().pod);
        let (reports, inbox) = mpsc::unbounded_channel();
        Self {
            key,
            uid: text(&pod, "/metadata/uid").to_owned(),
            containers: Container::all_of(&pod),
            volumes: Volumes::new(folder.join("v")),
            folder,
            view,
            pod,
            mounted: false,
            refresh_at: None,
            mount_complaint: String::new(),
            reports,
            inbox,
            epoch: Instant::now(),
            look_at: None,
            deadline_at: None,
            stop: None,
            failure: None,
            silent: false,
            cluster,
        }
    }

    /// Runs the pod until its object is gone.
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        if !self.schedule().await {
            return;
        }
        let mut config_changed = self.cluster.kubelet.config_changed.subscribe();
        self.publish();
        loop {
            let now = self.sync();
            if self.is_over() {
                break;
            }
            let wake = self.next_wake(now);
            tokio::select! {
                changed = self.view.changed() => {
                    if changed.is_err() { break }
                    self.take_view();
                }
                Some(report) = self.inbox.recv() => self.take_report(report),
                Some(order) = orders.recv() => self.obey(order),
                Ok(()) = config_changed.changed(), if self.lacks_config() => self.retry_config(),
                () = sleep_until(wake) => {}
            }
        }
        self.clean_up();
    }

    /// Looks, mounts, starts, stops and publishes, whatever of it is due. Returns the time it went by.
    fn sync(&mut self) -> Instant {
        let now = Instant::now();
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            for container in &mut self.containers {
                container.seen = container.actual.clone();
            }
            self.refresh_at = Some(now); // a look is also a reason to refresh volumes
        }
        if self.deadline_at.is_some_and(|at| at <= now) && self.stop.is_none() {
            self.deadline_at = None;
            let message = "Pod was active on the node longer than the specified deadline";
            self.fail("DeadlineExceeded", message);
        }
        if self.stop.is_none() && (!self.mounted || self.refresh_at.is_some_and(|at| at <= now)) {
            self.mount(now);
        }
        if self.stop.is_none() && self.mounted && !self.silent {
            self.start_due(now);
        }
        self.advance_stop(now);
        self.publish();
        now
    }

    fn mount(&mut self, now: Instant) {
        match self.volumes.refresh(&self.cluster.store, &self.pod) {
            Ok(()) => self.mounted = true,
            Err(complaint) if complaint != self.mount_complaint => {
                self.event("Warning", "FailedMount", &complaint, None);
                self.mount_complaint = complaint;
            }
            Err(_) => {}
        }
        self.refresh_at = Some(now + VOLUME_PERIOD);
    }

    /// Something happened to a container: look at the next tick.
    pub(super) fn look_soon(&mut self) {
        let lag = self.cluster.config.status_lag.max(Duration::from_millis(1));
        let ticks = self.epoch.elapsed().as_nanos() / lag.as_nanos() + 1;
        let at = self.epoch + lag * u32::try_from(ticks).unwrap_or(u32::MAX);
        self.look_at.get_or_insert(at);
    }

    /// The next time at which something is due. What was due at `now` has been done, or is moot.
    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let containers = self.containers.iter().flat_map(|c| [c.retry_at, c.settle_at]);
        let stop = self.stop.as_ref().and_then(Stop::kill_at);
        let own = [self.look_at, self.refresh_at, self.deadline_at, stop];
        own.into_iter().chain(containers).flatten().filter(|at| *at > now).min()
    }

    pub(super) fn take_view(&mut self) {
        let view = self.view.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.pod, view.pod);
        let changed = ["/metadata/labels", "/metadata/annotations", "/spec"]
            .iter()
            .any(|part| before.pointer(part) != self.pod.pointer(part));
        if changed {
            // The earlier of the two: changes in a row must not put it off.
            let soon = Instant::now() + VOLUME_DELAY;
            self.refresh_at = Some(self.refresh_at.map_or(soon, |at| at.min(soon)));
        }
        self.set_deadline();
        if view.gone {
            self.stop_removed();
        } else if !text(&self.pod, "/metadata/deletionTimestamp").is_empty() {
            let grace = int(&self.pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(30);
            self.stop_deleted(Duration::from_secs(grace.unsigned_abs()));
        }
    }

    fn set_deadline(&mut self) {
        let seconds = int(&self.pod, "/spec/activeDeadlineSeconds");
        let started = clock::parse(text(&self.pod, "/status/startTime"));
        let (Some(seconds), Some(started)) = (seconds, started) else {
            return;
        };
        let end = started + Duration::from_secs(seconds.unsigned_abs());
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        let moot = self.stop.is_some() || self.is_terminal();
        self.deadline_at = (!moot).then(|| Instant::now() + left);
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Ended { index, id, code } => self.note_end(index, &id, code),
            Report::Probed { index, id, what, good } => self.note_probe(index, &id, what, good),
        }
        self.look_soon();
    }

    fn lacks_config(&self) -> bool {
        !self.mounted || self.containers.iter().any(|c| c.lacks_config)
    }

    fn retry_config(&mut self) {
        for container in &mut self.containers {
            if std::mem::take(&mut container.lacks_config) {
                container.retry_at = None;
            }
        }
    }

    /// Succeeded or failed: nothing will be started any more.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    fn phase(&self) -> &'static str {
        let derived = pod_status::phase(&self.containers, self.restart_policy());
        let runs = self.containers.iter().any(|c| c.seen.is_running() || c.actual.is_running());
        match &self.failure {
            Some(_) if !runs => "Failed",
            // A pod is not said to have ended before its containers have.
            _ if runs && matches!(derived, "Succeeded" | "Failed") => "Running",
            _ => derived,
        }
    }

    pub(super) fn restart_policy(&self) -> &str {
        text(&self.pod, "/spec/restartPolicy")
    }

    /// Writes what the kubelet knows into the object, if that is news.
    pub(super) fn publish(&mut self) {
        if self.silent {
            return;
        }
        let phase = self.phase();
        let failure = self.failure.clone().filter(|_| phase == "Failed");
        let (containers, mounted) = (std::mem::take(&mut self.containers), self.mounted);
        self.change(|pod| {
            pod["status"] = pod_status::status(pod, &containers, phase, failure.as_ref(), mounted);
        });
        self.containers = containers;
        if self.deadline_at.is_none() && self.stop.is_none() {
            self.set_deadline();
        }
    }

    /// Changes the object, as long as it is still this pod.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let uid = self.uid.clone();
        let changed = self.cluster.store.update(&self.key, Commit::Keep, |old| {
            let mut pod = old.clone();
            if text(old, "/metadata/uid") == uid {
                change(&mut pod);
            }
            Ok(pod)
        });
        // Gone: the view says so too, and is what ends the worker.
        if let Ok(pod) = changed
            && text(&pod, "/metadata/uid") == self.uid
        {
            self.pod = pod;
        }
    }

    /// Records an event about the pod, or about one container of it.
    pub(super) fn event(&self, kind: &str, reason: &str, message: &str, container: Option<usize>) {
        let field = container.map(|index| {
            let container = &self.containers[index];
            let list = if container.role == Role::Main { "containers" } else { "initContainers" };
            format!("spec.{list}{{{}}}", container.name())
        });
        events::record(&self.cluster.store, &self.pod, kind, reason, message, field);
    }

    /// The folder goes when nothing runs in it any more.
    fn clean_up(&self) {
        for container in &self.containers {
            if let State::Running(running) = &container.actual {
                running.kill();
            }
        }
        self.cluster.kubelet.drop_logs(&self.folder);
        if let Err(error) = reap::clear(&self.folder) {
            tracing::warn!("remove {}: {error}", self.folder.display());
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

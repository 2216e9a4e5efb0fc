//! Ending a pod: because it is deleted, failed as a whole, or only its sidecars are left.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::container::{Container, Role, Running, State};
use super::pod_status::Failure;
use super::reap::{self, Hearing};
use super::worker::Worker;
use crate::json::{int, list, text};

/// Why the containers are being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The object has a deletion time: it goes when the containers have gone.
    Deleted,
    /// The object went first.
    Removed,
    /// The pod failed, or its work is done: the object stays.
    Ended,
}

/// An end in progress.
#[derive(Debug)]
pub(crate) struct Stop {
    why: Why,
    /// What still runs then is killed.
    kill_at: Instant,
    grace: Duration,
    /// Sidecars are asked only when the others have ended.
    asked_mains: bool,
    asked_sidecars: bool,
    killed: bool,
    /// Everything is done; only the status may still change.
    done: bool,
}

impl Stop {
    fn new(why: Why, grace: Duration) -> Self {
        Self {
            why,
            kill_at: Instant::now() + grace,
            grace,
            asked_mains: false,
            asked_sidecars: false,
            killed: false,
            done: false,
        }
    }

    /// When the worker must act again.
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        (!self.killed).then_some(self.kill_at)
    }
}

impl Worker {
    /// The pod fails as a whole.
    pub(super) fn fail(&mut self, reason: &str, message: &str) {
        if self.is_terminal() {
            return;
        }
        self.failure = Some(Failure { reason: reason.to_owned(), message: message.to_owned() });
        let seconds = match reason {
            "Evicted" => 0, // as when the node runs out of something
            _ => int(&self.pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30),
        };
        let grace = Duration::from_secs(seconds.unsigned_abs());
        self.stop.get_or_insert_with(|| Stop::new(Why::Ended, grace));
    }

    /// The object asks for its deletion; a second request may shorten the grace.
    pub(super) fn stop_deleted(&mut self, grace: Duration) {
        let stop = self.stop.get_or_insert_with(|| Stop::new(Why::Deleted, grace));
        if stop.why == Why::Ended {
            stop.why = Why::Deleted;
            stop.done = false;
        }
        if grace < stop.grace {
            stop.kill_at = stop.kill_at.min(Instant::now() + grace);
            stop.grace = grace;
        }
    }

    /// The object is gone: whatever runs is killed now.
    pub(super) fn stop_removed(&mut self) {
        let now = Instant::now();
        let stop = self.stop.get_or_insert_with(|| Stop::new(Why::Removed, Duration::ZERO));
        stop.why = Why::Removed;
        stop.killed = false;
        stop.kill_at = stop.kill_at.min(now);
    }

    /// The work is done; sidecars have no reason to stay.
    pub(super) fn stop_sidecars(&mut self) {
        let runs = |c: &Container| c.role == Role::Sidecar && c.actual.is_running();
        if self.containers.iter().any(runs) {
            let seconds = int(&self.pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
            let grace = Duration::from_secs(seconds.unsigned_abs());
            self.stop.get_or_insert_with(|| Stop::new(Why::Ended, grace));
        }
    }

    /// Asks, waits, kills, and finally lets the object go.
    pub(super) fn advance_stop(&mut self, now: Instant) {
        let Some(mut stop) = self.stop.take() else { return };
        if self.silent && stop.why != Why::Removed {
            // A lost node confirms nothing: its pods stay until somebody deletes them by force.
            stop.killed = true;
            self.stop = Some(stop);
            return;
        }
        let running = |role_is_sidecar: bool| {
            let wanted = move |c: &&Container| (c.role == Role::Sidecar) == role_is_sidecar;
            self.containers.iter().filter(wanted).filter(|c| c.actual.is_running())
        };
        if stop.why != Why::Removed {
            if !stop.asked_mains {
                stop.asked_mains = true;
                running(false).for_each(|c| self.ask(c));
            }
            if !stop.asked_sidecars && running(false).next().is_none() {
                stop.asked_sidecars = true;
                running(true).for_each(|c| self.ask(c));
            }
        }
        if !stop.killed && stop.kill_at <= now {
            stop.killed = true;
            for container in &self.containers {
                if let State::Running(running) = &container.actual {
                    running.kill();
                }
            }
        }
        let quiet = |c: &Container| !c.actual.is_running() && !c.seen.is_running();
        let all_quiet = self.containers.iter().all(quiet);
        if all_quiet && !stop.done {
            stop.done = true;
            stop.killed = true;
            if stop.why == Why::Deleted {
                self.publish();
                self.cluster.store.remove(&self.key, Some(&self.uid));
            }
        }
        self.stop = Some(stop);
    }

    /// The object is gone and nothing runs.
    pub(super) fn is_over(&self) -> bool {
        let stopped = self.stop.as_ref().is_some_and(|stop| stop.why == Why::Removed && stop.killed);
        stopped && self.containers.iter().all(|c| !c.actual.is_running())
    }

    /// SIGTERM to the main process, after the preStop hook.
    fn ask(&self, container: &Container) {
        let State::Running(running) = &container.actual else { return };
        let name = container.name();
        let index = self.containers.iter().position(|c| c.name() == name);
        self.event("Normal", "Killing", &format!("Stopping container {name}"), index);
        let hook: Vec<String> = list(&container.spec, "/lifecycle/preStop/exec/command")
            .iter()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        let (running, pod) = (running.clone(), Arc::clone(&self.pod));
        tokio::spawn(async move {
            if !hook.is_empty()
                && let Err(error) = running.program.exec(&running.id, &hook).await
            {
                tracing::warn!("{}: preStop: {error}", text(&pod, "/metadata/name"));
            }
            terminate(&running).await;
        });
    }
}

/// A first process that did not ask to hear SIGTERM does not: in a real container the kernel drops
/// the signal, and the pod lasts for its whole grace period.
async fn terminate(running: &Running) {
    /// Longer than a shell blocks signals while it forks.
    const FORK: Duration = Duration::from_millis(30);
    if reap::hearing(running.pid, Signal::TERM) == Hearing::Blocks {
        tokio::time::sleep(FORK).await;
    }
    if reap::hearing(running.pid, Signal::TERM) != Hearing::Deaf {
        reap::signal(running.pid, Signal::TERM);
    }
}

//! What is done to a pod from outside of the API: evictions, kills, rotations, a lost node.

use rustix::process::Signal;

use super::container::{Container, Role, State};
use super::worker::Worker;
use super::{Order, pod_status, reap};
use crate::clock;
use crate::json::{set_meta, text};

impl Worker {
    /// Carries out an order.
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Evict(message) => {
                self.event("Warning", "Evicted", &message, None);
                self.fail("Evicted", &message);
            }
            Order::OomKill(name) => self.kill_one(&name, Some("OOMKilled"), Signal::KILL),
            Order::Kill(name, number) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    self.kill_one(&name, None, signal);
                }
            }
            Order::RotateLog(name) => {
                if let Some(log) = self.named(&name).and_then(|c| c.log.clone()) {
                    log.rotate();
                }
            }
            Order::LoseNode => self.lose_node(),
        }
    }

    /// The container of this name, or the first one.
    fn named(&mut self, name: &str) -> Option<&mut Container> {
        let mut all = self.containers.iter_mut();
        all.find(|c| if name.is_empty() { c.role == Role::Main } else { c.name() == name })
    }

    fn kill_one(&mut self, name: &str, reason: Option<&'static str>, signal: Signal) {
        let Some(container) = self.named(name) else { return };
        let State::Running(running) = container.actual.clone() else { return };
        container.killed_as = reason;
        if signal == Signal::KILL {
            running.kill();
        } else {
            reap::signal(running.pid, signal);
        }
    }

    fn lose_node(&mut self) {
        self.silent = true;
        for container in &self.containers {
            if let State::Running(running) = &container.actual {
                running.kill();
            }
        }
        self.change(|pod| {
            let why = || (false, "NodeLost", "Kubelet stopped posting node status.".to_owned());
            let ready = pod_status::condition(&pod["status"], "Ready", why());
            if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
                conditions.retain(|c| c["type"] != "Ready");
                conditions.push(ready);
            }
            let node = crate::cluster::NODE;
            pod["status"]["reason"] = "NodeLost".into();
            pod["status"]["message"] =
                format!("Node {node} which was running pod {} is unresponsive", text(pod, "/metadata/name")).into();
            set_meta(pod, "deletionTimestamp", clock::now());
            set_meta(pod, "deletionGracePeriodSeconds", 30);
        });
    }
}

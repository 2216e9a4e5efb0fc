//! Finding a node for a pod: the only one, unless a fault forbids it.

use super::pod_status;
use super::worker::Worker;
use crate::json::text;

impl Worker {
    /// Finds a node for the pod; `false` if the pod went away first.
    pub(super) async fn schedule(&mut self) -> bool {
        let mut faults = self.cluster.faults.subscribe();
        if !text(&self.pod, "/spec/nodeName").is_empty() {
            return true;
        }
        let mut told = String::new();
        while let Some(why) = self.cluster.faults.unschedulable() {
            if told != why {
                self.say_unschedulable(&why);
                told = why;
            }
            tokio::select! {
                Ok(()) = faults.changed() => {}
                changed = self.view.changed() => {
                    if changed.is_err() { return false }
                    self.take_view();
                    if self.view.borrow().gone { return false }
                }
            }
        }
        let message =
            format!("Successfully assigned {}/{} to {}", self.key.namespace, self.key.name, crate::cluster::NODE);
        self.change(|pod| {
            pod["spec"]["nodeName"] = crate::cluster::NODE.into();
            let scheduled = pod_status::condition(&pod["status"], "PodScheduled", (true, "", String::new()));
            pod["status"]["conditions"] = vec![scheduled].into();
        });
        self.event("Normal", "Scheduled", &message, None);
        true
    }

    fn say_unschedulable(&mut self, why: &str) {
        self.change(|pod| {
            let why = (false, "Unschedulable", why.to_owned());
            let scheduled = pod_status::condition(&pod["status"], "PodScheduled", why);
            pod["status"]["conditions"] = vec![scheduled].into();
        });
        self.event("Warning", "FailedScheduling", why, None);
    }
}

//! What a pod's status says, in the words of the job log.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use runner_core::frame::Outcome;

use crate::follow::HELPER;
use crate::pod::INSTALL;
use crate::verdict::Verdict;

/// The line, and the conditions below it, that tell what a pod is waiting for; empty once it runs.
pub(crate) fn waiting(pod: &Pod, namespace: &str) -> String {
    let Some(status) = &pod.status else { return String::new() };
    let phase = status.phase.as_deref().unwrap_or("Pending");
    if phase != "Pending" {
        return String::new();
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("<unknown>");
    let mut text = format!("Waiting for pod {namespace}/{name} to be running on the node {node}, status is {phase}");
    for condition in status.conditions.iter().flatten() {
        let (reason, message) = (condition.reason.as_deref().unwrap_or_default(), condition.message.as_deref());
        if !reason.is_empty() && condition.status != "True" {
            let line = format!("\n\t{reason}: {:?}", message.unwrap_or_default());
            // Ready and ContainersReady say the same.
            if !text.contains(&line) {
                text.push_str(&line);
            }
        }
    }
    text
}

/// Why the scheduler finds no node, if it finds none.
pub(crate) fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    condition.message.clone()
}

/// How the container `name` ended, if it has.
pub(crate) fn terminated(pod: &Pod, name: &str) -> Option<String> {
    let (_, terminated) = ended(pod).find(|(status, _)| status.name == name)?;
    Some(describe(name, terminated))
}

/// The helper's result, from its termination message.
pub(crate) fn outcome(pod: &Pod) -> Option<Outcome> {
    let (_, terminated) = ended(pod).find(|(status, _)| status.name == HELPER)?;
    serde_json::from_str(terminated.message.as_deref()?).ok()
}

/// Whether all of the pod ends, not one of its containers: it is being deleted, or its node has ended it.
pub(crate) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || pod.status.as_ref().is_some_and(|status| status.reason.is_some())
}

/// Why a pod stopped without a result: the most precise reason that Kubernetes gives.
pub(crate) fn why_lost(pod: Option<&Pod>, namespace: &str, name: &str) -> Verdict {
    let Some(pod) = pod else { return Verdict::system(format!("pod \"{namespace}/{name}\" is deleted")) };
    let status = pod.status.as_ref();
    let disrupted = status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    if let Some(condition) = disrupted {
        let (reason, message) = (condition.reason.as_deref(), condition.message.as_deref());
        let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
        return Verdict::system(format!(
            "pod \"{namespace}/{name}\" is disrupted: reason \"{reason}\", message \"{message}\""
        ));
    }
    if let Some(reason) = status.and_then(|s| s.reason.as_deref()) {
        let message = status.and_then(|s| s.message.as_deref()).unwrap_or_default();
        return Verdict::system(format!("pod \"{namespace}/{name}\" status is \"Failed\": {reason}: {message}"));
    }
    let by_oom = ended(pod).find(|(_, terminated)| terminated.reason.as_deref() == Some("OOMKilled"));
    if let Some((container, terminated)) = by_oom {
        return Verdict::system(describe(&container.name, terminated));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Verdict::system(format!("pod \"{namespace}/{name}\" is being deleted"));
    }
    for container in [INSTALL, HELPER, "build"] {
        if let Some(message) = terminated(pod, container) {
            return Verdict::system(message);
        }
    }
    Verdict::system(format!("pod \"{namespace}/{name}\" is deleted"))
}

fn ended(pod: &Pod) -> impl Iterator<Item = (&ContainerStatus, &ContainerStateTerminated)> {
    let statuses =
        pod.status.iter().flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses).flatten());
    let ended = statuses.filter_map(|status| Some((status, status.state.as_ref()?.terminated.as_ref()?)));
    // An init container that has done its work is no news.
    ended.filter(|(status, terminated)| status.name != INSTALL || terminated.exit_code != 0)
}

fn describe(container: &str, terminated: &ContainerStateTerminated) -> String {
    let reason = terminated.reason.as_deref().unwrap_or("Error");
    let mut text = format!("Error in container {container}: exit code: {}, reason: '{reason}'", terminated.exit_code);
    if let Some(message) = terminated.message.as_deref().filter(|m| !m.trim().is_empty() && !m.starts_with('{')) {
        text.push_str(": ");
        text.push_str(message.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn ended_container(name: &str, code: i32, reason: &str, message: &str) -> Value {
        json!({"name": name, "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}})
    }

    #[test]
    fn the_most_precise_reason_is_given() {
        let oom = ended_container("build", 137, "OOMKilled", "");
        let disrupted =
            json!([{"type": "DisruptionTarget", "status": "True", "reason": "Eviction", "message": "drain"}]);
        for (status, expected) in [
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
                "status is \"Failed\": Evicted: low on memory",
            ),
            (json!({"containerStatuses": [oom]}), "Error in container build: exit code: 137, reason: 'OOMKilled'"),
            (json!({"conditions": disrupted}), "is disrupted: reason \"Eviction\", message \"drain\""),
            (
                json!({"containerStatuses": [ended_container("helper", 2, "Error", "no such file")]}),
                "container helper: exit code: 2, reason: 'Error': no such file",
            ),
            (json!({}), "pod \"ci/p\" is deleted"),
        ] {
            let verdict = why_lost(Some(&pod(status)), "ci", "p");
            assert!(verdict.message.contains(expected), "{}", verdict.message);
        }
    }

    #[test]
    fn the_termination_message_holds_the_result() {
        let message = r#"{"state":"failed","exit_code":7,"failure_reason":"script_failure","message":"m","length":12}"#;
        let outcome =
            outcome(&pod(json!({"containerStatuses": [ended_container("helper", 7, "Error", message)]}))).unwrap();
        assert_eq!((outcome.exit_code, outcome.length), (Some(7), 12));
    }

    #[test]
    fn a_waiting_pod_says_for_what() {
        let conditions =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]);
        let pod = pod(json!({"phase": "Pending", "conditions": conditions}));
        let text = "Waiting for pod ci/p to be running on the node <unknown>, status is Pending\n\tUnschedulable: \"0/1 nodes\"";
        assert_eq!(waiting(&pod, "ci"), text);
        assert_eq!(unschedulable(&pod).as_deref(), Some("0/1 nodes"));
    }
}

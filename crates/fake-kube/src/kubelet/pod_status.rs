//! A pod's phase, conditions and status object, from its containers.

use serde_json::{Value, json};

use super::container::{Container, Role, State};
use crate::clock;
use crate::json::{list, text};

/// Why a pod failed as a whole (`Evicted`, `DeadlineExceeded`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The phase that follows from what the kubelet knows of the containers.
pub(crate) fn phase(containers: &[Container], restart_policy: &str) -> &'static str {
    for init in containers.iter().filter(|c| c.role == Role::Init) {
        match init.seen.terminated() {
            Some(terminated) if terminated.code == 0 => {}
            Some(_) if restart_policy == "Never" => return "Failed",
            _ => return "Pending",
        }
    }
    let sidecar_waits =
        |c: &Container| c.role == Role::Sidecar && matches!(c.seen, State::Waiting { .. }) && c.last.is_none();
    if containers.iter().any(sidecar_waits) {
        return "Pending";
    }
    let mains = || containers.iter().filter(|c| c.role == Role::Main);
    if mains().any(|c| matches!(c.seen, State::Waiting { .. }) && c.last.is_none()) {
        return "Pending";
    }
    let ended = |c: &Container| c.seen.terminated().map(|terminated| terminated.code);
    if mains().any(|c| ended(c).is_none()) {
        return "Running";
    }
    let failed = mains().any(|c| ended(c) != Some(0));
    match restart_policy {
        "Always" => "Running",
        "OnFailure" if failed => "Running",
        _ if failed => "Failed",
        _ => "Succeeded",
    }
}

/// The status object of a scheduled pod. `old` is the present one: times of unchanged conditions stay.
pub(crate) fn status(
    pod: &Value,
    containers: &[Container],
    phase: &str,
    failure: Option<&Failure>,
    sandbox: bool,
) -> Value {
    let old = &pod["status"];
    let statuses = |mains: bool| {
        let of_kind = containers.iter().filter(|c| (c.role == Role::Main) == mains);
        of_kind.map(Container::status).collect::<Vec<_>>()
    };
    let mut status = json!({
        "phase": phase,
        "conditions": conditions(old, containers, phase, failure, sandbox),
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": match text(old, "/startTime") { "" => clock::now(), time => time.to_owned() },
        "qosClass": "BestEffort",
        "containerStatuses": statuses(true),
    });
    let inits = statuses(false);
    if !inits.is_empty() {
        status["initContainerStatuses"] = inits.into();
    }
    if sandbox {
        status["podIP"] = "127.0.0.1".into();
        status["podIPs"] = json!([{"ip": "127.0.0.1"}]);
    }
    if let Some(failure) = failure {
        status["reason"] = failure.reason.as_str().into();
        status["message"] = failure.message.as_str().into();
    }
    status
}

fn conditions(old: &Value, containers: &[Container], phase: &str, failure: Option<&Failure>, sandbox: bool) -> Value {
    let names = |filter: &dyn Fn(&Container) -> bool| {
        let names: Vec<_> = containers.iter().filter(|c| filter(c)).map(Container::name).collect();
        names.join(" ")
    };
    let done = phase == "Succeeded";
    let terminal = done || phase == "Failed";
    let uninitialized = names(&|c| match c.role {
        Role::Init => !c.is_ready(),
        Role::Sidecar => !c.has_started() && !terminal,
        Role::Main => false,
    });
    let unready = names(&|c| c.role != Role::Init && !c.is_ready());
    let ready = if terminal {
        (false, if done { "PodCompleted" } else { "PodFailed" }, String::new())
    } else if unready.is_empty() {
        (true, "", String::new())
    } else {
        let message = format!("containers with unready status: [{unready}]");
        (false, "ContainersNotReady", message)
    };
    let initialized = if done {
        (true, "PodCompleted", String::new())
    } else if uninitialized.is_empty() {
        (true, "", String::new())
    } else {
        let message = format!("containers with incomplete status: [{uninitialized}]");
        (false, "ContainersNotInitialized", message)
    };
    let mut conditions = vec![
        condition(old, "PodReadyToStartContainers", (sandbox && !terminal, "", String::new())),
        condition(old, "Initialized", initialized),
        condition(old, "Ready", ready.clone()),
        condition(old, "ContainersReady", ready),
        condition(old, "PodScheduled", (true, "", String::new())),
    ];
    if let Some(failure) = failure
        && failure.reason == "Evicted"
    {
        let why = (true, "TerminationByKubelet", failure.message.clone());
        conditions.push(condition(old, "DisruptionTarget", why));
    }
    conditions.into()
}

/// One condition; `lastTransitionTime` moves only when the answer does.
pub(crate) fn condition(old: &Value, kind: &str, (is_true, reason, message): (bool, &str, String)) -> Value {
    let status = if is_true { "True" } else { "False" };
    let before = list(old, "/conditions").iter().find(|c| text(c, "/type") == kind);
    let since = before
        .filter(|c| text(c, "/status") == status)
        .map_or_else(clock::now, |c| text(c, "/lastTransitionTime").to_owned());
    let mut condition = json!({
        "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since,
    });
    if !reason.is_empty() {
        condition["reason"] = reason.into();
    }
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    condition
}

//! Why a container does not start: the waiting reasons of its status, classified.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use runner_core::failure::FailureReason;

use crate::follow::HELPER;

/// A container that will not start by waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub(crate) container: String,
    pub(crate) image: String,
    pub(crate) reason: FailureReason,
    pub(crate) message: String,
    /// The image could not be pulled: another pull policy may help.
    pub(crate) is_pull: bool,
    /// The cause may pass (a registry that is away): the kubelet tries again by itself.
    pub(crate) may_pass: bool,
}

/// The first container of `pod` that is stuck, if one is.
pub(crate) fn start_failure(pod: &Pod) -> Option<StartFailure> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).find_map(stuck)
}

fn stuck(status: &ContainerStatus) -> Option<StartFailure> {
    let state = status.state.as_ref()?;
    if let Some(failure) = state.terminated.as_ref().and_then(|ended| never_ran(status, ended)) {
        return Some(failure);
    }
    let waiting = state.waiting.as_ref()?;
    let said = waiting.message.as_deref().unwrap_or_default();
    let container = status.name.clone();
    let image = status.image.clone();
    let configuration = |message: String| {
        let reason = FailureReason::RunnerConfigurationError;
        Some(StartFailure {
            container: container.clone(),
            image: image.clone(),
            reason,
            message,
            is_pull: false,
            may_pass: false,
        })
    };
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            let (reason, may_pass) = pull_reason(said);
            let message = format!("pulling image \"{image}\" for container {container}: image pull failed: {said}");
            Some(StartFailure { container, image, reason, message, is_pull: true, may_pass })
        }
        "ErrImageNeverPull" => {
            let message = format!("pulling image \"{image}\" for container {container}: image pull failed: {said}");
            let reason = FailureReason::RunnerConfigurationError;
            Some(StartFailure { container, image, reason, message, is_pull: true, may_pass: false })
        }
        "InvalidImageName" => configuration(format!("image pull failed: {said}")),
        "CrashLoopBackOff" => configuration(format!("container \"{container}\" is in CrashLoopBackOff: {said}")),
        "CreateContainerConfigError" => configuration(format!("container configuration error: {said}")),
        reason @ ("CreateContainerError" | "RunContainerError" | "PostStartHookError") => {
            configuration(format!("container \"{container}\" with image \"{image}\" cannot start: {reason}: {said}"))
        }
        _ => None,
    }
}

/// A container that the runtime could not start is `terminated` without ever having run: an image without `sh` as a rule. The
/// helper cannot see that its neighbour will not come. Services may fail, the job goes on without them.
fn never_ran(status: &ContainerStatus, ended: &ContainerStateTerminated) -> Option<StartFailure> {
    let reason = ended.reason.as_deref().filter(|&reason| reason == "StartError" || reason == "ContainerCannotRun")?;
    if status.name != HELPER && status.name != "build" {
        return None;
    }
    let (container, image) = (status.name.clone(), status.image.clone());
    let said = ended.message.as_deref().unwrap_or_default();
    let message = format!("container \"{container}\" with image \"{image}\" cannot start: {reason}: {said}");
    let reason = FailureReason::RunnerConfigurationError;
    Some(StartFailure { container, image, reason, message, is_pull: false, may_pass: false })
}

/// What a pull error's text tells of its cause, and whether that may pass.
fn pull_reason(said: &str) -> (FailureReason, bool) {
    const UNREACHABLE: [&str; 8] = [
        "dial tcp",
        "connection refused",
        "no such host",
        "i/o timeout",
        "tls handshake",
        "client.timeout exceeded",
        "request canceled",
        "connection reset",
    ];
    const REFUSED: [&str; 8] = [
        "not found",
        "manifest unknown",
        "pull access denied",
        "access to the resource is denied",
        "no basic auth credentials",
        "repository does not exist or may require",
        "unauthorized",
        "authentication required",
    ];
    let said = said.to_lowercase();
    if UNREACHABLE.iter().any(|text| said.contains(text)) {
        (FailureReason::RunnerExternalDependencyFailure, true)
    } else if REFUSED.iter().any(|text| said.contains(text)) {
        (FailureReason::RunnerConfigurationError, false)
    } else {
        (FailureReason::ImagePullFailure, false)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(reason: &str, message: &str) -> Pod {
        serde_json::from_value(json!({"status": {"containerStatuses": [{
            "name": "build", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }]}}))
        .unwrap()
    }

    #[test]
    fn waiting_reasons_are_classified() {
        use FailureReason::*;
        for (reason, message, class, text) in [
            ("ErrImagePull", "dial tcp: no route", RunnerExternalDependencyFailure, "image pull failed: dial tcp"),
            (
                "ImagePullBackOff",
                "manifest unknown",
                RunnerConfigurationError,
                "pulling image \"x:1\" for container build",
            ),
            ("ErrImagePull", "something odd", ImagePullFailure, "something odd"),
            ("ErrImageNeverPull", "not present with pull policy of Never", RunnerConfigurationError, "x:1"),
            ("InvalidImageName", "bad", RunnerConfigurationError, "image pull failed: bad"),
            ("CrashLoopBackOff", "back-off", RunnerConfigurationError, "container \"build\" is in CrashLoopBackOff"),
            ("CreateContainerConfigError", "no key", RunnerConfigurationError, "container configuration error: no key"),
            ("CreateContainerError", "exec: sh", RunnerConfigurationError, "\"x:1\" cannot start"),
        ] {
            let failure = start_failure(&pod(reason, message)).unwrap();
            assert_eq!(failure.reason, class, "{reason}");
            assert!(failure.message.contains(text), "{}", failure.message);
        }
    }

    fn ended(container: &str, reason: &str) -> Pod {
        serde_json::from_value(json!({"status": {"containerStatuses": [{
            "name": container, "image": "x:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 128, "reason": reason, "message": "exec: \"sh\": not found"}},
        }]}}))
        .unwrap()
    }

    #[test]
    fn an_image_that_cannot_be_started_is_named() {
        for container in ["build", "helper"] {
            let failure = start_failure(&ended(container, "StartError")).unwrap();
            assert!(failure.message.contains("\"x:1\" cannot start: StartError: exec: \"sh\""), "{}", failure.message);
            assert!(!failure.is_pull && !failure.may_pass);
        }
        assert_eq!(start_failure(&ended("postgres", "StartError")), None, "a service may fail");
        assert_eq!(start_failure(&ended("build", "Completed")), None);
    }

    #[test]
    fn a_container_that_is_being_made_is_not_stuck() {
        assert_eq!(start_failure(&pod("ContainerCreating", "")), None);
        assert_eq!(start_failure(&pod("PodInitializing", "")), None);
    }
}

//! One container as the kubelet knows it, and its part of the pod's status.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::log_file::LogFile;
use super::process::Program;
use super::reap;
use crate::clock;
use crate::json::{list, text};

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that stays: `restartPolicy: Always`.
    Sidecar,
    Main,
}

/// What a container does now.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Waiting { reason: String, message: String },
    Running(Running),
    Terminated(Terminated),
}

/// A container that runs.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) started: SystemTime,
    pub(crate) program: Arc<Program>,
}

/// A container that ran.
#[derive(Debug, Clone)]
pub(crate) struct Terminated {
    /// Empty if it never started.
    pub(crate) id: String,
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) started: SystemTime,
    pub(crate) finished: SystemTime,
}

impl Running {
    /// Kills the container with everything it started.
    pub(crate) fn kill(&self) {
        reap::kill_container(self.pid, &self.program.mark(&self.id));
    }
}

impl State {
    pub(crate) fn waiting(reason: &str, message: &str) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: message.to_owned() }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub(crate) fn terminated(&self) -> Option<&Terminated> {
        match self {
            Self::Terminated(terminated) => Some(terminated),
            _ => None,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Waiting { .. } => "",
            Self::Running(running) => &running.id,
            Self::Terminated(terminated) => &terminated.id,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Waiting { reason, message } if message.is_empty() => {
                json!({"waiting": {"reason": reason}})
            }
            Self::Waiting { reason, message } => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            Self::Running(running) => {
                json!({"running": {"startedAt": clock::format(running.started)}})
            }
            Self::Terminated(terminated) => json!({"terminated": terminated.to_json()}),
        }
    }
}

impl Terminated {
    fn to_json(&self) -> Value {
        let mut json = json!({
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": clock::format(self.started),
            "finishedAt": clock::format(self.finished),
        });
        if !self.id.is_empty() {
            json["containerID"] = container_id(&self.id).into();
        }
        if !self.message.is_empty() {
            json["message"] = self.message.as_str().into();
        }
        json
    }
}

/// A container id as it stands in a status.
pub(crate) fn container_id(id: &str) -> String {
    format!("containerd://{id}")
}

/// One container of a pod.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) spec: Value,
    pub(crate) role: Role,
    /// What is so.
    pub(crate) actual: State,
    /// What the kubelet knows: `actual` as of its last look.
    pub(crate) seen: State,
    /// How the run before this one ended.
    pub(crate) last: Option<Terminated>,
    pub(crate) restarts: u32,
    /// The log of the present or latest run.
    pub(crate) log: Option<Arc<LogFile>>,
    /// Not started again before.
    pub(crate) retry_at: Option<Instant>,
    /// The pause before the next attempt.
    pub(crate) back_off: Duration,
    /// The next time at which `ErrImagePull` becomes `ImagePullBackOff`.
    pub(crate) settle_at: Option<Instant>,
    /// Waits for a secret or config map.
    pub(crate) lacks_config: bool,
    /// The readiness probe's last word; `None` without a probe.
    pub(crate) ready: Option<bool>,
    /// The startup probe's last word; `None` without a probe.
    pub(crate) started: Option<bool>,
    /// Why we killed it, if the reason in the status must say so (`OOMKilled`).
    pub(crate) killed_as: Option<&'static str>,
}

impl Container {
    /// The containers of a pod in the order in which they start.
    pub(crate) fn all_of(pod: &Value) -> Vec<Self> {
        let inits = list(pod, "/spec/initContainers").iter().map(|spec| {
            let sidecar = text(spec, "/restartPolicy") == "Always";
            (spec, if sidecar { Role::Sidecar } else { Role::Init })
        });
        let mains = list(pod, "/spec/containers").iter().map(|spec| (spec, Role::Main));
        let has_init = !list(pod, "/spec/initContainers").is_empty();
        inits
            .chain(mains)
            .map(|(spec, role)| {
                let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
                let state = State::waiting(reason, "");
                Self {
                    spec: spec.clone(),
                    role,
                    actual: state.clone(),
                    seen: state,
                    last: None,
                    restarts: 0,
                    log: None,
                    retry_at: None,
                    back_off: Duration::ZERO,
                    settle_at: None,
                    lacks_config: false,
                    ready: spec.get("readinessProbe").map(|_| false),
                    started: spec.get("startupProbe").map(|_| false),
                    killed_as: None,
                }
            })
            .collect()
    }

    pub(crate) fn name(&self) -> &str {
        text(&self.spec, "/name")
    }

    pub(crate) fn image(&self) -> &str {
        text(&self.spec, "/image")
    }

    /// What is so and what the kubelet knows, at once: for states that are the kubelet's own.
    pub(crate) fn set(&mut self, state: State) {
        self.actual = state.clone();
        self.seen = state;
    }

    /// Running, and the startup probe, if there is one, was content.
    pub(crate) fn has_started(&self) -> bool {
        self.seen.is_running() && self.started != Some(false)
    }

    pub(crate) fn is_ready(&self) -> bool {
        match self.role {
            Role::Init => self.seen.terminated().is_some_and(|t| t.code == 0),
            _ => self.has_started() && self.ready != Some(false),
        }
    }

    /// Its entry in `containerStatuses` or `initContainerStatuses`.
    pub(crate) fn status(&self) -> Value {
        let image = self.image();
        let mut status = json!({
            "name": self.name(),
            "image": image,
            "imageID": "",
            "state": self.seen.to_json(),
            "lastState": {},
            "ready": self.is_ready(),
            "started": if self.role == Role::Init { self.is_ready() } else { self.has_started() },
            "restartCount": self.restarts,
        });
        if let Some(last) = &self.last {
            status["lastState"] = json!({"terminated": last.to_json()});
        }
        let last_id = self.last.as_ref().map_or("", |last| &last.id);
        let id = Some(self.seen.id()).filter(|id| !id.is_empty()).unwrap_or(last_id);
        if !id.is_empty() {
            status["containerID"] = container_id(id).into();
            status["imageID"] = format!("fake.invalid/{image}@sha256:{:064x}", digest(image)).into();
        }
        status
    }
}

/// FNV-1a: the same image always has the same id.
fn digest(image: &str) -> u64 {
    image.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

//! Starting containers: whose turn it is, restarts, back-off.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::container::{Role, Running, State, Terminated};
use super::launch::{Home, Launch, Refusal};
use super::log_file::LogFile;
use super::worker::{Report, Worker};
use super::{pod_status, probe, process};
use crate::random;

/// Back-off never grows beyond this.
pub(super) const MAX_BACK_OFF: Duration = Duration::from_secs(300);

impl Worker {
    /// Starts every container whose turn it is.
    pub(super) fn start_due(&mut self, now: Instant) {
        if matches!(pod_status::phase(&self.containers, self.restart_policy()), "Succeeded" | "Failed") {
            return self.stop_sidecars();
        }
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            match container.role {
                Role::Init if container.is_ready() => {}
                Role::Sidecar if container.has_started() => {}
                Role::Main => self.start_if_due(index, now),
                // The rest waits for this one.
                Role::Init | Role::Sidecar => return self.start_if_due(index, now),
            }
        }
    }

    fn start_if_due(&mut self, index: usize, now: Instant) {
        let policy = self.restart_policy().to_owned();
        let base = self.cluster.config.back_off;
        let container = &mut self.containers[index];
        if container.settle_at.is_some_and(|at| at <= now) {
            container.settle_at = None;
            let message = format!("Back-off pulling image {:?}", container.image());
            let why = match &container.seen {
                State::Waiting { reason, message } => format!(": {reason}: {message}"),
                _ => String::new(),
            };
            container.set(State::waiting("ImagePullBackOff", &format!("{message}{why}")));
            self.event("Normal", "BackOff", &message, Some(index));
        }
        let container = &mut self.containers[index];
        if container.retry_at.is_some_and(|at| at > now) || container.lacks_config {
            return;
        }
        match (&container.actual, &container.seen) {
            (State::Waiting { .. }, State::Waiting { .. }) => {}
            (State::Terminated(latest), State::Terminated(ended))
                if latest.id == ended.id && restarts(&policy, container.role, ended.code) =>
            {
                let ran = ended.finished.duration_since(ended.started).unwrap_or_default();
                if ran > 2 * MAX_BACK_OFF {
                    container.back_off = Duration::ZERO;
                }
                container.last = Some(ended.clone());
                let pause = container.back_off;
                // The first restart comes at once.
                container.back_off = if pause.is_zero() { base } else { (pause * 2).min(MAX_BACK_OFF) };
                if !pause.is_zero() {
                    let message = format!(
                        "back-off {}s restarting failed container={} pod={}_{}({})",
                        pause.as_secs(),
                        container.name(),
                        self.key.name,
                        self.key.namespace,
                        self.uid
                    );
                    container.retry_at = Some(now + pause);
                    container.set(State::waiting("CrashLoopBackOff", &message));
                    self.event("Warning", "BackOff", &message, Some(index));
                    return;
                }
            }
            _ => return,
        }
        self.containers[index].retry_at = None;
        self.start(index, now);
    }

    fn start(&mut self, index: usize, now: Instant) {
        if !self.pull(index, now) {
            return;
        }
        let container = &self.containers[index];
        let home = Home::new(self.folder.join("c").join(container.name()));
        let launch = Launch {
            config: &self.cluster.config,
            store: &self.cluster.store,
            pod: &self.pod,
            container: &container.spec,
            volumes: &self.volumes,
            home: &home,
            folder: &self.folder,
        };
        match launch.program() {
            Ok(program) => {
                let message = format!("Created container: {}", container.name());
                self.event("Normal", "Created", &message, Some(index));
                self.spawn(index, program);
            }
            Err(refusal) => self.refuse(index, &refusal),
        }
    }

    fn refuse(&mut self, index: usize, refusal: &Refusal) {
        let container = &mut self.containers[index];
        container.lacks_config = true;
        container.set(State::waiting(refusal.reason, &refusal.message));
        self.event("Warning", "Failed", &format!("Error: {}", refusal.message), Some(index));
    }

    fn spawn(&mut self, index: usize, program: process::Program) {
        let container = &mut self.containers[index];
        let again = container.last.is_some();
        container.restarts += u32::from(again);
        container.killed_as = None;
        let id = random::hex::<32>();
        let path = self.folder.join("l").join(container.name()).join(format!("{}.log", container.restarts));
        let started = SystemTime::now();
        let reports = self.reports.clone();
        let run = id.clone();
        let ended = move |code| {
            // A worker that is gone has nothing left to learn.
            let _ = reports.send(Report::Ended { index, id: run, code });
        };
        let spawned = LogFile::create(path, self.cluster.config.log_max_size).and_then(|log| {
            // There is a log even of what cannot be started: an empty one.
            self.cluster.kubelet.keep_log(&id, &log);
            container.log = Some(Arc::clone(&log));
            process::start(&self.cluster.kubelet.live, &program, &id, log, ended)
        });
        match spawned {
            Ok(pid) => {
                let running = Running { id, pid, started, program: Arc::new(program) };
                container.ready = container.ready.map(|_| false);
                container.started = container.started.map(|_| false);
                probe::watch(index, &container.spec, &running, &self.reports);
                container.actual = State::Running(running);
                let message = format!("Started container {}", container.name());
                self.event("Normal", "Started", &message, Some(index));
            }
            Err(error) => {
                if let Some(log) = &container.log {
                    log.close();
                }
                let message = start_error(&program.argv[0], &error);
                container.actual = State::Terminated(Terminated {
                    id,
                    code: 128,
                    reason: "StartError".to_owned(),
                    message: message.clone(),
                    started: SystemTime::UNIX_EPOCH,
                    finished: started,
                });
                self.event("Warning", "Failed", &format!("Error: {message}"), Some(index));
            }
        }
        self.look_soon();
    }
}

/// Whether a container that ended with `code` is run again.
fn restarts(policy: &str, role: Role, code: i32) -> bool {
    match (role, policy) {
        (Role::Sidecar, _) => true,
        (Role::Init, "Never") => false,
        (Role::Init, _) => code != 0,
        (Role::Main, "Always") => true,
        (Role::Main, "OnFailure") => code != 0,
        (Role::Main, _) => false,
    }
}

/// What the runtime says when the main process cannot be executed.
fn start_error(program: &str, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound if program.contains('/') => {
            format!("stat {program}: no such file or directory")
        }
        std::io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: {program:?}: {why}: unknown"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_rules() {
        for (policy, role, code, expected) in [
            ("Always", Role::Main, 0, true),
            ("OnFailure", Role::Main, 0, false),
            ("OnFailure", Role::Main, 1, true),
            ("Never", Role::Main, 1, false),
            ("Never", Role::Init, 1, false),
            ("Always", Role::Init, 0, false),
            ("Never", Role::Sidecar, 0, true),
        ] {
            assert_eq!(restarts(policy, role, code), expected, "{policy} {role:?} {code}");
        }
    }
}

//! Starting containers: order, images, restarts, and what is noted when one ends.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::container::{Role, Running, State, Terminated};
use super::launch::{Home, Launch, Refusal};
use super::log_file::LogFile;
use super::worker::{Report, Worker};
use super::{pod_status, probe, process};
use crate::json::text;
use crate::random;

/// A longer termination message is cut.
const MAX_MESSAGE: u64 = 4096;
/// The same for a message taken from the log.
const MAX_LOG_MESSAGE: u64 = 2048;
/// Back-off never grows beyond this.
const MAX_BACK_OFF: Duration = Duration::from_secs(300);

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
            container.set(State::waiting("ImagePullBackOff", &message));
            self.event("Normal", "BackOff", &message, Some(index));
            return;
        }
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
        };
        match launch.program() {
            Ok(program) => self.spawn(index, program),
            Err(refusal) => self.refuse(index, &refusal),
        }
    }

    fn refuse(&mut self, index: usize, refusal: &Refusal) {
        let container = &mut self.containers[index];
        container.lacks_config = true;
        container.set(State::waiting(refusal.reason, &refusal.message));
        self.event("Warning", "Failed", &format!("Error: {}", refusal.message), Some(index));
    }

    /// Gets the image; `false` if it is not to be had now.
    fn pull(&mut self, index: usize, now: Instant) -> bool {
        let base = self.cluster.config.back_off;
        let settle = self.cluster.config.status_lag.max(Duration::from_millis(50));
        let container = &mut self.containers[index];
        let image = container.image().to_owned();
        let policy = text(&container.spec, "/imagePullPolicy").to_owned();
        let fault = invalid_name(&image).or_else(|| self.cluster.faults.strike_image(&image, &policy));
        let Some((reason, message)) = fault else {
            if container.last.is_none() {
                container.back_off = Duration::ZERO;
                let message = format!("Container image {image:?} already present on machine");
                self.event("Normal", "Pulled", &message, Some(index));
            }
            return true;
        };
        let pause = if container.back_off.is_zero() { base } else { (container.back_off * 2).min(MAX_BACK_OFF) };
        container.back_off = pause;
        container.retry_at = Some(now + pause);
        if reason == "ErrImagePull" {
            container.settle_at = Some(now + settle);
        }
        container.set(State::waiting(&reason, &message));
        self.event("Warning", "Failed", &format!("Error: {reason}"), Some(index));
        false
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
        let spawned = LogFile::create(path, self.cluster.config.log_max_size).and_then(|log| {
            let ended = move |code| {
                // A worker that is gone has nothing left to learn.
                let _ = reports.send(Report::Ended { index, id: run, code });
            };
            let pid = process::start(&self.cluster.kubelet.live, &program, &id, Arc::clone(&log), ended)?;
            Ok((log, pid))
        });
        match spawned {
            Ok((log, pid)) => {
                self.cluster.kubelet.keep_log(&id, &log);
                container.log = Some(log);
                let running = Running { id, pid, started, program: Arc::new(program) };
                container.ready = container.ready.map(|_| false);
                container.started = container.started.map(|_| false);
                probe::watch(index, &container.spec, &running, &self.reports);
                container.actual = State::Running(running);
                self.event(
                    "Normal",
                    "Started",
                    &format!("Started container {}", self.containers[index].name()),
                    Some(index),
                );
            }
            Err(error) => {
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

    /// A main process ended: keep how.
    pub(super) fn note_end(&mut self, index: usize, id: &str, code: i32) {
        let home = Home::new(self.folder.join("c").join(self.containers[index].name()));
        let container = &mut self.containers[index];
        let State::Running(running) = &container.actual else { return };
        if running.id != id {
            return;
        }
        let reason = match (container.killed_as, code) {
            (Some(reason), _) => reason,
            (None, 0) => "Completed",
            (None, _) => "Error",
        };
        let mut message = tail(&home.termination_message(), MAX_MESSAGE, false);
        let from_log = text(&container.spec, "/terminationMessagePolicy") == "FallbackToLogsOnError";
        if message.is_empty()
            && code != 0
            && from_log
            && let Some(log) = &container.log
        {
            message = tail(log.path(), MAX_LOG_MESSAGE, true);
        }
        container.actual = State::Terminated(Terminated {
            id: id.to_owned(),
            code,
            reason: reason.to_owned(),
            message,
            started: running.started,
            finished: SystemTime::now(),
        });
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

/// The end of a file as text; of a log, without stamps and tags.
fn tail(path: &std::path::Path, max: u64, is_log: bool) -> String {
    let read = || {
        let mut file = std::fs::File::open(path)?;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(len.saturating_sub(max)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    // No file, no message: a container may remove it.
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    if !is_log {
        return text;
    }
    let content = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
    let lines: Vec<_> = text.lines().filter_map(content).collect();
    lines.iter().map(|line| format!("{line}\n")).collect()
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

/// A name that is no image reference, as waiting reason and message.
fn invalid_name(image: &str) -> Option<(String, String)> {
    let repository = image.split('@').next().unwrap_or_default();
    let repository = match repository.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => repository,
    };
    let path = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => repository,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let why = if path.chars().any(|c| c.is_ascii_uppercase()) {
        "repository name must be lowercase"
    } else if path.is_empty() || !path.chars().all(allowed) || path.starts_with(['-', '.', '/']) {
        "invalid reference format"
    } else {
        return None;
    };
    let message = format!(
        "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format: {why}"
    );
    Some(("InvalidImageName".to_owned(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_checked() {
        for (image, valid) in [
            ("alpine", true),
            ("alpine:3.20", true),
            ("registry.example.com:5000/Group/app", false),
            ("registry.Example.com/group/app:V1", true),
            ("a/b@sha256:0123", true),
            ("Alpine", false),
            ("with space", false),
            ("$IMAGE", false),
            ("localhost/x", true),
            (":tag", false),
        ] {
            assert_eq!(invalid_name(image).is_none(), valid, "{image}");
        }
    }

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

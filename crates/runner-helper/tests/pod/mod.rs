//! A pod without Kubernetes: the real `drive` and `serve` in folders that stand for the volumes.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses its own part")]

pub mod repository;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use runner_core::frame::{Body, Frame, Outcome};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_runner-helper");
const PATIENCE: Duration = Duration::from_secs(40);

/// A job to be.
pub struct Job {
    pub payload: Value,
    pub config: Value,
    pub url: String,
    /// What the pod's containers have in their environment.
    pub environment: Vec<(String, String)>,
    pub folder: TempDir,
}

impl Job {
    /// A job with this script, without sources and without timestamps.
    pub fn new(script: &[&str]) -> Self {
        let payload = json!({
            "id": 42, "token": "glcbt-64_0123456789abcdef", "allow_git_fetch": true,
            "job_info": {"name": "test", "project_id": 7},
            "git_info": {"repo_url": "http://gitlab-ci-token:glcbt-64_0123456789abcdef@127.0.0.1:1/group/project.git",
                         "ref": "main", "sha": "0".repeat(40)},
            "runner_info": {"timeout": 3600},
            "variables": [],
            "steps": [{"name": "script", "script": script}],
            "features": {"trace_sections": true},
        });
        let folder = tempfile::tempdir().unwrap();
        let job =
            Self { payload, config: json!({}), url: "http://127.0.0.1:1".into(), environment: Vec::new(), folder };
        job.variable("FF_TIMESTAMPS", "false").variable("GIT_STRATEGY", "none")
    }

    pub fn variable(self, key: &str, value: &str) -> Self {
        self.with_variable(json!({"key": key, "value": value, "public": true}))
    }

    pub fn with_variable(mut self, variable: Value) -> Self {
        self.payload["variables"].as_array_mut().unwrap().push(variable);
        self
    }

    pub fn masked(self, key: &str, value: &str) -> Self {
        self.with_variable(json!({"key": key, "value": value, "masked": true}))
    }

    pub fn after(mut self, script: &[&str]) -> Self {
        self.payload["steps"].as_array_mut().unwrap().push(json!({"name": "after_script", "script": script}));
        self
    }

    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.payload[field] = value;
        self
    }

    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Runs where `before` ran: its checkout and caches are there, as on a volume that outlives the pod.
    pub fn after_job(mut self, before: Ended) -> Self {
        for name in ["job", "control", "share", "spool"] {
            std::fs::remove_dir_all(before.folder.path().join(name)).unwrap();
        }
        std::fs::remove_file(before.folder.path().join("termination")).unwrap();
        self.folder = before.folder;
        self
    }

    /// The job's temporary place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the pod and gives it the job.
    pub fn start(self) -> Pod {
        let pod = Pod::warm(self);
        pod.give_job();
        pod
    }

    /// Runs the job to its end.
    pub fn run(self) -> Ended {
        self.start().end()
    }
}

/// A running pod.
pub struct Pod {
    pub job: Job,
    pub drive: Child,
    pub serve: Child,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    other: Vec<String>,
    closed: bool,
}

impl Pod {
    /// A pod that has no job yet.
    pub fn warm(job: Job) -> Self {
        for name in ["job", "control", "share", "spool", "builds", "cache", "home"] {
            std::fs::create_dir_all(job.path(name)).unwrap();
        }
        let command = |mode: &str| {
            let mut command = Command::new(PROGRAM);
            command.arg(mode).arg("--share").arg(job.path("share")).stdin(Stdio::null());
            // Not the home of who runs the tests.
            command.env("HOME", job.path("home")).env("GIT_CONFIG_NOSYSTEM", "1");
            command.envs(job.environment.iter().map(|(k, v)| (k, v)));
            command
        };
        let serve = command("serve").spawn().unwrap();
        let mut drive = command("drive");
        for (flag, path) in [
            ("--job", "job/job.json"),
            ("--annotations", "control/annotations"),
            ("--spool", "spool"),
            ("--builds-dir", "builds"),
            ("--cache-dir", "cache"),
            ("--termination-log", "termination"),
        ] {
            drive.arg(flag).arg(job.path(path));
        }
        let mut drive = drive.args(["--via", "executor-host"]).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = drive.stdout.take().unwrap();
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = String::from_utf8(line.unwrap()).unwrap();
                assert!(line.len() < 16 * 1024, "a frame of {} bytes", line.len());
                let mut seen = shared.0.lock().unwrap();
                match Frame::decode(&line) {
                    Some(frame) => seen.frames.push(frame),
                    None => seen.other.push(line),
                }
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().closed = true;
            shared.1.notify_all();
        });
        Self { job, drive, serve, seen }
    }

    pub fn give_job(&self) {
        let job = json!({
            "v": 1, "type": "job", "id": 42, "payload": self.job.payload,
            "runner": {"name": "r", "url": self.job.url, "short_token": "abcdefghi", "system_id": "s_1",
                       "config": self.job.config},
        });
        // As the kubelet does it: the name appears at once.
        put(&self.job.path("job/job.json"), &format!("{job}\n"));
    }

    /// Sets the pod's annotations.
    pub fn annotate(&self, lines: &str) {
        put(&self.job.path("control/annotations"), lines);
    }

    /// Waits until `look` finds what it looks for in the frames so far.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&[Frame]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            if let Some(found) = look(&seen.frames) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !seen.closed, "{what} did not come; log:\n{}", text(&seen.frames));
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits until the log has `needle`.
    pub fn wait_for_log(&self, needle: &str) {
        self.wait_for(needle, |frames| text(frames).contains(needle).then_some(()));
    }

    pub fn log(&self) -> String {
        text(&self.seen.0.lock().unwrap().frames)
    }

    /// Waits until `drive` has closed its stdout.
    pub fn wait_until_closed(&self) {
        let seen = self.seen.0.lock().unwrap();
        let closed = self.seen.1.wait_timeout_while(seen, PATIENCE, |seen| !seen.closed).unwrap().0.closed;
        assert!(closed, "stdout stays open");
    }

    /// Waits for the result.
    pub fn result(&self) -> Outcome {
        self.wait_for("the result", |frames| {
            frames.iter().rev().find_map(|frame| if let Body::Result(o) = &frame.body { Some(o.clone()) } else { None })
        })
    }

    /// Waits for the result, acknowledges it, and waits for both processes.
    pub fn end(mut self) -> Ended {
        let outcome = self.result();
        self.annotate(&format!("runner-tools.dev/acknowledged=\"{}\"\n", outcome.length));
        let code = wait(&mut self.drive).code();
        let serve = wait(&mut self.serve).code();
        let seen = self.seen.0.lock().unwrap();
        assert_eq!(seen.other, Vec::<String>::new());
        let log = text(&seen.frames);
        assert_eq!(outcome.length, log.len() as u64, "length of the log");
        let termination = std::fs::read_to_string(self.job.path("termination")).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&termination).unwrap(), outcome, "termination message");
        for (i, frame) in seen.frames.iter().enumerate() {
            assert_eq!(frame.seq, i as u64, "sequence number");
        }
        let stages = seen.frames.iter().filter_map(|frame| match &frame.body {
            Body::Stage { name, .. } => Some(name.clone()),
            _ => None,
        });
        let stages = stages.collect();
        let frames = seen.frames.clone();
        drop(seen);
        Ended {
            folder: std::mem::replace(&mut self.job.folder, tempfile::tempdir().unwrap()),
            log,
            outcome,
            code,
            serve,
            stages,
            frames,
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for child in [&mut self.drive, &mut self.serve] {
            let _ = child.kill(); // ended already: fine
            let _ = child.wait();
        }
    }
}

/// What a job left.
pub struct Ended {
    pub folder: TempDir,
    pub log: String,
    pub outcome: Outcome,
    pub code: Option<i32>,
    pub serve: Option<i32>,
    pub stages: Vec<String>,
    pub frames: Vec<Frame>,
}

impl Ended {
    /// What a stage printed, without heading and markers.
    pub fn section(&self, name: &str) -> &str {
        let start =
            self.log.find(&format!(":{name}\r\u{1b}[0K")).unwrap_or_else(|| panic!("no {name} in\n{}", self.log));
        let rest = &self.log[start..];
        let rest = &rest[rest.find('\n').unwrap() + 1..];
        &rest[..rest.find("section_end:").unwrap()]
    }

    /// What the script printed, without the lines that show its commands.
    pub fn output(&self) -> String {
        let shown = |line: &&str| !line.starts_with("\u{1b}[32;1m$ ");
        self.section("step_script").split_inclusive('\n').filter(shown).collect()
    }

    /// The project folder.
    pub fn project(&self) -> PathBuf {
        self.folder.path().join("builds/group/project")
    }

    pub fn succeeded(self) -> Self {
        assert_eq!(self.outcome.message, "", "{}", self.log);
        assert_eq!((self.code, self.serve), (Some(0), Some(0)), "{}", self.log);
        self
    }

    pub fn failed(self, message: &str) -> Self {
        assert_eq!(self.outcome.message, message, "{}", self.log);
        self
    }
}

/// The log's text as a reader puts it together by offsets; a gap is a failure.
fn text(frames: &[Frame]) -> String {
    let mut log = String::new();
    for frame in frames {
        if let Body::Log(text) = &frame.body {
            let offset = usize::try_from(frame.offset).unwrap();
            assert!(offset <= log.len(), "a gap before offset {offset}");
            let known = log.len() - offset;
            if known < text.len() {
                assert_eq!(&log[offset..], &text[..known], "text printed again is the same");
                log.push_str(&text[known..]);
            }
        }
    }
    log
}

/// Waits for a child, but not for ever.
pub fn wait(child: &mut Child) -> ExitStatus {
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
    if ready == 0 {
        child.kill().unwrap();
        panic!("process {pid:?} did not end");
    }
    let status = child.wait().unwrap();
    assert_ne!(status.signal(), Some(6), "aborted");
    status
}

/// Writes a file as an atomic volume does.
pub fn put(file: &Path, text: &str) {
    let part = file.with_extension("part");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, file).unwrap();
}

/// Runs git for a test's own repositories; panics with what it said.
pub fn git(folder: &Path, args: &[&str]) -> String {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git")
        .args(identity)
        .args(["-c", "protocol.file.allow=always"])
        .arg("-C")
        .arg(folder)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

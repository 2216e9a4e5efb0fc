//! A GitLab with jobs that a runner has taken, the lines an executor would write, and the process that reads them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fake_gitlab::{Builder, FakeGitlab, Fault, JobReport, JobSpec};
use runner_core::job::Tls;
use runner_core::secret::Secret;
use runner_gitlab::{Client, Info, JobReply, Trust};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// No test waits longer for one event.
const PATIENCE: Duration = Duration::from_secs(45);

/// Fails a test that waits for an event that does not come.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// A GitLab and a state directory.
pub(crate) struct Site {
    pub(crate) gitlab: FakeGitlab,
    client: Client,
    dir: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(FakeGitlab::builder().trace_interval(1)).await
    }

    pub(crate) async fn with(builder: Builder) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
        let gitlab = builder.start().await.unwrap();
        let client = Client::new(gitlab.url(), Trust::System(&Tls::default())).unwrap();
        Self { gitlab, client, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.gitlab.inject(fault);
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A job that a runner has taken, with a folder as runner-poll makes it.
    pub(crate) async fn job(&self) -> Job {
        let job = self.replayed_job().await;
        let folder = self.folder(&job);
        std::fs::create_dir_all(&folder).unwrap();
        for path in [self.state_dir(), self.state_dir().join("jobs"), folder] {
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(path, private).unwrap();
        }
        job
    }

    /// A job that a runner has taken, without a folder.
    pub(crate) async fn replayed_job(&self) -> Job {
        let id = self.gitlab.enqueue(JobSpec::script(["true"])).await.unwrap();
        let token = Secret::new(self.gitlab.runner_token());
        let reply = self.client.request_job(&token, "s_0123456789ab", None, &Info::default()).await.unwrap();
        let JobReply::Job { id: taken, payload, .. } = reply else { panic!("no job") };
        assert_eq!(taken, id);
        let payload: Value = serde_json::from_str(payload.get()).unwrap();
        let host = runner_core::host_of(self.gitlab.url());
        Job { id, host, url: self.gitlab.url().to_owned(), token: payload["token"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn folder(&self, job: &Job) -> PathBuf {
        self.state_dir().join("jobs").join(format!("{}@{}", job.id, job.host))
    }

    /// Starts the tool.
    pub(crate) fn start(&self) -> Tool {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, args: &[&str]) -> Tool {
        Tool::start(&self.state_dir(), args)
    }

    /// Runs the tool over `lines` as over a file; returns its exit code, and what it wrote on stdout and stderr.
    pub(crate) async fn replay(&self, lines: &[Value]) -> Ended {
        let mut tool = self.start();
        tool.send(lines).await;
        tool.end().await
    }

    /// The job as GitLab has it, its log checked against `text` and the checksum that was announced.
    pub(crate) fn finished(&self, job: &Job, text: &[u8]) -> JobReport {
        let report = self.gitlab.job(job.id).unwrap();
        let trace = self.gitlab.trace(job.id);
        assert!(trace == text, "{}", difference(&trace, text));
        assert_eq!(report.claimed_checksum.as_deref(), Some(report.trace_crc32.as_str()), "{report:?}");
        report
    }

    /// Requests for the job's log, without their bodies: range and status.
    pub(crate) fn patches(&self, job: &Job) -> Vec<(String, Option<u16>)> {
        let path = format!("/api/v4/jobs/{}/trace", job.id);
        let patches = self.gitlab.requests().into_iter().filter(|request| request.path == path);
        patches.map(|request| (request.headers["content-range"].to_str().unwrap().to_owned(), request.status)).collect()
    }
}

fn difference(have: &[u8], want: &[u8]) -> String {
    let at = have.iter().zip(want).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let end = bytes.len().min(at + 40);
        String::from_utf8_lossy(&bytes[at.saturating_sub(40).min(end)..end]).into_owned()
    };
    let (a, b) = (around(have), around(want));
    format!("{} bytes instead of {}, different from {at} on: {a:?} instead of {b:?}", have.len(), want.len())
}

/// A taken job, and the lines about it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) host: String,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Job {
    pub(crate) fn open(&self) -> Value {
        self.open_limited(1 << 30)
    }

    pub(crate) fn open_limited(&self, limit: u64) -> Value {
        let mut line = self.line("open");
        line["url"] = json!(self.url);
        line["token"] = json!(self.token);
        line["limit"] = json!(limit);
        line["masks"] = json!(["hunter2"]);
        line["features"] = json!({"failure_reasons": ["script_failure"]});
        line
    }

    pub(crate) fn pod(&self, offset: u64, text: &str) -> Value {
        self.log("pod", offset, text)
    }

    pub(crate) fn executor(&self, offset: u64, text: &str) -> Value {
        self.log("executor", offset, text)
    }

    fn log(&self, source: &str, offset: u64, text: &str) -> Value {
        let mut line = self.line("log");
        line["source"] = json!(source);
        line["offset"] = json!(offset);
        line["text"] = json!(text);
        line
    }

    pub(crate) fn success(&self, executor: u64, pod: u64) -> Value {
        let mut line = self.line("close");
        line["state"] = json!("success");
        line["exit_code"] = json!(0);
        line["sources"] = json!({"executor": executor, "pod": pod});
        line
    }

    pub(crate) fn failed(&self, code: i32, reason: &str, pod: u64) -> Value {
        let mut line = self.success(0, pod);
        line["state"] = json!("failed");
        line["exit_code"] = json!(code);
        line["failure_reason"] = json!(reason);
        line
    }

    pub(crate) fn line(&self, kind: &str) -> Value {
        json!({"v": 1, "type": kind, "job": self.id, "host": self.host})
    }

    /// A whole successful job with `text`, in pieces of at most 1000 bytes.
    pub(crate) fn whole(&self, text: &str) -> Vec<Value> {
        let mut lines = vec![self.open()];
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.floor_char_boundary(1000));
            lines.push(self.pod((text.len() - rest.len()) as u64, piece));
            rest = later;
        }
        lines.push(self.success(0, text.len() as u64));
        lines
    }
}

pub(crate) fn hello() -> Value {
    json!({"v": 1, "type": "hello", "tool": "test", "resumable": true})
}

pub(crate) fn end() -> Value {
    json!({"v": 1, "type": "end"})
}

/// The process.
pub(crate) struct Tool {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: ChildStderr,
}

/// What a process left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stderr: String,
}

impl Ended {
    /// The `done` line of `job`.
    pub(crate) fn done(&self, job: &Job) -> &Value {
        let done = self.lines.iter().find(|line| line["type"] == "done" && line["job"] == job.id);
        done.unwrap_or_else(|| panic!("no `done` of job {}: {self:#?}", job.id))
    }
}

impl Tool {
    pub(crate) fn start(state: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner-trace"));
        command.arg("--state-dir").arg(state).args(args).env_clear().kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = child.stderr.take().unwrap();
        Self { stdin: child.stdin.take(), stdout, stderr, child }
    }

    pub(crate) async fn send(&mut self, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.send_text(&text).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        soon("writing to the tool", async {
            stdin.write_all(text.as_bytes()).await.unwrap();
            stdin.flush().await.unwrap();
        })
        .await;
    }

    /// Sends as much as the tool takes.
    pub(crate) async fn try_send(&mut self, text: &str) {
        let _ = self.stdin().write_all(text.as_bytes()).await;
    }

    /// The next line of its output.
    pub(crate) async fn line(&mut self) -> Value {
        let line = soon("a line on stdout", self.stdout.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn close_output(self) -> (Child, Option<ChildStdin>) {
        (self.child, self.stdin)
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.stdin.as_mut().unwrap()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// The next line of its stderr that tells an error.
    pub(crate) async fn error_line(&mut self) -> String {
        let mut lines = BufReader::new(&mut self.stderr).lines();
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains("ERROR") {
                return line;
            }
        }
    }

    /// kill -9.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends its input.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Ends its input and waits for its exit.
    pub(crate) async fn end(mut self) -> Ended {
        self.close_input();
        self.exit().await
    }

    /// Waits for its exit.
    pub(crate) async fn exit(mut self) -> Ended {
        let (mut lines, mut stderr) = (Vec::new(), String::new());
        let out = async {
            while let Some(line) = self.stdout.next_line().await.unwrap() {
                lines.push(serde_json::from_str(&line).unwrap());
            }
        };
        let read = async { tokio::join!(out, self.stderr.read_to_string(&mut stderr)).1 };
        if tokio::time::timeout(PATIENCE, read).await.is_err() {
            panic!("runner-trace does not exit: {lines:#?}\n{stderr}");
        }
        let code = soon("the exit", self.child.wait()).await.unwrap().code();
        Ended { code, lines, stderr }
    }
}

//! The program: its output, its exit codes, its state file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use support::{Repository, client, send};

/// A started program, killed if the test ends early.
struct Program {
    child: Child,
    url: String,
    /// The lines after the first, `name: value`.
    tokens: Vec<(String, String)>,
    /// The lines after these.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(args: &[&str]) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_fake-gitlab")).args(args))
    }

    fn start_with(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().expect("a line on stdout").unwrap();
        let url = next();
        let tokens = (0..3)
            .map(|_| {
                let line = next();
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_owned(), value.to_owned())
            })
            .collect();
        Self { child, url, tokens, lines }
    }

    fn token(&self, name: &str) -> &str {
        &self.tokens.iter().find(|(key, _)| key == name).unwrap().1
    }

    async fn post(&self, path: &str, body: Value) -> support::Answer {
        send(client().post(format!("{}{path}", self.url)).json(&body)).await
    }

    /// Waits for a job, held by the server until there is one, and takes it.
    async fn take(&self) -> Value {
        let mut last_update = None;
        loop {
            let body = json!({"token": self.token("runner-token"), "last_update": last_update,
                "info": {"features": support::features()}});
            let answer = self.post("/api/v4/jobs/request", body).await;
            if answer.status == 201 {
                return answer.json();
            }
            last_update = answer.header("x-gitlab-last-update").map(str::to_owned).or(last_update);
        }
    }

    async fn end(&self, payload: &Value, state: &str) {
        let body = json!({"token": payload["token"], "state": state, "failure_reason": "script_failure",
            "exit_code": i32::from(state == "failed")});
        send(client().put(format!("{}/api/v4/jobs/{}", self.url, payload["id"])).json(&body)).await.expect(200);
    }

    /// Acts as a runner: takes as many jobs as there are states, and ends each with its state.
    async fn run_jobs(&self, states: &[&str]) {
        for state in states {
            let payload = self.take().await;
            self.end(&payload, state).await;
        }
    }

    fn terminate(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn wait(mut self) -> (ExitStatus, String) {
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        (self.child.wait().unwrap(), stderr)
    }
}

fn project(repository: &Repository) -> String {
    format!("group/app={}", repository.path().display())
}

#[tokio::test]
async fn serve_prints_its_address_and_tokens_and_ends_well_on_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let program = Program::start(&["serve", "--private-token", "mine", "--runner-token", "glrt-mine"]);
        assert!(program.url.starts_with("http://127.0.0.1:"), "{}", program.url);
        assert_eq!(program.token("private-token"), "mine");
        assert_eq!(program.token("runner-token"), "glrt-mine");
        assert!(program.token("registration-token").starts_with("GR1348941"));
        let version = client().get(format!("{}/api/v4/version", program.url)).header("PRIVATE-TOKEN", "mine");
        assert_eq!(send(version).await.expect(200).json()["version"], "19.4.0");
        program.terminate(signal);
        let (status, stderr) = program.wait();
        assert_eq!(status.code(), Some(0), "{stderr}");
    }
}

#[tokio::test]
async fn tokens_may_come_from_the_environment() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-gitlab"));
    command.arg("serve").env("FAKE_GITLAB_PRIVATE_TOKEN", "from-env").env("FAKE_GITLAB_RUNNER_TOKEN", "glrt-env");
    let program = Program::start_with(&mut command);
    assert_eq!(program.token("private-token"), "from-env");
    assert_eq!(program.token("runner-token"), "glrt-env");
    program.terminate("-TERM");
    program.wait();
}

#[tokio::test]
async fn run_ends_with_the_pipelines_result_and_writes_the_state() {
    let repository = Repository::with(&[(
        ".gitlab-ci.yml",
        "a: {stage: build, script: x}\nb: {stage: test, script: x, allow_failure: true}\n",
    )]);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    for (states, code) in [(["success", "failed"], 0), (["failed", ""], 1)] {
        let program = Program::start(&[
            "run",
            "--project",
            &project(&repository),
            "--ref",
            "main",
            "--long-poll",
            "30",
            "--state",
            state.to_str().unwrap(),
        ]);
        let states: Vec<&str> = states.into_iter().filter(|state| !state.is_empty()).collect();
        program.run_jobs(&states).await;
        let (status, stderr) = program.wait();
        assert_eq!(status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("job 1 `a`: "), "{stderr}");
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
        let jobs = kept["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 2, "{kept}");
        let (a, b) = (&jobs[0], &jobs[1]);
        if code == 0 {
            assert_eq!(a["status"], "success");
            assert_eq!(a["exit_code"], 0);
            assert_eq!(b["status"], "failed");
            assert_eq!(b["exit_code"], 1);
            assert_eq!(b["failure_reason"], "script_failure");
            assert_eq!(b["allow_failure"], true);
            assert!(b["duration"].is_number());
        } else {
            assert_eq!(a["status"], "failed");
            assert_eq!(b["status"], "skipped");
        }
        assert_eq!(a["project"], "group/app");
        assert_eq!(a["trace_bytes"], 0);
        assert_eq!(a["trace_crc32"], "crc32:00000000");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn run_shows_logs_as_they_come_and_a_table_and_serves_on_if_told() {
    let repository =
        Repository::with(&[(".gitlab-ci.yml", "a: {script: x}\nlong-name: {script: x, allow_failure: true}\n")]);
    let mut program =
        Program::start(&["run", "--project", &project(&repository), "--long-poll", "30", "--follow", "--keep"]);
    let a = program.take().await;
    let log = "2026-08-22T00:44:03.123456Z 00O section_start:1:x\r\u{1b}[0Khello\nunfinished";
    let patch = client()
        .patch(format!("{}/api/v4/jobs/{}/trace", program.url, a["id"]))
        .header("JOB-TOKEN", a["token"].as_str().unwrap())
        .header("Content-Type", "text/plain")
        .header("Content-Range", format!("0-{}", log.len() - 1));
    send(patch.body(log)).await.expect(202);
    assert_eq!(program.lines.next().unwrap().unwrap(), "a | hello", "shown while the job runs");
    program.end(&a, "success").await;
    program.run_jobs(&["failed"]).await;
    let rest: Vec<String> = (0..5).map(|_| program.lines.next().unwrap().unwrap()).collect();
    assert_eq!(rest[0], "a | unfinished");
    assert_eq!(rest[1], "");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&rest[2]), ["job", "state", "exit", "code", "seconds", "log", "bytes"]);
    assert_eq!(words(&rest[3])[..3], ["a", "success", "0"]);
    assert_eq!(words(&rest[3])[4], log.len().to_string());
    assert_eq!(words(&rest[4])[..4], ["long-name", "failed", "(allowed)", "1"]);
    let version =
        client().get(format!("{}/api/v4/version", program.url)).header("PRIVATE-TOKEN", program.token("private-token"));
    send(version).await.expect(200);
    program.terminate("-TERM");
    let (status, stderr) = program.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let repository = Repository::with(&[(".gitlab-ci.yml", "a: {script: x}\n")]);
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-gitlab"));
    command.args(["serve", "--project", &project(&repository)]).env("TMPDIR", scratch.path());
    let program = Program::start_with(&mut command);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    program.terminate("-TERM");
    let (status, stderr) = program.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn run_stopped_before_its_end_is_no_success() {
    let repository = Repository::with(&[(".gitlab-ci.yml", "a: {script: x}\n")]);
    let program = Program::start(&["run", "--project", &project(&repository)]);
    program.terminate("-INT");
    let (status, stderr) = program.wait();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stopped by SIGINT"), "{stderr}");
}

#[test]
fn mistakes_are_one_line_and_the_right_exit_code() {
    let repository = Repository::with(&[(".gitlab-ci.yml", "a: {script: x, foo: y}\n")]);
    let good = project(&repository);
    let no_repository = tempfile::tempdir().unwrap();
    let no_repository = format!("group/app={}", no_repository.path().display());
    for (args, code, message) in [
        (
            &["run", "--project", &good][..],
            78,
            "fake-gitlab: .gitlab-ci.yml: jobs:a config contains unknown keys: foo\n",
        ),
        (
            &["run", "--project", &good, "--ref", "nowhere"],
            78,
            "fake-gitlab: project `group/app`: no branch or tag `nowhere`\n",
        ),
        (&["serve", "--project", "app=/tmp"], 78, "fake-gitlab: project `app`: has no group, expected `group/name`\n"),
        (&["serve", "--project", &no_repository], 74, "fake-gitlab: git rev-parse in "),
        (&["serve", "--listen", "256.0.0.1:0"], 74, "fake-gitlab: listen on `256.0.0.1:0`: "),
        (&["serve", "--state", "/nowhere/state.json"], 74, "fake-gitlab: write `/nowhere/state.json`: "),
        (&["run"], 2, "error: run needs a repository"),
        (&["serve", "--variable", "x"], 2, "error: "),
        (&["serve", "--external-url", "gitlab"], 2, "error: "),
        (&["dance"], 2, "error: "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fake-gitlab")).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
        if code != 2 {
            let last = stderr.lines().last().unwrap();
            assert!(last.starts_with("fake-gitlab: "), "{args:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        }
    }
}

#[test]
fn help_names_every_option_and_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_fake-gitlab")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["--project", "--state", "--masked-variable", "/-/fake/faults", "Exit status", "74", "78"] {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}

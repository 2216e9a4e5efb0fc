//! A client that shows what it got when a test fails.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "only tests use this")]

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|problem| panic!("{problem} in {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Panics with the whole answer unless it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
}

/// An HTTP client, without proxies and redirects.
pub(crate) fn client() -> reqwest::Client {
    // Every test of a file does this; only the first one has an effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Sends a request and reads the answer.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        bytes: response.bytes().await.unwrap().to_vec(),
    }
}

/// A call of the API with a JSON body; `path` is what follows `/api/v4`.
pub(crate) async fn call(gitlab: &FakeGitlab, method: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}/api/v4{path}", gitlab.url());
    send(client().request(method.parse().unwrap(), url).json(&body)).await
}

/// A call of the user-facing API.
pub(crate) async fn user(gitlab: &FakeGitlab, method: &str, path: &str) -> Answer {
    let url = format!("{}/api/v4{path}", gitlab.url());
    let request = client().request(method.parse().unwrap(), url);
    send(request.header("PRIVATE-TOKEN", gitlab.private_token())).await
}

/// The features gitlab-runner announces that the server looks at.
pub(crate) fn features() -> Value {
    json!({
        "upload_multiple_artifacts": true,
        "artifacts_exclude": true,
        "fallback_cache_keys": true,
        "return_exit_code": true,
        "multi_build_steps": true,
        "cancel_gracefully": true,
    })
}

/// Asks for a job as the given runner.
pub(crate) async fn request_job_as(gitlab: &FakeGitlab, token: &str) -> Answer {
    let body = json!({
        "token": token,
        "system_id": "s_0123456789ab",
        "info": { "name": "test", "features": features() },
    });
    call(gitlab, "POST", "/jobs/request", body).await
}

/// Takes a job as the runner that is there from the start; panics if there is none.
pub(crate) async fn take(gitlab: &FakeGitlab) -> Value {
    request_job_as(gitlab, gitlab.runner_token()).await.expect(201).json()
}

/// Ends a taken job.
pub(crate) async fn finish(gitlab: &FakeGitlab, payload: &Value, state: &str) -> Answer {
    let body = json!({ "token": payload["token"], "state": state, "failure_reason": "script_failure", "exit_code": i32::from(state == "failed") });
    call(gitlab, "PUT", &format!("/jobs/{}", payload["id"]), body).await
}

/// Appends to the trace of a taken job.
pub(crate) async fn patch(gitlab: &FakeGitlab, payload: &Value, range: &str, text: &str) -> Answer {
    let url = format!("{}/api/v4/jobs/{}/trace?debug_trace=false", gitlab.url(), payload["id"]);
    let request = client()
        .patch(url)
        .header("JOB-TOKEN", payload["token"].as_str().unwrap())
        .header("Content-Type", "text/plain")
        .header("Content-Range", range)
        .body(text.to_owned());
    send(request).await
}

/// A Git repository in a temporary folder.
pub(crate) struct Repository(pub(crate) tempfile::TempDir);

impl Repository {
    /// A repository on branch `main` whose first commit has these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "-b", "main"]);
        repository.commit("First commit\n\nWith a body.", files);
        repository
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    /// Writes files and commits everything; gives the commit's id.
    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(self.path(), args)
    }
}

/// Runs git without the user's settings and gives its stdout; panics with stderr if it fails.
#[track_caller]
pub(crate) fn git(folder: &std::path::Path, args: &[&str]) -> String {
    let output = git_command(folder, args).output().unwrap();
    assert!(output.status.success(), "git {args:?} in {folder:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub(crate) fn git_command(folder: &std::path::Path, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("git");
    command
        .current_dir(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "protocol.file.allow=always"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR");
    command
}

/// Uploads a file as an artifact of a taken job.
pub(crate) async fn upload(gitlab: &FakeGitlab, payload: &Value, query: &str, name: &str, bytes: Vec<u8>) -> Answer {
    let url = format!("{}/api/v4/jobs/{}/artifacts?{query}", gitlab.url(), payload["id"]);
    let part = reqwest::multipart::Part::bytes(bytes).file_name(name.to_owned());
    let request = client()
        .post(url)
        .header("JOB-TOKEN", payload["token"].as_str().unwrap())
        .multipart(reqwest::multipart::Form::new().part("file", part));
    send(request).await
}

/// The value of a variable in a payload; the last one counts.
pub(crate) fn variable<'a>(payload: &'a Value, key: &str) -> Option<&'a str> {
    let variables = payload["variables"].as_array().unwrap();
    let found = variables.iter().rfind(|variable| variable["key"] == key)?;
    Some(found["value"].as_str().unwrap())
}

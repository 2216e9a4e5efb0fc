//! A client that shows what it got when a test fails.

#![allow(dead_code, reason = "each test file uses its own part")]

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|problem| panic!("{problem} in {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Panics with the whole answer unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
}

/// An HTTP client, without proxies and redirects.
pub fn client() -> reqwest::Client {
    // Every test of a file does this; only the first one has an effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Sends a request and reads the answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        bytes: response.bytes().await.unwrap().to_vec(),
    }
}

/// A call of the API with a JSON body; `path` is what follows `/api/v4`.
pub async fn call(gitlab: &FakeGitlab, method: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}/api/v4{path}", gitlab.url());
    send(client().request(method.parse().unwrap(), url).json(&body)).await
}

/// A call of the user-facing API.
pub async fn user(gitlab: &FakeGitlab, method: &str, path: &str) -> Answer {
    let url = format!("{}/api/v4{path}", gitlab.url());
    let request = client().request(method.parse().unwrap(), url);
    send(request.header("PRIVATE-TOKEN", gitlab.private_token())).await
}

/// The features gitlab-runner announces that the server looks at.
pub fn features() -> Value {
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
pub async fn request_job_as(gitlab: &FakeGitlab, token: &str) -> Answer {
    let body = json!({
        "token": token,
        "system_id": "s_0123456789ab",
        "info": { "name": "test", "features": features() },
    });
    call(gitlab, "POST", "/jobs/request", body).await
}

/// Takes a job as the runner that is there from the start; panics if there is none.
pub async fn take(gitlab: &FakeGitlab) -> Value {
    request_job_as(gitlab, gitlab.runner_token()).await.expect(201).json()
}

/// Ends a taken job.
pub async fn finish(gitlab: &FakeGitlab, payload: &Value, state: &str) -> Answer {
    let body = json!({ "token": payload["token"], "state": state, "failure_reason": "script_failure", "exit_code": i32::from(state == "failed") });
    call(gitlab, "PUT", &format!("/jobs/{}", payload["id"]), body).await
}

/// Appends to the trace of a taken job.
pub async fn patch(gitlab: &FakeGitlab, payload: &Value, range: &str, text: &str) -> Answer {
    let url = format!("{}/api/v4/jobs/{}/trace?debug_trace=false", gitlab.url(), payload["id"]);
    let request = client()
        .patch(url)
        .header("JOB-TOKEN", payload["token"].as_str().unwrap())
        .header("Content-Type", "text/plain")
        .header("Content-Range", range)
        .body(text.to_owned());
    send(request).await
}

//! Faults that are seen on the wire, and certificates that are wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use fake_gitlab::{Cut, FakeGitlab, Fault, JobSpec, Tls};
use serde_json::json;
use support::{call, client, patch, send, take};

const VERIFY: &str = "/api/v4/runners/verify";

#[tokio::test]
async fn every_third_request_fails() {
    let gitlab = FakeGitlab::builder().fault(Fault::on("POST", VERIFY).every(3).status(503)).start().await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(call(&gitlab, "POST", "/runners/verify", json!({"token": gitlab.runner_token()})).await.status);
    }
    assert_eq!(statuses, [503, 200, 200, 503, 200, 200, 503]);
}

#[tokio::test]
async fn an_answer_breaks_off_in_its_middle() {
    let gitlab = FakeGitlab::start().await.unwrap();
    for path in ["/runners/verify", "/runners/reset_authentication_token"] {
        gitlab.inject(Fault::on("POST", &format!("/api/v4{path}")).cut(Cut::Response));
        let url = format!("{}/api/v4{path}", gitlab.url());
        let response = client().post(url).json(&json!({"token": gitlab.runner_token()})).send().await.unwrap();
        assert!(response.status().is_success());
        assert!(response.bytes().await.is_err());
    }
    // It has had its effect: the token is another one.
    call(&gitlab, "POST", "/runners/verify", json!({"token": gitlab.runner_token()})).await.expect(403);
}

#[tokio::test]
async fn a_request_breaks_off_in_its_middle() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let job = take(&gitlab).await;
    gitlab.inject(Fault::on("PATCH", "/api/v4/jobs/*/trace").cut(Cut::Request));
    let url = format!("{}/api/v4/jobs/{id}/trace", gitlab.url());
    let request = client().patch(url).header("JOB-TOKEN", job["token"].as_str().unwrap());
    let request = request.header("Content-Range", "0-999999").body("x".repeat(1_000_000));
    assert!(request.send().await.is_err());
    assert!(gitlab.trace(id).is_empty());
    let record = gitlab.requests().into_iter().find(|record| record.method == "PATCH").unwrap();
    assert_eq!(record.status, None);
    assert!((500_000..1_000_000).contains(&record.body_size), "{}", record.body_size);
    patch(&gitlab, &job, "0-0", "x").await.expect(202);
}

#[tokio::test]
async fn another_offset_is_claimed() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let job = take(&gitlab).await;
    gitlab.inject(Fault::on("PATCH", "/api/v4/jobs/*/trace").offset(7));
    let answer = patch(&gitlab, &job, "0-0", "x").await.expect(416);
    assert_eq!(answer.header("range"), Some("0-7"));
    patch(&gitlab, &job, "0-0", "x").await.expect(202);
}

/// A client that trusts this certificate and no other.
fn trusting(path: &std::path::Path) -> reqwest::Client {
    drop(client()); // the cryptography is chosen there
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(path).unwrap()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test]
async fn a_self_signed_certificate_is_good_for_those_who_know_it() {
    let gitlab = FakeGitlab::builder().tls(Tls::SelfSigned).start().await.unwrap();
    assert!(gitlab.url().starts_with("https://"));
    let url = format!("{}/api/v4/runners/verify", gitlab.url());
    let body = json!({"token": gitlab.runner_token()});
    send(trusting(gitlab.certificate().unwrap()).post(&url).json(&body)).await.expect(200);
    let other = FakeGitlab::builder().tls(Tls::SelfSigned).start().await.unwrap();
    assert!(trusting(other.certificate().unwrap()).post(&url).json(&body).send().await.is_err());
}

#[tokio::test]
async fn a_certificate_for_another_host_is_good_for_nobody() {
    let gitlab = FakeGitlab::builder().tls(Tls::WrongHost).start().await.unwrap();
    let request = trusting(gitlab.certificate().unwrap()).get(format!("{}/api/v4/version", gitlab.url()));
    let problem = format!("{:?}", request.send().await.unwrap_err());
    assert!(problem.contains("NotValidForName"), "{problem}");
    assert!(gitlab.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_takes_faults_rules_and_a_certificate() {
    let fault = format!(r#"{{"path":"{VERIFY}","action":{{"status":429,"headers":{{"Retry-After":"1"}}}}}}"#);
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-gitlab"))
        .args([
            "serve",
            "--tls",
            "self-signed",
            "--fault",
            &fault,
            "--set",
            "job_router_url=wss://kas",
            "--set",
            "trace_limit=5",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().take(5).map(Result::unwrap).collect();
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
    let client = trusting(std::path::Path::new(value("tls-certificate: ")));
    let url = &lines[0];
    let verify = || client.post(format!("{url}{VERIFY}")).json(&json!({"token": value("runner-token: ")}));
    let refused = send(verify()).await.expect(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    send(verify()).await.expect(200);
    let settings = send(client.get(format!("{url}/-/fake/settings"))).await.expect(200).json();
    assert_eq!((&settings["job_router_url"], &settings["trace_limit"]), (&json!("wss://kas"), &json!(5)));
    child.kill().unwrap();
    child.wait().unwrap();

    for (option, value) in [("--set", "no_such_rule=1"), ("--set", "migrating"), ("--fault", "{}"), ("--tls", "good")] {
        let output = Command::new(env!("CARGO_BIN_EXE_fake-gitlab")).args(["serve", option, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

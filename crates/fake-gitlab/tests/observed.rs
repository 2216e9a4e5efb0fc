//! The record of requests, faults and the event stream, over HTTP and from Rust.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{Cut, FakeGitlab, Fault, JobSpec, JobStatus};
use futures::StreamExt;
use serde_json::{Value, json};
use support::{call, client, finish, patch, request_job_as, send, take};

#[tokio::test]
async fn faults_hit_the_named_requests_and_no_others() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    let faults = json!([
        {"method": "PATCH", "path": "/api/v4/jobs/*/trace", "nth": 2, "count": 2,
         "action": {"status": 503, "headers": {"Retry-After": "1"}, "body": "busy"}},
        {"method": "PUT", "path": "/api/v4/jobs/*", "action": {"headers": {"Job-Status": "canceling"}}},
    ]);
    send(client().put(format!("{}/-/fake/faults", gitlab.url())).json(&faults)).await.expect(200);
    patch(&gitlab, &payload, "0-0", "a").await.expect(202);
    for _ in 0..2 {
        let answer = patch(&gitlab, &payload, "1-1", "b").await.expect(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.text(), "busy");
    }
    patch(&gitlab, &payload, "1-1", "b").await.expect(202);
    let running = json!({"token": payload["token"], "state": "running"});
    let path = format!("/jobs/{id}");
    let answer = call(&gitlab, "PUT", &path, running.clone()).await.expect(200);
    assert_eq!(answer.header("job-status"), Some("canceling"));
    let answer = call(&gitlab, "PUT", &path, running).await.expect(200);
    assert_eq!(answer.header("job-status"), Some("running"));
    let wrong = client()
        .put(format!("{}/-/fake/faults", gitlab.url()))
        .json(&json!([{"path": "/x", "action": {"explode": 1}}]));
    send(wrong).await.expect(400);
}

#[tokio::test]
async fn a_cut_before_has_no_effect_and_a_cut_after_has() {
    let gitlab = FakeGitlab::start().await.unwrap();
    for (when, status) in [(Cut::Before, JobStatus::Running), (Cut::After, JobStatus::Success)] {
        let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
        let payload = take(&gitlab).await;
        gitlab.inject(Fault::on("PUT", &format!("/api/v4/jobs/{id}")).cut(when));
        let body = json!({"token": payload["token"], "state": "success"});
        let request = client().put(format!("{}/api/v4/jobs/{id}", gitlab.url())).json(&body);
        assert!(request.send().await.is_err(), "{when:?}");
        assert_eq!(gitlab.job(id).unwrap().status, status, "{when:?}");
        let path = format!("/api/v4/jobs/{id}");
        let record = gitlab.wait_request(|record| record.path == path).await;
        assert_eq!(record.status, None);
    }
}

#[tokio::test]
async fn a_delayed_answer_comes_late_and_right() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.inject(Fault::on("POST", "/api/v4/runners/verify").delay_ms(30));
    let began = std::time::Instant::now();
    call(&gitlab, "POST", "/runners/verify", json!({"token": gitlab.runner_token()})).await.expect(200);
    assert!(began.elapsed().as_millis() >= 30);
}

#[tokio::test]
async fn requests_are_recorded_with_tokens_hidden() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    patch(&gitlab, &payload, "0-2", "abc").await.expect(202);
    let record = gitlab.wait_request(|record| record.method == "PATCH").await;
    assert_eq!(record.body_size, 3);
    assert_eq!(record.headers["content-range"], "0-2");
    assert_eq!(record.query, "debug_trace=false");
    let token = payload["token"].as_str().unwrap();
    let url = format!("{}/-/fake/requests", gitlab.url());
    let shown = send(client().get(&url)).await.expect(200).text();
    assert!(!shown.contains(token) && !shown.contains(gitlab.runner_token()), "{shown}");
    let all = send(client().get(format!("{url}?secrets=1"))).await.json();
    let requests = all.as_array().unwrap();
    assert_eq!(requests[0]["path"], "/api/v4/jobs/request");
    assert_eq!(requests[0]["json"]["token"], gitlab.runner_token());
    assert_eq!(requests[0]["status"], 201);
    assert_eq!(requests[1]["headers"]["job-token"], token);
    send(client().delete(&url)).await.expect(204);
    assert_eq!(gitlab.requests().len(), 1, "the delete itself");
}

#[tokio::test]
async fn events_stream_every_change_from_the_start() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default().name("one")).await.unwrap();
    let response = client().get(format!("{}/-/fake/events", gitlab.url())).send().await.unwrap();
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    let mut next = async || loop {
        if let Some((line, rest)) = text.split_once('\n') {
            let event: Value = serde_json::from_str(line).unwrap();
            text = rest.to_owned();
            assert_eq!(event["job"]["id"], id);
            assert_eq!(event["job"]["name"], "one");
            return event["job"]["status"].as_str().unwrap().to_owned();
        }
        let chunk = stream.next().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    };
    assert_eq!(next().await, "created");
    assert_eq!(next().await, "pending");
    let payload = take(&gitlab).await;
    assert_eq!(next().await, "running");
    finish(&gitlab, &payload, "failed").await.expect(200);
    assert_eq!(next().await, "failed");
}

#[tokio::test]
async fn nothing_is_served_after_the_stop() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let url = format!("{}/api/v4/version", gitlab.url());
    let kept = client();
    send(kept.get(&url)).await.expect(401);
    gitlab.stop().await;
    for client in [kept, client()] {
        assert!(client.get(&url).send().await.is_err());
    }
}

#[tokio::test]
async fn answers_carry_the_requests_id() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let url = format!("{}/api/v4/version", gitlab.url());
    let named = send(client().get(&url).header("X-Request-Id", "0123")).await;
    assert_eq!(named.header("x-request-id"), Some("0123"));
    let unnamed = send(client().get(&url)).await;
    assert_eq!(unnamed.header("x-request-id").map(str::len), Some(32));
}

#[tokio::test]
async fn bodies_beyond_a_routes_limit_are_refused() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    let large = "x".repeat(8 << 20);
    patch(&gitlab, &payload, "0-1", &large).await.expect(202);
    let mut body = json!({"token": gitlab.runner_token()});
    body["info"] = json!({"name": "x".repeat(1 << 20)});
    call(&gitlab, "POST", "/jobs/request", body).await.expect(413);
    request_job_as(&gitlab, gitlab.runner_token()).await.expect(204);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let gitlab = FakeGitlab::start().await.unwrap();
    for _ in 0..25 {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
    }
    let first = support::user(&gitlab, "GET", "/projects/1/jobs").await.expect(200);
    assert_eq!(first.json().as_array().unwrap().len(), 20);
    for (name, value) in
        [("x-total", "25"), ("x-total-pages", "2"), ("x-page", "1"), ("x-next-page", "2"), ("x-prev-page", "")]
    {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    assert!(first.header("link").unwrap().contains("rel=\"next\""));
    assert_eq!(first.json()[0]["id"], 25, "newest first");
    let second = support::user(&gitlab, "GET", "/projects/fake%2Fjobs/jobs?page=2").await.expect(200);
    assert_eq!(second.json().as_array().unwrap().len(), 5);
    let running = support::user(&gitlab, "GET", "/projects/1/jobs?scope[]=running").await.json();
    assert_eq!(running, json!([]));
}

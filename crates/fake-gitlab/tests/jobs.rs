//! The life of a job on the wire: request, trace, final state, cancel.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{FakeGitlab, JobSpec, JobStatus, RunnerSpec};
use serde_json::json;
use std::time::Duration;
use support::{call, finish, patch, request_job_as, take};

#[tokio::test]
async fn a_raw_job_is_taken_logged_and_finished() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::script(["echo hi"]).variable("A", "b").masked("S", "secret")).await.unwrap();
    let payload = take(&gitlab).await;
    assert_eq!(payload["id"], id);
    assert_eq!(payload["steps"][0]["script"], json!(["echo hi"]));
    let variables = payload["variables"].as_array().unwrap();
    assert!(variables.contains(&json!({"key":"A","value":"b","public":true,"masked":false})));
    assert!(variables.contains(&json!({"key":"S","value":"secret","public":false,"masked":true})));
    assert!(variables.contains(&json!({"key":"GIT_STRATEGY","value":"none","public":true,"masked":false})));

    let answer = patch(&gitlab, &payload, "0-10", "BUILD TRACE").await.expect(202);
    assert_eq!(answer.header("range"), Some("0-11"));
    assert_eq!(answer.header("job-status"), Some("running"));
    assert_eq!(answer.header("x-gitlab-trace-update-interval"), Some("3"));

    let answer = finish(&gitlab, &payload, "success").await.expect(200);
    assert_eq!(answer.header("job-status"), Some("success"));
    assert_eq!(answer.header("x-gitlab-trace-update-interval"), None);
    let job = gitlab.wait_finished(id).await;
    assert_eq!(job.status, JobStatus::Success);
    assert_eq!(job.exit_code, Some(0));
    assert_eq!(gitlab.trace(id), b"BUILD TRACE");
    assert_eq!(job.trace_crc32, format!("crc32:{:08x}", crc32_of(b"BUILD TRACE")));
}

/// Bit by bit, so that it shares nothing with the library.
fn crc32_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[tokio::test]
async fn trace_offsets_follow_the_rules() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    patch(&gitlab, &payload, "0-10", "BUILD TRACE").await.expect(202);
    for (range, body, status, answered, log) in [
        ("11-20", " appended", 202, "0-20", "BUILD TRACE appended"),
        ("20-20", "", 202, "0-20", "BUILD TRACE appended"),
        ("25-30/6", "x", 416, "0-20", "BUILD TRACE appended"),
        ("8-20/13", "x", 416, "0-20", "BUILD TRACE appended"),
        ("20-90/999", "!", 202, "0-21", "BUILD TRACE appended!"),
    ] {
        let answer = patch(&gitlab, &payload, range, body).await.expect(status);
        assert_eq!(answer.header("range"), Some(answered), "{range}");
        assert_eq!(String::from_utf8(gitlab.trace(id)).unwrap(), log, "{range}");
    }
    patch(&gitlab, &payload, "nonsense", "x").await.expect(400);
}

#[tokio::test]
async fn a_lost_trace_is_sent_again_from_the_start() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    patch(&gitlab, &payload, "0-3", "abcd").await.expect(202);
    gitlab.inject(fake_gitlab::Fault::on("PATCH", "/api/v4/jobs/*/trace").lose_trace());
    let answer = patch(&gitlab, &payload, "4-4", "e").await.expect(416);
    assert_eq!(answer.header("range"), Some("0-0"));
    patch(&gitlab, &payload, "0-4", "abcde").await.expect(202);
}

#[tokio::test]
async fn a_job_beyond_the_trace_limit_fails() {
    let gitlab = FakeGitlab::builder().trace_limit(4).start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    patch(&gitlab, &payload, "0-3", "abcd").await.expect(202);
    patch(&gitlab, &payload, "4-4", "e").await.expect(403);
    let job = gitlab.wait_finished(id).await;
    assert_eq!(job.failure_reason.as_deref(), Some("trace_size_exceeded"));
}

#[tokio::test]
async fn final_states_are_stored_as_gitlab_stores_them() {
    let gitlab = FakeGitlab::start().await.unwrap();
    for (body, status, reason, exit_code) in [
        (json!({"state":"success"}), JobStatus::Success, None, Some(0)),
        (json!({"state":"failed"}), JobStatus::Failed, Some("unknown_failure"), None),
        (
            json!({"state":"failed","failure_reason":"script_failure","exit_code":7,"new":1}),
            JobStatus::Failed,
            Some("script_failure"),
            Some(7),
        ),
        (json!({"state":"failed","failure_reason":"what_is_this"}), JobStatus::Failed, Some("unknown_failure"), None),
        (json!({"state":"failed","exit_code":99999}), JobStatus::Failed, Some("unknown_failure"), Some(32767)),
    ] {
        let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
        let payload = take(&gitlab).await;
        let mut sent = body.clone();
        sent["token"] = payload["token"].clone();
        let answer = call(&gitlab, "PUT", &format!("/jobs/{id}"), sent).await.expect(200);
        assert_eq!(answer.text(), "200");
        let job = gitlab.job(id).unwrap();
        assert_eq!(job.status, status, "{body}");
        assert_eq!(job.failure_reason.as_deref(), reason, "{body}");
        assert_eq!(job.exit_code, exit_code, "{body}");
    }
}

#[tokio::test]
async fn wrong_states_and_tokens_are_refused() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    let token = &payload["token"];
    let path = format!("/jobs/{id}");
    call(&gitlab, "PUT", &path, json!({"token": token})).await.expect(400);
    call(&gitlab, "PUT", &path, json!({"token": token, "state": "pending"})).await.expect(400);
    call(&gitlab, "PUT", &path, json!({"state": "success"})).await.expect(400);
    call(&gitlab, "PUT", &path, json!({"token": "x", "state": "success"})).await.expect(403);
    call(&gitlab, "PUT", "/jobs/999", json!({"token": token, "state": "success"})).await.expect(403);
    call(&gitlab, "PUT", "/jobs/x", json!({"token": token, "state": "success"})).await.expect(403);
    finish(&gitlab, &payload, "failed").await.expect(200);
    let answer = finish(&gitlab, &payload, "success").await.expect(403);
    assert_eq!(answer.header("job-status"), Some("failed"));
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Job is not processing on runner"}));
}

#[tokio::test]
async fn cancel_is_graceful_only_for_runners_that_said_so() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let graceful = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    gitlab.cancel(graceful);
    let running = json!({"token": payload["token"], "state": "running"});
    let answer = call(&gitlab, "PUT", &format!("/jobs/{graceful}"), running).await.expect(200);
    assert_eq!(answer.header("job-status"), Some("canceling"));
    let answer = patch(&gitlab, &payload, "0-1", "x").await.expect(202);
    assert_eq!(answer.header("job-status"), Some("canceling"));
    let answer = finish(&gitlab, &payload, "failed").await.expect(200);
    assert_eq!(answer.header("job-status"), Some("canceled"));
    assert_eq!(gitlab.job(graceful).unwrap().status, JobStatus::Canceled);

    let abrupt = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let body = json!({"token": gitlab.runner_token(), "system_id": "s_other0000000", "info": {"features": {}}});
    let payload = call(&gitlab, "POST", "/jobs/request", body).await.expect(201).json();
    gitlab.cancel(abrupt);
    let answer = patch(&gitlab, &payload, "0-1", "x").await.expect(403);
    assert_eq!(answer.header("job-status"), Some("canceled"));

    let pending = gitlab.enqueue(JobSpec::default()).await.unwrap();
    gitlab.cancel(pending);
    assert_eq!(gitlab.job(pending).unwrap().status, JobStatus::Canceled);
}

#[tokio::test]
async fn with_live_traces_a_final_state_waits_for_the_archive() {
    let gitlab = FakeGitlab::builder().live_trace(true).start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    patch(&gitlab, &payload, "0-3", "abcd").await.expect(202);
    let body = json!({"token": payload["token"], "state": "failed", "failure_reason": "script_failure",
        "output": {"checksum": "crc32:ed82cd11", "bytesize": 4}});
    let answer = call(&gitlab, "PUT", &format!("/jobs/{id}"), body.clone()).await.expect(202);
    assert_eq!(answer.header("job-status"), Some("running"));
    assert_eq!(answer.header("x-gitlab-trace-update-interval"), Some("1"));
    let mut again = body;
    again["failure_reason"] = json!("runner_system_failure");
    call(&gitlab, "PUT", &format!("/jobs/{id}"), again).await.expect(200);
    let job = gitlab.job(id).unwrap();
    assert_eq!(job.failure_reason.as_deref(), Some("script_failure"), "the first reason holds");
    assert_eq!(job.claimed_checksum.as_deref(), Some(job.trace_crc32.as_str()));
}

#[tokio::test]
async fn the_queue_value_changes_when_a_job_is_enqueued_and_only_then() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let ask = |last: Option<String>| {
        let mut body = json!({"token": gitlab.runner_token()});
        if let Some(last) = last {
            body["last_update"] = json!(last);
        }
        call(&gitlab, "POST", "/jobs/request", body)
    };
    let value = |answer: &support::Answer| answer.header("x-gitlab-last-update").map(str::to_owned);
    let first = value(&ask(None).await.expect(204));
    assert!(first.is_some());
    assert_eq!(value(&ask(first.clone()).await.expect(204)), first);
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let answer = ask(first.clone()).await.expect(201);
    assert_eq!(value(&answer), None);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_ne!(value(&ask(first.clone()).await.expect(204)), first);
}

#[tokio::test]
async fn a_held_request_returns_when_a_job_is_enqueued() {
    let gitlab = FakeGitlab::builder().long_poll(Duration::from_secs(50)).start().await.unwrap();
    let body = json!({"token": gitlab.runner_token()});
    let answer = call(&gitlab, "POST", "/jobs/request", body.clone()).await.expect(204);
    let mut body = body;
    body["last_update"] = json!(answer.header("x-gitlab-last-update").unwrap());
    let (held, id) =
        tokio::join!(call(&gitlab, "POST", "/jobs/request", body.clone()), gitlab.enqueue(JobSpec::default()),);
    // Depending on which came first the request was held, or got the job.
    if held.status == 204 {
        assert_eq!(held.header("x-gitlab-last-update"), None);
        assert_eq!(held.header("gitlab-ci-builds-polling"), Some("yes"));
        call(&gitlab, "POST", "/jobs/request", body).await.expect(201);
    }
    assert_eq!(gitlab.job(id.unwrap()).unwrap().status, JobStatus::Running);
}

#[tokio::test]
async fn a_held_request_ends_when_its_time_is_up() {
    let gitlab = FakeGitlab::builder().long_poll(Duration::from_millis(40)).start().await.unwrap();
    let body = json!({"token": gitlab.runner_token()});
    let first = call(&gitlab, "POST", "/jobs/request", body.clone()).await.expect(204);
    let record = gitlab.wait_request(|record| record.path.ends_with("/jobs/request")).await;
    assert!(record.response_headers.get("gitlab-ci-builds-polling").is_none(), "the first one knows no value");
    let mut body = body;
    body["last_update"] = json!(first.header("x-gitlab-last-update").unwrap());
    let began = std::time::Instant::now();
    let held = call(&gitlab, "POST", "/jobs/request", body).await.expect(204);
    assert!(began.elapsed() >= Duration::from_millis(40));
    assert_eq!(held.header("gitlab-ci-builds-polling"), Some("yes"));
    assert_eq!(held.header("x-gitlab-last-update"), None);
}

#[tokio::test]
async fn jobs_go_only_to_runners_that_may_have_them() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let tagged = RunnerSpec { tags: vec!["k8s".into(), "big".into()], run_untagged: false, ..RunnerSpec::default() };
    let tagged = gitlab.create_runner(tagged).unwrap();
    let paused = gitlab.create_runner(RunnerSpec { paused: true, ..RunnerSpec::default() }).unwrap();
    let untagged_job = gitlab.enqueue(JobSpec::default()).await.unwrap();
    assert!(request_job_as(&gitlab, &paused).await.expect(204).header("x-gitlab-last-update").is_some());
    request_job_as(&gitlab, &tagged).await.expect(204);
    assert_eq!(take(&gitlab).await["id"], untagged_job);
    let tagged_job = gitlab.enqueue(JobSpec::default().tag("k8s")).await.unwrap();
    request_job_as(&gitlab, gitlab.runner_token()).await.expect(204);
    assert_eq!(request_job_as(&gitlab, &tagged).await.expect(201).json()["id"], tagged_job);
    gitlab.enqueue(JobSpec::default().tag("k8s").tag("arm")).await.unwrap();
    request_job_as(&gitlab, &tagged).await.expect(204);
    let last_update = request_job_as(&gitlab, &paused).await.header("x-gitlab-last-update").unwrap().to_owned();
    gitlab.pause_runner(&paused, false);
    let resumed = json!({"token": paused, "last_update": last_update});
    let answer = call(&gitlab, "POST", "/jobs/request", resumed).await.expect(204);
    assert_ne!(answer.header("x-gitlab-last-update"), Some(last_update.as_str()), "a resumed runner has a new queue");
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    request_job_as(&gitlab, &paused).await.expect(201);
}

#[tokio::test]
async fn jobs_that_need_a_missing_feature_fail_and_the_next_is_given() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let report = json!({"name":"junit.xml","paths":["r.xml"],"when":"always","expire_in":null,"artifact_type":"junit","artifact_format":"gzip"});
    let needy = gitlab.enqueue(JobSpec::default().artifact(report)).await.unwrap();
    let plain = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let body = json!({"token": gitlab.runner_token(), "info": {"features": {}}});
    let payload = call(&gitlab, "POST", "/jobs/request", body).await.expect(201).json();
    assert_eq!(payload["id"], plain);
    assert_eq!(gitlab.job(needy).unwrap().failure_reason.as_deref(), Some("runner_unsupported"));
}

#[tokio::test]
async fn the_timeout_is_the_smaller_of_the_jobs_and_the_runners() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let limited = gitlab.create_runner(RunnerSpec { maximum_timeout: Some(1000), ..RunnerSpec::default() }).unwrap();
    for (job, given) in [(Some(1234), 1000), (Some(700), 700), (None, 1000)] {
        let spec = JobSpec { timeout: job, ..JobSpec::default() };
        gitlab.enqueue(spec).await.unwrap();
        let payload = request_job_as(&gitlab, &limited).await.expect(201).json();
        assert_eq!(payload["runner_info"]["timeout"], given);
    }
}

#[tokio::test]
async fn raw_payload_members_are_merged_and_variables_appended() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let url = format!("{}/-/fake/jobs", gitlab.url());
    let body = json!({"name": "by hand", "payload": {
        "git_info": {"ref": "other"},
        "features": {"trace_sections": false},
        "variables": [{"key":"EXTRA","value":"1","public":true,"masked":false}],
        "services": [{"name":"redis:7","alias":null}],
    }});
    let created = support::send(support::client().post(&url).json(&body)).await.expect(201).json();
    let payload = take(&gitlab).await;
    assert_eq!(payload["id"], created["id"]);
    assert_eq!(payload["job_info"]["name"], "by hand");
    assert_eq!(payload["git_info"]["ref"], "other");
    assert!(payload["git_info"]["repo_url"].as_str().unwrap().contains("gitlab-ci-token:glcbt-"));
    assert_eq!(payload["features"]["trace_sections"], false);
    assert_eq!(payload["services"][0]["name"], "redis:7");
    let variables = payload["variables"].as_array().unwrap();
    assert_eq!(variables.last().unwrap()["key"], "EXTRA");
    assert!(variables.iter().any(|variable| variable["key"] == "CI_JOB_ID"));
    let wrong = support::client().post(&url).json(&json!({"skript": []}));
    let answer = support::send(wrong).await.expect(400);
    assert!(answer.text().contains("skript"), "{}", answer.text());
}

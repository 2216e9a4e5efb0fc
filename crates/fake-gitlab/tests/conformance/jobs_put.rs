//! U: what a runner says about the state of its job.

use fake_gitlab::{FakeGitlab, JobSpec, JobStatus};
use serde_json::{Value, json};

use crate::support::{call, finish, patch, user};
use crate::wire::{advance, ask, first_runner, info_with, plain, put, running, seconds_until, with, with_definition};

const INTERVAL: &str = "x-gitlab-trace-update-interval";

fn status(gitlab: &FakeGitlab, job: &Value) -> JobStatus {
    gitlab.job(job["id"].as_u64().unwrap()).unwrap().status
}

fn reason(gitlab: &FakeGitlab, job: &Value) -> Option<String> {
    gitlab.job(job["id"].as_u64().unwrap()).unwrap().failure_reason
}

#[tokio::test]
async fn u01_success_ends_the_job() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    let answer = put(&gitlab, &job, json!({"state": "success"})).await.expect(200);
    assert_eq!(answer.header("job-status"), Some("success"));
    assert_eq!(answer.header(INTERVAL), None);
    assert_eq!(answer.text(), "200");
    assert_eq!(status(&gitlab, &job), JobStatus::Success);
}

#[tokio::test]
async fn u02_a_failure_without_a_reason_is_unknown() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    put(&gitlab, &job, json!({"state": "failed"})).await.expect(200);
    assert_eq!(reason(&gitlab, &job).as_deref(), Some("unknown_failure"));
}

#[tokio::test]
async fn u03_known_reasons_are_stored() {
    let gitlab = plain().await;
    for given in ["script_failure", "runner_system_failure", "job_execution_timeout", "unmet_prerequisites"] {
        let job = running(&gitlab).await;
        put(&gitlab, &job, json!({"state": "failed", "failure_reason": given})).await.expect(200);
        assert_eq!(reason(&gitlab, &job).as_deref(), Some(given));
    }
}

#[tokio::test]
async fn u04_an_unknown_reason_is_unknown() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    put(&gitlab, &job, json!({"state": "failed", "failure_reason": "what_is_this"})).await.expect(200);
    assert_eq!(reason(&gitlab, &job).as_deref(), Some("unknown_failure"));
}

#[tokio::test]
async fn u05_unknown_members_are_ignored() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    put(&gitlab, &job, json!({"state": "success", "unknown": "something"})).await.expect(200);
    assert_eq!(status(&gitlab, &job), JobStatus::Success);
}

#[tokio::test]
async fn u06_allowed_exit_codes_are_allowed_failures() {
    let (gitlab, _repository) = with_definition("a:\n  script: x\n  allow_failure: {exit_codes: [1, 42]}\n").await;
    for (code, allowed) in [(42, true), (2, false)] {
        gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
        let job = ask(&gitlab, info_with(&["return_exit_code"])).await.expect(201).json();
        put(&gitlab, &job, json!({"state": "failed", "exit_code": code})).await.expect(200);
        let report = gitlab.job(job["id"].as_u64().unwrap()).unwrap();
        assert_eq!((report.allow_failure, report.exit_code), (allowed, Some(code)));
    }
}

#[tokio::test]
async fn u07_runner_and_machine_are_heard_of() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    advance(&gitlab, 1000);
    put(&gitlab, &job, json!({"state": "running"})).await.expect(200);
    let runner = first_runner(&gitlab).await;
    assert!(seconds_until(&runner["contacted_at"]) >= 995, "{runner}");
    assert!(seconds_until(&runner["managers"][0]["contacted_at"]) >= 995, "{runner}");
}

/// A final state as gitlab-runner sends it.
fn with_checksum() -> Value {
    json!({"state": "success", "checksum": "crc32:12345678", "output": {"checksum": "crc32:12345678", "bytesize": 3}})
}

/// A running job with a log, on a server that keeps logs in chunks.
async fn running_with_chunks() -> (FakeGitlab, Value) {
    let gitlab = with(|settings| settings.live_trace = true).await;
    let job = running(&gitlab).await;
    patch(&gitlab, &job, "0-2", "log").await.expect(202);
    (gitlab, job)
}

#[tokio::test]
async fn u08_a_log_that_is_not_archived_is_waited_for() {
    let (gitlab, job) = running_with_chunks().await;
    let answer = put(&gitlab, &job, with_checksum()).await.expect(202);
    assert_eq!(answer.header("job-status"), Some("running"));
    assert_eq!(answer.header(INTERVAL), Some("1"));
    assert_eq!(status(&gitlab, &job), JobStatus::Running);
    gitlab.change_settings(|settings| settings.archive_rounds = 3);
    advance(&gitlab, 10);
    let answer = put(&gitlab, &job, with_checksum()).await.expect(202);
    assert_eq!(answer.header(INTERVAL), Some("4"));
}

#[tokio::test]
async fn u09_when_it_is_archived_the_job_ends() {
    let (gitlab, job) = running_with_chunks().await;
    put(&gitlab, &job, with_checksum()).await.expect(202);
    assert_eq!(crate::wire::job(&gitlab, &job["id"]).await["archives_trace"], json!(true));
    let answer = put(&gitlab, &job, with_checksum()).await.expect(200);
    assert_eq!(answer.header(INTERVAL), None);
    assert_eq!(status(&gitlab, &job), JobStatus::Success);
    assert_eq!(crate::wire::job(&gitlab, &job["id"]).await["archives_trace"], json!(false));
}

#[tokio::test]
async fn u10_an_archived_log_ends_the_job_whatever_its_checksum() {
    let gitlab = plain().await;
    for checksum in ["crc32:12345678", "crc:12345678"] {
        let job = running(&gitlab).await;
        patch(&gitlab, &job, "0-2", "log").await.expect(202);
        let body = json!({"state": "success", "output": {"checksum": checksum, "bytesize": 1}});
        let answer = put(&gitlab, &job, body).await.expect(200);
        assert_eq!(answer.header(INTERVAL), None);
        assert_eq!(status(&gitlab, &job), JobStatus::Success);
    }
}

#[tokio::test]
async fn u11_without_a_checksum_nothing_is_waited_for() {
    let (gitlab, job) = running_with_chunks().await;
    put(&gitlab, &job, json!({"state": "success", "output": {}})).await.expect(200);
    assert_eq!(status(&gitlab, &job), JobStatus::Success);
}

#[tokio::test]
async fn u12_erased_and_unknown_jobs_are_403() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    finish(&gitlab, &job, "success").await.expect(200);
    user(&gitlab, "POST", &format!("/projects/fake%2Fjobs/jobs/{}/erase", job["id"])).await.expect(201);
    let answer = put(&gitlab, &job, json!({"state": "running"})).await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Job has been erased!"}));
    assert_eq!(answer.header("job-status"), None);
    let body = json!({"token": job["token"], "state": "running"});
    assert_eq!(call(&gitlab, "PUT", "/jobs/9999", body).await.expect(403).json(), json!({"message": "403 Forbidden"}));
}

#[tokio::test]
async fn u13_a_finished_job_stays_as_it_is() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    finish(&gitlab, &job, "failed").await.expect(200);
    let answer = put(&gitlab, &job, json!({"state": "success"})).await.expect(403);
    assert_eq!(answer.header("job-status"), Some("failed"));
    assert_eq!(status(&gitlab, &job), JobStatus::Failed);
}

/// A job that a machine without graceful cancelling runs.
async fn running_abruptly(gitlab: &FakeGitlab) -> Value {
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    ask(gitlab, info_with(&[])).await.expect(201).json()
}

#[tokio::test]
async fn u14_a_canceled_job_is_told_so() {
    let gitlab = plain().await;
    let job = running_abruptly(&gitlab).await;
    gitlab.cancel(job["id"].as_u64().unwrap());
    let answer = put(&gitlab, &job, json!({"state": "running"})).await.expect(403);
    assert_eq!(answer.header("job-status"), Some("canceled"));
}

#[tokio::test]
async fn u15_a_job_that_is_being_canceled_goes_on() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    gitlab.cancel(job["id"].as_u64().unwrap());
    let answer = put(&gitlab, &job, json!({"state": "running"})).await.expect(200);
    assert_eq!(answer.header("job-status"), Some("canceling"));
}

#[tokio::test]
async fn u16_a_job_that_is_being_canceled_ends_canceled() {
    let gitlab = plain().await;
    for state in ["success", "failed"] {
        let job = running(&gitlab).await;
        gitlab.cancel(job["id"].as_u64().unwrap());
        let answer = put(&gitlab, &job, json!({ "state": state })).await.expect(200);
        assert_eq!(answer.header("job-status"), Some("canceled"));
        assert_eq!(status(&gitlab, &job), JobStatus::Canceled, "{state}");
    }
}

#[tokio::test]
async fn u17_a_state_that_is_none_is_400() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    for body in [json!({}), json!({"state": "nonsense"}), json!({"state": "pending"}), json!({"state": "canceled"})] {
        put(&gitlab, &job, body).await.expect(400);
    }
    call(&gitlab, "PUT", &format!("/jobs/{}", job["id"]), json!({"state": "success"})).await.expect(400);
    assert_eq!(status(&gitlab, &job), JobStatus::Running);
}

#[tokio::test]
async fn u18_an_expired_token_ends_the_job() {
    let gitlab = with(|settings| settings.job_token_lifetime = Some(100)).await;
    let job = running(&gitlab).await;
    put(&gitlab, &job, json!({"state": "running"})).await.expect(200);
    advance(&gitlab, 100);
    let answer = put(&gitlab, &job, json!({"state": "success"})).await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Job token has expired"}));
    assert!(answer.header("job-status").is_some());
    assert_eq!(reason(&gitlab, &job).as_deref(), Some("job_token_expired"));
}

#[tokio::test]
async fn u19_two_phase_commit_waits_for_the_runners_word() {
    let gitlab = with(|settings| settings.two_phase_commit = true).await;
    let take = async || {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
        ask(&gitlab, info_with(&["two_phase_job_commit"])).await.expect(201).json()
    };
    let job = take().await;
    assert_eq!(status(&gitlab, &job), JobStatus::Pending);
    ask(&gitlab, json!({})).await.expect(204);
    put(&gitlab, &job, json!({"state": "success"})).await.expect(400);
    advance(&gitlab, 100);
    put(&gitlab, &job, json!({"state": "pending"})).await.expect(200);
    advance(&gitlab, 100);
    ask(&gitlab, json!({})).await.expect(204);
    let answer = put(&gitlab, &job, json!({"state": "running"})).await.expect(200);
    assert_eq!(answer.header("job-status"), Some("running"));
    put(&gitlab, &job, json!({"state": "success"})).await.expect(200);

    // A runner that says nothing loses the job, and another one gets it.
    let job = take().await;
    advance(&gitlab, 120);
    let again = ask(&gitlab, json!({})).await.expect(201).json();
    assert_ne!(again["id"], job["id"]);
    assert_eq!(reason(&gitlab, &job).as_deref(), Some("runner_provisioning_timeout"));

    // A runner that knows nothing of it has a running job at once.
    assert_eq!(status(&gitlab, &again), JobStatus::Running);
    put(&gitlab, &again, json!({"state": "pending"})).await.expect(400);
}

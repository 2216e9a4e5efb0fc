//! P: the log as the runner sends it.

use fake_gitlab::{FakeGitlab, Fault, JobSpec};
use serde_json::{Value, json};

use crate::support::{call, client, finish, patch, send, user};
use crate::wire::{
    advance, as_user, ask, change_job, first_runner, info_with, job, plain, running, seconds_until, with,
};

/// A running job whose log is `BUILD TRACE`.
async fn begun(gitlab: &FakeGitlab) -> Value {
    let job = running(gitlab).await;
    patch(gitlab, &job, "0-10", "BUILD TRACE").await.expect(202);
    job
}

fn log(gitlab: &FakeGitlab, job: &Value) -> String {
    String::from_utf8(gitlab.trace(job["id"].as_u64().unwrap())).unwrap()
}

#[tokio::test]
async fn p01_text_is_appended() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let answer = patch(&gitlab, &job, "11-20", " appended").await.expect(202);
    assert_eq!(log(&gitlab, &job), "BUILD TRACE appended");
    assert_eq!(answer.header("range"), Some("0-20"));
    assert_eq!(answer.header("job-status"), Some("running"));
    assert_eq!(answer.header("x-gitlab-trace-update-interval"), Some("3"));
}

#[tokio::test]
async fn p02_and_appended_again() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    patch(&gitlab, &job, "11-19", " appended").await.expect(202);
    patch(&gitlab, &job, "20-24", " more").await.expect(202);
    assert_eq!(log(&gitlab, &job), "BUILD TRACE appended more");
}

#[tokio::test]
async fn p03_nothing_at_the_right_place_is_good() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let answer = patch(&gitlab, &job, "11-11", "").await.expect(202);
    assert_eq!(answer.header("range"), Some("0-11"));
    assert_eq!(log(&gitlab, &job), "BUILD TRACE");
}

#[tokio::test]
async fn p04_a_job_is_written_again_after_a_quarter_of_an_hour() {
    let gitlab = plain().await;
    let taken = begun(&gitlab).await;
    let updated = async || job(&gitlab, &taken["id"]).await["updated_at"].clone();
    let first = updated().await;
    advance(&gitlab, 14 * 60);
    patch(&gitlab, &taken, "11-11", "x").await.expect(202);
    assert_eq!(updated().await, first);
    advance(&gitlab, 2 * 60);
    patch(&gitlab, &taken, "12-12", "").await.expect(202);
    assert_ne!(updated().await, first);
}

#[tokio::test]
async fn p05_start_too_big_is_416_with_the_size() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let answer = patch(&gitlab, &job, "15-20/6", " appended").await.expect(416);
    assert_eq!(answer.header("range"), Some("0-11"));
    assert_eq!(log(&gitlab, &job), "BUILD TRACE");
}

#[tokio::test]
async fn p06_start_too_small_is_416_with_the_size() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let answer = patch(&gitlab, &job, "8-20/13", " appended").await.expect(416);
    assert_eq!(answer.header("range"), Some("0-11"));
    assert_eq!(log(&gitlab, &job), "BUILD TRACE");
}

/// A running job whose log the server has lost.
async fn lost(gitlab: &FakeGitlab) -> Value {
    let job = begun(gitlab).await;
    gitlab.inject(Fault::on("PATCH", "/api/v4/jobs/*/trace").lose_trace());
    job
}

#[tokio::test]
async fn p07_a_lost_log_is_416_from_the_start() {
    let gitlab = plain().await;
    let job = lost(&gitlab).await;
    let answer = patch(&gitlab, &job, "28-32/5", "hello").await.expect(416);
    assert_eq!(answer.header("range"), Some("0-0"));
}

#[tokio::test]
async fn p08_a_lost_log_is_taken_again_as_a_whole() {
    let gitlab = plain().await;
    let job = lost(&gitlab).await;
    patch(&gitlab, &job, "11-15", "hello").await.expect(416);
    let answer = patch(&gitlab, &job, "0-34/35", "BUILD TRACE and then all of the rest").await.expect(202);
    assert_eq!(answer.header("range"), Some("0-36"));
    assert_eq!(log(&gitlab, &job), "BUILD TRACE and then all of the rest");
}

#[tokio::test]
async fn p09_no_range_is_400() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let url = format!("{}/api/v4/jobs/{}/trace", gitlab.url(), job["id"]);
    let request = client().patch(url).header("JOB-TOKEN", job["token"].as_str().unwrap());
    send(request.header("Content-Type", "text/plain").body("x")).await.expect(400);
    assert_eq!(log(&gitlab, &job), "BUILD TRACE");
}

#[tokio::test]
async fn p10_a_log_that_is_looked_at_is_asked_for_more_often() {
    let gitlab = with(|settings| settings.unwatched_trace_interval = Some(60)).await;
    let job = running(&gitlab).await;
    let interval = async |range: &str| {
        let answer = patch(&gitlab, &job, range, "x").await.expect(202);
        answer.header("x-gitlab-trace-update-interval").unwrap().to_owned()
    };
    assert_eq!(interval("0-0").await, "60");
    user(&gitlab, "GET", &format!("/projects/fake%2Fjobs/jobs/{}/trace", job["id"])).await.expect(200);
    assert_eq!(interval("1-1").await, "3");
    advance(&gitlab, 11);
    assert_eq!(interval("2-2").await, "60");
}

#[tokio::test]
async fn p11_what_is_gone_is_403() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let mut unknown = job.clone();
    unknown["id"] = json!(9999);
    let answer = patch(&gitlab, &unknown, "0-0", "x").await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden"}));

    let erased = begun(&gitlab).await;
    finish(&gitlab, &erased, "success").await.expect(200);
    user(&gitlab, "POST", &format!("/projects/fake%2Fjobs/jobs/{}/erase", erased["id"])).await.expect(201);
    let answer = patch(&gitlab, &erased, "11-11", "x").await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Job has been erased!"}));

    as_user(&gitlab, "DELETE", "/projects/fake%2Fjobs", json!({})).await.expect(202);
    let answer = patch(&gitlab, &job, "11-11", "x").await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Project has been deleted!"}));
}

#[tokio::test]
async fn p12_a_job_canceled_abruptly_is_403() {
    let gitlab = plain().await;
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let job = ask(&gitlab, info_with(&[])).await.expect(201).json();
    gitlab.cancel(id);
    let answer = patch(&gitlab, &job, "0-0", "x").await.expect(403);
    assert_eq!(answer.header("job-status"), Some("canceled"));
}

#[tokio::test]
async fn p13_a_job_canceled_gracefully_goes_on() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    gitlab.cancel(job["id"].as_u64().unwrap());
    let answer = patch(&gitlab, &job, "11-11", "x").await.expect(202);
    assert_eq!(answer.header("job-status"), Some("canceling"));
}

#[tokio::test]
async fn p14_a_log_that_somebody_writes_is_409() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    change_job(&gitlab, &job["id"], json!({"trace_locked": true})).await;
    patch(&gitlab, &job, "11-11", "x").await.expect(409);
    change_job(&gitlab, &job["id"], json!({"trace_locked": false})).await;
    patch(&gitlab, &job, "11-11", "x").await.expect(202);
}

#[tokio::test]
async fn p15_a_log_beyond_the_limit_ends_the_job() {
    let gitlab = with(|settings| settings.trace_limit = 1 << 20).await;
    let job = running(&gitlab).await;
    patch(&gitlab, &job, "0-1048575", &"x".repeat(1 << 20)).await.expect(202);
    patch(&gitlab, &job, "1048576-1048576", "x").await.expect(403);
    let report = gitlab.job(job["id"].as_u64().unwrap()).unwrap();
    assert_eq!(report.failure_reason.as_deref(), Some("trace_size_exceeded"));
}

#[tokio::test]
async fn p16_the_runner_is_heard_of() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    advance(&gitlab, 1000);
    patch(&gitlab, &job, "11-11", "x").await.expect(202);
    assert!(seconds_until(&first_runner(&gitlab).await["contacted_at"]) >= 995);
}

#[tokio::test]
async fn p17_the_end_of_the_range_does_not_count() {
    let gitlab = plain().await;
    let job = begun(&gitlab).await;
    let answer = patch(&gitlab, &job, "11-20", "nine char").await.expect(202);
    assert_eq!(answer.header("range"), Some("0-20"));
    let body = json!({"token": job["token"], "state": "success"});
    call(&gitlab, "PUT", &format!("/jobs/{}", job["id"]), body).await.expect(200);
}

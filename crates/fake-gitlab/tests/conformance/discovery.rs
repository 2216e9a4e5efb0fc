//! E: where jobs were suspended, and where the job router is.

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

use crate::support::{Answer, call, client, finish, send, user};
use crate::wire::{change_job, plain, put, running, with, with_job_token};

const KEY: &str = "42/s_0123456789ab/data";

/// A running job that was suspended, where that is possible.
async fn suspended(gitlab: &FakeGitlab) -> Value {
    let job = running(gitlab).await;
    change_job(gitlab, &job["id"], json!({ "runtime_environment_key": KEY })).await;
    job
}

async fn key(gitlab: &FakeGitlab, job: &Value) -> Answer {
    let path = format!("/jobs/{}/runtime_environment_key", job["id"]);
    let answer = with_job_token(gitlab, "GET", &path, job["token"].as_str().unwrap()).await;
    assert!(answer.status == 200 || !answer.text().contains(KEY), "{}", answer.text());
    answer
}

#[tokio::test]
async fn e01_a_suspended_job_has_its_key() {
    let gitlab = with(|settings| settings.suspendable_environments = true).await;
    let job = suspended(&gitlab).await;
    let expected = json!({ "runtime_environment_key": KEY });
    assert_eq!(key(&gitlab, &job).await.expect(200).json(), expected);
    let path = format!("/jobs/{}/runtime_environment_key?token={}", job["id"], job["token"].as_str().unwrap());
    assert_eq!(call(&gitlab, "GET", &path, json!({})).await.expect(200).json(), expected);
    let told = running(&gitlab).await;
    put(&gitlab, &told, json!({"state": "running", "runtime_environment_key": "7/r_x/y"})).await.expect(200);
    assert_eq!(key(&gitlab, &told).await.expect(200).json(), json!({"runtime_environment_key": "7/r_x/y"}));
}

#[tokio::test]
async fn e02_the_key_is_nobody_elses() {
    let gitlab = plain().await;
    let job = suspended(&gitlab).await;
    key(&gitlab, &job).await.expect(404);
    gitlab.change_settings(|settings| settings.suspendable_environments = true);
    let other = running(&gitlab).await;
    key(&gitlab, &other).await.expect(404);
    for wrong in [
        json!({"id": job["id"], "token": other["token"]}),
        json!({"id": job["id"], "token": "wrong"}),
        json!({"id": 9999, "token": job["token"]}),
    ] {
        key(&gitlab, &wrong).await.expect(403);
    }
    let path = format!("/jobs/{}/runtime_environment_key", job["id"]);
    call(&gitlab, "GET", &path, json!({})).await.expect(403);
    finish(&gitlab, &job, "success").await.expect(200);
    key(&gitlab, &job).await.expect(403);
    user(&gitlab, "POST", &format!("/projects/fake%2Fjobs/jobs/{}/erase", job["id"])).await.expect(201);
    key(&gitlab, &job).await.expect(403);
}

#[tokio::test]
async fn e03_the_job_router_is_there_or_not() {
    let gitlab = plain().await;
    let discover = |token: Option<&str>| {
        let request = client().get(format!("{}/api/v4/runners/router/discovery", gitlab.url()));
        send(match token {
            Some(token) => request.header("RUNNER-TOKEN", token),
            None => request,
        })
    };
    let answer = discover(Some(gitlab.runner_token())).await.expect(501);
    let message = "Job Router is not available. Please contact your administrator.";
    assert_eq!(answer.json(), json!({ "message": message }));
    gitlab.change_settings(|settings| settings.job_router_url = Some("wss://kas.example.com".into()));
    let answer = discover(Some(gitlab.runner_token())).await.expect(200);
    assert_eq!(answer.json(), json!({"server_url": "wss://kas.example.com"}));
    discover(None).await.expect(403);
    discover(Some("wrong")).await.expect(403);
}

//! C: what all endpoints share.

use fake_gitlab::JobSpec;
use serde_json::{Value, json};

use crate::support::{call, client, patch, send, upload};
use crate::wire::{ask, ask_as, plain, put, running, with, with_job_token};

/// All endpoints of runners and jobs: method, path, and a body that is good for them.
const ENDPOINTS: [(&str, &str); 12] = [
    ("POST", "/runners"),
    ("DELETE", "/runners"),
    ("DELETE", "/runners/managers"),
    ("POST", "/runners/verify"),
    ("POST", "/runners/reset_authentication_token"),
    ("POST", "/jobs/request"),
    ("PUT", "/jobs/1"),
    ("PATCH", "/jobs/1/trace"),
    ("POST", "/jobs/1/artifacts/authorize"),
    ("POST", "/jobs/1/artifacts"),
    ("GET", "/jobs/1/artifacts"),
    ("GET", "/jobs/1/runtime_environment_key"),
];

#[tokio::test]
async fn c01_during_migrations_every_runner_call_is_429() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    gitlab.change_settings(|settings| settings.migrating = true);
    for (method, path) in ENDPOINTS {
        let body = json!({"token": job["token"], "state": "success", "system_id": "s_0123456789ab"});
        let answer = call(&gitlab, method, path, body).await.expect(429);
        assert_eq!(answer.header("retry-after"), Some("60"), "{method} {path}");
        let message = "Executing database migrations. Please retry later.";
        assert_eq!(answer.json(), json!({ "message": message }), "{method} {path}");
    }
    gitlab.change_settings(|settings| settings.migrating = false);
    put(&gitlab, &job, json!({"state": "success"})).await.expect(200);
}

#[tokio::test]
async fn c02_migrations_are_told_before_a_missing_token() {
    let gitlab = with(|settings| settings.migrating = true).await;
    for (method, path) in ENDPOINTS {
        call(&gitlab, method, path, json!({})).await.expect(429);
    }
}

#[tokio::test]
async fn c03_the_rate_of_one_job_token_does_not_touch_another() {
    let gitlab = with(|settings| settings.job_call_rate = 2).await;
    let (first, second) = (running(&gitlab).await, running(&gitlab).await);
    for _ in 0..2 {
        put(&gitlab, &first, json!({"state": "running"})).await.expect(200);
    }
    let answer = put(&gitlab, &first, json!({"state": "running"})).await.expect(429);
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(answer.header("ratelimit-limit"), Some("2"));
    assert_eq!(answer.header("ratelimit-observed"), Some("3"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
    assert!(answer.header("ratelimit-resettime").unwrap().ends_with("GMT"));
    let message = "This endpoint has been requested too many times. Try again later.";
    assert_eq!(answer.json(), json!({"message": {"error": message}}));
    with_job_token(&gitlab, "GET", &format!("/jobs/{}/artifacts", first["id"]), first["token"].as_str().unwrap())
        .await
        .expect(429);
    put(&gitlab, &second, json!({"state": "running"})).await.expect(200);
    crate::wire::advance(&gitlab, 60);
    put(&gitlab, &first, json!({"state": "running"})).await.expect(200);
}

#[tokio::test]
async fn c04_job_requests_count_by_runner_and_patches_by_themselves() {
    let gitlab = with(|settings| {
        settings.job_request_rate = 1;
        settings.trace_patch_rate = 1;
        settings.job_call_rate = 1;
    })
    .await;
    let other = gitlab.create_runner(fake_gitlab::RunnerSpec::default()).unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let job = ask(&gitlab, json!({})).await.expect(201).json();
    ask(&gitlab, json!({})).await.expect(429);
    ask_as(&gitlab, &other, json!({})).await.expect(204);
    put(&gitlab, &job, json!({"state": "running"})).await.expect(200);
    patch(&gitlab, &job, "0-0", "x").await.expect(202);
    patch(&gitlab, &job, "1-1", "x").await.expect(429);
    put(&gitlab, &job, json!({"state": "running"})).await.expect(429);
}

#[tokio::test]
async fn c05_unknown_members_are_ignored() {
    let gitlab = plain().await;
    let new = json!({"token": gitlab.registration_token(), "new": {"deep": [1]}, "info": {"newer": 1}});
    call(&gitlab, "POST", "/runners", new).await.expect(201);
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let job = ask(&gitlab, json!({"brand_new": true})).await.expect(201).json();
    put(&gitlab, &job, json!({"state": "success", "newest": [null]})).await.expect(200);
}

#[tokio::test]
async fn c06_forms_and_json_give_the_same() {
    let gitlab = plain().await;
    for is_form in [true, false] {
        let body = json!({"token": gitlab.registration_token(), "tag_list": "a, b", "run_untagged": "false",
            "maximum_timeout": "700"});
        let request = client().post(format!("{}/api/v4/runners", gitlab.url()));
        let request = match is_form {
            true => {
                let pairs = body.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap()));
                let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                request.header("Content-Type", "application/x-www-form-urlencoded").body(form)
            }
            false => request.json(&body),
        };
        let id = send(request).await.expect(201).json()["id"].clone();
        let runner = crate::wire::runner(&gitlab, &id).await.unwrap();
        assert_eq!(runner["tag_list"], json!(["a", "b"]), "{is_form}");
        assert_eq!(runner["run_untagged"], json!(false), "{is_form}");
        assert_eq!(runner["maximum_timeout"], json!(700), "{is_form}");
    }
}

#[tokio::test]
async fn c07_the_token_parameter_wins_over_the_header() {
    let gitlab = plain().await;
    let (first, second) = (running(&gitlab).await, running(&gitlab).await);
    let state = |parameter: &Value, header: &Value| {
        let url = format!("{}/api/v4/jobs/{}", gitlab.url(), first["id"]);
        let request = client().put(url).header("JOB-TOKEN", header.as_str().unwrap());
        send(request.json(&json!({"token": parameter, "state": "running"})))
    };
    state(&first["token"], &second["token"]).await.expect(200);
    state(&second["token"], &first["token"]).await.expect(403);
}

#[tokio::test]
async fn c08_errors_are_json_with_a_message_or_an_error() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    upload(&gitlab, &job, "artifact_format=gzip", "a.gz", vec![1]).await.expect(400);
    let mut answers = vec![patch(&gitlab, &job, "5-6", "x").await.expect(416)];
    for (method, path) in ENDPOINTS {
        answers.push(call(&gitlab, method, path, json!({"token": "wrong", "state": "success"})).await);
        answers.push(call(&gitlab, method, path, json!({})).await);
    }
    for (method, path, status) in [("GET", "/nowhere", 404), ("DELETE", "/jobs/request", 405), ("GET", "/user", 401)] {
        answers.push(call(&gitlab, method, path, json!({})).await.expect(status));
    }
    for answer in answers {
        assert!(answer.status >= 400, "{answer:?}");
        let body = answer.json();
        assert!(body["message"].is_string() || body["error"].is_string(), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    }
}

//! Upload and download of artifacts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{FakeGitlab, JobSpec};
use serde_json::Value;
use support::{Answer, Repository, client, finish, send, take, upload, user};

async fn download(gitlab: &FakeGitlab, id: &Value, token: &str) -> Answer {
    let url = format!("{}/api/v4/jobs/{id}/artifacts", gitlab.url());
    send(client().get(url).header("JOB-TOKEN", token)).await
}

fn token(payload: &Value) -> &str {
    payload["token"].as_str().unwrap()
}

#[tokio::test]
async fn types_are_stored_only_in_their_format() {
    let gitlab = FakeGitlab::start().await.unwrap();
    for (query, status) in [
        ("", 201),
        ("artifact_type=archive&artifact_format=zip", 201),
        ("artifact_type=archive&artifact_format=gzip", 400),
        ("artifact_type=junit&artifact_format=gzip", 201),
        ("artifact_type=junit&artifact_format=raw", 400),
        ("artifact_type=metrics_referee&artifact_format=gzip", 201),
        ("artifact_type=sast&artifact_format=raw", 201),
        ("artifact_type=sast", 400),
        ("artifact_type=dotenv&artifact_format=raw", 400),
        ("artifact_type=nonsense&artifact_format=raw", 400),
        ("expire_in=7%20days", 201),
        ("expire_in=soon", 400),
    ] {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
        let payload = take(&gitlab).await;
        let answer = upload(&gitlab, &payload, query, "f", b"content".to_vec()).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_same_file_again_is_ignored_and_another_is_refused() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    upload(&gitlab, &payload, "", "a.zip", b"one".to_vec()).await.expect(201);
    upload(&gitlab, &payload, "", "b.zip", b"one".to_vec()).await.expect(201);
    upload(&gitlab, &payload, "", "a.zip", b"two".to_vec()).await.expect(400);
    assert_eq!(gitlab.artifact(id, "archive").unwrap().unwrap(), b"one");
    let stored = &gitlab.job(id).unwrap().artifacts;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].filename, "a.zip");
    assert_eq!(stored[0].size, 3);
    assert_eq!(gitlab.artifact(id, "junit").unwrap(), None);
}

#[tokio::test]
async fn large_files_are_streamed_and_too_large_ones_refused() {
    let gitlab = FakeGitlab::builder().artifact_limit(8 << 20).start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    let answer = upload(&gitlab, &payload, "", "a.zip", vec![7; (8 << 20) + 1]).await.expect(413);
    assert!(answer.text().contains("file size has reached maximum size limit"), "{}", answer.text());
    upload(&gitlab, &payload, "", "a.zip", vec![7; 8 << 20]).await.expect(201);
    assert_eq!(gitlab.artifact(id, "archive").unwrap().unwrap().len(), 8 << 20);
    let answer = download(&gitlab, &payload["id"], token(&payload)).await.expect(200);
    assert_eq!(answer.bytes, vec![7; 8 << 20]);
}

#[tokio::test]
async fn parameters_may_stand_in_the_form() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    let form = reqwest::multipart::Form::new()
        .text("token", token(&payload).to_owned())
        .text("artifact_type", "junit")
        .text("artifact_format", "gzip")
        .part("file", reqwest::multipart::Part::bytes(b"x".to_vec()).file_name("junit.xml.gz"));
    let url = format!("{}/api/v4/jobs/{id}/artifacts", gitlab.url());
    send(client().post(&url).multipart(form)).await.expect(201);
    assert_eq!(gitlab.job(id).unwrap().artifacts[0].file_type, "junit");

    let without_file = reqwest::multipart::Form::new().text("other", "x");
    send(client().post(&url).header("JOB-TOKEN", token(&payload)).multipart(without_file)).await.expect(400);
    send(client().post(&url).header("JOB-TOKEN", token(&payload)).body("no form")).await.expect(400);
}

#[tokio::test]
async fn uploads_need_the_token_of_the_running_job() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let (mut first, second) = (take(&gitlab).await, take(&gitlab).await);
    let right = first["token"].clone();
    first["token"] = second["token"].clone();
    upload(&gitlab, &first, "", "a.zip", vec![0; 3 << 20]).await.expect(403);
    first["token"] = right;
    finish(&gitlab, &first, "success").await.expect(200);
    upload(&gitlab, &first, "", "a.zip", b"x".to_vec()).await.expect(403);
    let url = format!("{}/api/v4/jobs/{}/artifacts/authorize", gitlab.url(), second["id"]);
    send(client().post(url).header("JOB-TOKEN", token(&second))).await.expect(403);
}

#[tokio::test]
async fn downloads_follow_the_job_token_rules() {
    let repository = Repository::with(&[("x", "x")]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    for _ in 0..3 {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
    }
    gitlab.enqueue(JobSpec::default().project("group/app")).await.unwrap();
    let (first, second, bare, stranger) =
        (take(&gitlab).await, take(&gitlab).await, take(&gitlab).await, take(&gitlab).await);
    upload(&gitlab, &first, "", "a.zip", b"zip".to_vec()).await.expect(201);
    let own = download(&gitlab, &first["id"], token(&first)).await.expect(200);
    assert_eq!(own.bytes, b"zip");
    assert_eq!(own.header("content-transfer-encoding"), Some("binary"));
    assert_eq!(
        own.header("content-disposition"),
        Some("attachment; filename=\"ci_build_artifacts.zip\"; filename*=UTF-8''ci_build_artifacts.zip")
    );
    finish(&gitlab, &first, "success").await.expect(200);
    for (id, with, status) in [
        (&first["id"], token(&first), 401),
        (&first["id"], token(&second), 200),
        (&first["id"], token(&stranger), 403),
        (&first["id"], "garbage", 401),
        (&first["id"], gitlab.runner_token(), 401),
        (&bare["id"], token(&second), 404),
        (&Value::from(999), token(&second), 403),
    ] {
        let answer = download(&gitlab, id, with).await;
        assert_eq!(answer.status, status, "{id} with {with}: {}", answer.text());
    }
    let as_user =
        user(&gitlab, "GET", &format!("/projects/fake%2Fjobs/jobs/{}/artifacts", first["id"])).await.expect(200);
    assert_eq!(as_user.bytes, b"zip");
    user(&gitlab, "GET", &format!("/projects/fake%2Fjobs/jobs/{}/artifacts", bare["id"])).await.expect(404);
}

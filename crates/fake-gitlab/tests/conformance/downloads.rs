//! A, last part: downloading artifacts.

use fake_gitlab::{FakeGitlab, JobSpec};
use serde_json::{Value, json};

use crate::support::{Answer, Repository, client, finish, send, take, upload};
use crate::wire::{as_user, plain, running, running_in, with, with_definition, with_job_token};

async fn download(gitlab: &FakeGitlab, of: &Value, with: &Value, query: &str) -> Answer {
    let path = format!("/jobs/{}/artifacts{query}", of["id"]);
    with_job_token(gitlab, "GET", &path, with["token"].as_str().unwrap()).await
}

/// Stores an archive.
async fn store(gitlab: &FakeGitlab, job: &Value) {
    upload(gitlab, job, "", "artifacts.zip", b"0123456789".to_vec()).await.expect(201);
}

#[tokio::test]
async fn a20_a_running_job_downloads_its_own_archive() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    store(&gitlab, &job).await;
    let answer = download(&gitlab, &job, &job, "").await.expect(200);
    assert_eq!(answer.bytes, b"0123456789");
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("content-transfer-encoding"), Some("binary"));
    let expected = "attachment; filename=\"ci_build_artifacts.zip\"; filename*=UTF-8''ci_build_artifacts.zip";
    assert_eq!(answer.header("content-disposition"), Some(expected));
}

#[tokio::test]
async fn a21_a_stored_object_is_led_to_if_that_is_asked_for() {
    let gitlab = with(|settings| settings.object_storage = true).await;
    let job = running(&gitlab).await;
    store(&gitlab, &job).await;
    download(&gitlab, &job, &job, "?direct_download=false").await.expect(200);
    let answer = download(&gitlab, &job, &job, "?direct_download=true").await.expect(302);
    let location = answer.header("location").unwrap().to_owned();
    assert!(!location.starts_with(gitlab.url()), "{location}");
    assert_eq!(send(client().get(&location)).await.expect(200).bytes, b"0123456789");
    let part = send(client().get(&location).header("Range", "bytes=2-4")).await.expect(206);
    assert_eq!((part.bytes.as_slice(), part.header("content-range")), (b"234".as_slice(), Some("bytes 2-4/10")));
    let unsigned = location.split_once('?').unwrap().0;
    let refused = send(client().get(unsigned)).await.expect(403);
    assert!(refused.text().contains("<Code>SignatureDoesNotMatch</Code>"), "{}", refused.text());

    gitlab.change_settings(|settings| settings.object_storage = false);
    download(&gitlab, &job, &job, "?direct_download=true").await.expect(200);
}

#[tokio::test]
async fn a22_a_finished_job_downloads_nothing() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    store(&gitlab, &job).await;
    finish(&gitlab, &job, "success").await.expect(200);
    download(&gitlab, &job, &job, "").await.expect(401);
}

#[tokio::test]
async fn a23_a_job_that_depends_downloads_while_it_runs() {
    let definition = "a: {stage: build, script: x}\nb: {stage: test, script: x}\n";
    let (gitlab, _repository) = with_definition(definition).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let first = take(&gitlab).await;
    store(&gitlab, &first).await;
    finish(&gitlab, &first, "success").await.expect(200);
    let pending = gitlab.payload(2).unwrap();
    download(&gitlab, &first, &pending, "").await.expect(401);
    let second = take(&gitlab).await;
    let by_entry = json!({"token": second["dependencies"][0]["token"]});
    download(&gitlab, &first, &by_entry, "").await.expect(200);
    finish(&gitlab, &second, "success").await.expect(200);
    download(&gitlab, &first, &second, "").await.expect(401);
}

#[tokio::test]
async fn a24_any_running_job_of_the_project_may_download() {
    let gitlab = plain().await;
    let (job, other) = (running(&gitlab).await, running(&gitlab).await);
    store(&gitlab, &job).await;
    finish(&gitlab, &job, "success").await.expect(200);
    assert_ne!(job["job_info"]["pipeline_id"], other["job_info"]["pipeline_id"]);
    download(&gitlab, &job, &other, "").await.expect(200);
}

#[tokio::test]
async fn a25_a_job_that_names_a_job_of_another_pipeline_downloads_from_it() {
    let gitlab = plain().await;
    let parent = running(&gitlab).await;
    store(&gitlab, &parent).await;
    finish(&gitlab, &parent, "success").await.expect(200);
    let id = parent["id"].as_u64().unwrap();
    gitlab.enqueue(JobSpec { cross_dependencies: vec![id], ..JobSpec::default() }).await.unwrap();
    let child = take(&gitlab).await;
    let entry = &child["dependencies"][0];
    assert_eq!((&entry["id"], &entry["artifacts_file"]["size"]), (&json!(id), &json!(10)));
    download(&gitlab, entry, entry, "").await.expect(200);
}

#[tokio::test]
async fn a26_a_job_of_another_project_downloads_only_if_allowed() {
    let repository = Repository::with(&[("a", "b")]);
    let builder = FakeGitlab::builder().project("group/app", repository.path()).project("group/lib", repository.path());
    let gitlab = builder.start().await.unwrap();
    let (app, lib) = (running_in(&gitlab, "group/app").await, running_in(&gitlab, "group/lib").await);
    store(&gitlab, &lib).await;
    download(&gitlab, &lib, &app, "").await.expect(403);
    let body = json!({"target_project_id": app["job_info"]["project_id"]});
    as_user(&gitlab, "POST", "/projects/group%2Flib/job_token_scope/allowlist", body).await.expect(201);
    download(&gitlab, &lib, &app, "").await.expect(200);
}

#[tokio::test]
async fn a27_what_is_no_jobs_token_is_401() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    store(&gitlab, &job).await;
    for token in [gitlab.runner_token().to_owned(), "wrong".into(), gitlab.registration_token()] {
        download(&gitlab, &job, &json!({ "token": token }), "").await.expect(401);
    }
    let url = format!("{}/api/v4/jobs/{}/artifacts", gitlab.url(), job["id"]);
    send(client().get(url)).await.expect(401);
}

#[tokio::test]
async fn a28_no_archive_is_404_and_no_job_403() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    download(&gitlab, &job, &job, "").await.expect(404);
    upload(&gitlab, &job, "artifact_type=sast&artifact_format=raw", "r.json", b"{}".to_vec()).await.expect(201);
    download(&gitlab, &job, &job, "").await.expect(404);
    download(&gitlab, &json!({"id": 9999}), &job, "").await.expect(403);
}

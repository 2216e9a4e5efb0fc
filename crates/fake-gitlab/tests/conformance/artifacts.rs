//! A, middle part: uploading artifacts.

use std::io::Write;

use fake_gitlab::{Artifact, FakeGitlab};
use serde_json::{Value, json};

use crate::support::{Answer, Repository, client, finish, send, upload, user};
use crate::wire::{advance, as_user, first_runner, plain, running, running_in, with};

/// The files that are stored for a job.
fn stored(gitlab: &FakeGitlab, job: &Value) -> Vec<Artifact> {
    gitlab.job(job["id"].as_u64().unwrap()).unwrap().artifacts
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn upload_archive(gitlab: &FakeGitlab, job: &Value, query: &str) -> Answer {
    upload(gitlab, job, query, "artifacts.zip", b"archive".to_vec()).await
}

#[tokio::test]
async fn a06_artifacts_are_no_contact() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    let before = first_runner(&gitlab).await["contacted_at"].clone();
    advance(&gitlab, 1000);
    upload_archive(&gitlab, &job, "").await.expect(201);
    let token = job["token"].as_str().unwrap();
    crate::wire::with_job_token(&gitlab, "GET", &format!("/jobs/{}/artifacts", job["id"]), token).await.expect(200);
    crate::wire::with_job_token(&gitlab, "POST", &format!("/jobs/{}/artifacts/authorize", job["id"]), token)
        .await
        .expect(403);
    assert_eq!(first_runner(&gitlab).await["contacted_at"], before);
}

#[tokio::test]
async fn a07_a_running_job_uploads() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    assert_eq!(upload_archive(&gitlab, &job, "").await.expect(201).text(), "201");
    assert_eq!(stored(&gitlab, &job)[0].filename, "artifacts.zip");
}

#[tokio::test]
async fn a08_what_is_gone_or_ended_uploads_nothing() {
    let gitlab = plain().await;
    let finished = running(&gitlab).await;
    finish(&gitlab, &finished, "success").await.expect(200);
    upload_archive(&gitlab, &finished, "").await.expect(403);

    user(&gitlab, "POST", &format!("/projects/fake%2Fjobs/jobs/{}/erase", finished["id"])).await.expect(201);
    let answer = upload_archive(&gitlab, &finished, "").await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Job has been erased!"}));

    let job = running(&gitlab).await;
    let mut unknown = job.clone();
    unknown["id"] = json!(9999);
    upload_archive(&gitlab, &unknown, "").await.expect(403);

    let mut by_runner = job.clone();
    by_runner["token"] = json!(crate::wire::owner_token(&gitlab, "/projects/fake%2Fjobs").await);
    upload_archive(&gitlab, &by_runner, "").await.expect(403);

    as_user(&gitlab, "DELETE", "/projects/fake%2Fjobs", json!({})).await.expect(202);
    let answer = upload_archive(&gitlab, &job, "").await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Project has been deleted!"}));
    assert!(stored(&gitlab, &job).is_empty());
}

#[tokio::test]
async fn a09_no_file_is_400() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    let post = |form: Option<reqwest::multipart::Form>| {
        let request = client().post(format!("{}/api/v4/jobs/{}/artifacts", gitlab.url(), job["id"]));
        let request = request.header("JOB-TOKEN", job["token"].as_str().unwrap());
        send(match form {
            Some(form) => request.multipart(form),
            None => request,
        })
    };
    post(None).await.expect(400);
    let metadata = reqwest::multipart::Part::bytes(vec![1, 2, 3]).file_name("metadata.gz");
    post(Some(reqwest::multipart::Form::new().part("metadata", metadata))).await.expect(400);
    assert!(stored(&gitlab, &job).is_empty());
}

#[tokio::test]
async fn a10_files_beyond_any_limit_are_413() {
    let repository = Repository::with(&[("a", "b")]);
    let gitlab = FakeGitlab::builder().project("root/sub/app", repository.path()).start().await.unwrap();
    for limits in [
        json!({"artifact_limit": 6}),
        json!({"artifact_type_limits": {"archive": 6}}),
        json!({"artifact_limits": {"root": 6}}),
        json!({"artifact_limits": {"root/sub": 6}}),
        json!({"artifact_limits": {"root/sub/app": 6}}),
    ] {
        gitlab.change_settings(|settings| *settings = fake_gitlab::Settings::default().with(&limits).unwrap());
        let job = running_in(&gitlab, "root/sub/app").await;
        let answer = upload_archive(&gitlab, &job, "").await.expect(413);
        assert!(answer.text().contains("file size has reached maximum size limit"), "{limits}");
        assert!(stored(&gitlab, &job).is_empty(), "{limits}");
        upload(&gitlab, &job, "", "artifacts.zip", b"six by".to_vec()).await.expect(201);
    }
    gitlab.change_settings(|settings| *settings = fake_gitlab::Settings::default());
    let job = running_in(&gitlab, "root/sub/app").await;
    gitlab.change_settings(|settings| settings.artifacts_enabled = false);
    upload_archive(&gitlab, &job, "").await.expect(405);
}

#[tokio::test]
async fn a12_artifacts_expire_as_asked_or_as_the_instance_says() {
    let day = 24 * 3600;
    for (default, query, seconds) in [
        ("0", "expire_in=7+days", Some(7 * day)),
        ("0", "", None),
        ("5 days", "", Some(5 * day)),
        ("5 days", "expire_in=1h+30m", Some(5400)),
        ("5 days", "expire_in=never", None),
    ] {
        let gitlab = with(|settings| settings.default_artifacts_expire_in = default.into()).await;
        let job = running(&gitlab).await;
        upload_archive(&gitlab, &job, query).await.expect(201);
        let left = stored(&gitlab, &job)[0]
            .expires_at
            .map(|at| at.duration_since(std::time::SystemTime::now()).unwrap_or_default().as_secs());
        match (left, seconds) {
            (Some(left), Some(seconds)) => assert!(left.abs_diff(seconds) <= 5, "{default} {query}: {left}"),
            (left, seconds) => assert_eq!(left, seconds, "{default} {query}"),
        }
        let path = format!("/jobs/{}/artifacts", job["id"]);
        let token = job["token"].as_str().unwrap();
        crate::wire::with_job_token(&gitlab, "GET", &path, token).await.expect(200);
        if let Some(seconds) = seconds {
            advance(&gitlab, seconds + 1);
            crate::wire::with_job_token(&gitlab, "GET", &path, token).await.expect(404);
        }
    }
}

#[tokio::test]
async fn a13_accessibility_is_stored() {
    let gitlab = plain().await;
    for (query, expected) in [("accessibility=public", "public"), ("accessibility=private", "private"), ("", "public")]
    {
        let job = running(&gitlab).await;
        upload_archive(&gitlab, &job, query).await.expect(201);
        assert_eq!(stored(&gitlab, &job)[0].accessibility, expected);
    }
}

/// The status of an upload of this type and format by a job of its own.
async fn status_of(gitlab: &FakeGitlab, file_type: &str, format: &str) -> u16 {
    let job = running(gitlab).await;
    let query = format!("artifact_type={file_type}&artifact_format={format}");
    upload(gitlab, &job, &query, "file", gzip(b"A=1\n")).await.status
}

#[tokio::test]
async fn a14_an_archive_is_a_zip() {
    let gitlab = plain().await;
    for (format, status) in [("zip", 201), ("gzip", 400), ("raw", 400), ("tar", 400)] {
        assert_eq!(status_of(&gitlab, "archive", format).await, status, "{format}");
    }
    assert_eq!(status_of(&gitlab, "nonsense", "zip").await, 400);
}

#[tokio::test]
async fn a15_reports_have_their_format() {
    let gitlab = plain().await;
    for file_type in ["junit", "metrics_referee", "network_referee", "cobertura", "cyclonedx"] {
        assert_eq!(status_of(&gitlab, file_type, "gzip").await, 201, "{file_type}");
        assert_eq!(status_of(&gitlab, file_type, "raw").await, 400, "{file_type}");
    }
    for file_type in ["sast", "codequality", "terraform"] {
        assert_eq!(status_of(&gitlab, file_type, "raw").await, 201, "{file_type}");
        assert_eq!(status_of(&gitlab, file_type, "gzip").await, 400, "{file_type}");
    }
}

#[tokio::test]
async fn a16_a_dotenv_report_makes_variables() {
    let definition = "a: {stage: build, script: x}\nb: {stage: test, script: x}\n";
    let (gitlab, _repository) = crate::wire::with_definition(definition).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let job = crate::support::take(&gitlab).await;
    let dotenv = "artifact_type=dotenv&artifact_format=gzip";
    upload(&gitlab, &job, "artifact_type=dotenv&artifact_format=raw", ".env", b"A=1".to_vec()).await.expect(400);
    let answer = upload(&gitlab, &job, dotenv, ".env.gz", gzip(b"no assignment")).await.expect(400);
    assert!(answer.text().contains("Invalid Format"), "{}", answer.text());
    let answer = upload(&gitlab, &job, dotenv, ".env.gz", b"no gzip".to_vec()).await.expect(400);
    assert!(answer.text().contains("Invalid Format"), "{}", answer.text());
    upload(&gitlab, &job, dotenv, ".env.gz", gzip(b"KEY1=VAR1\nKEY2=VAR2")).await.expect(201);
    finish(&gitlab, &job, "success").await.expect(200);
    let next = crate::support::take(&gitlab).await;
    assert_eq!(crate::support::variable(&next, "KEY1"), Some("VAR1"));
    assert_eq!(crate::support::variable(&next, "KEY2"), Some("VAR2"));
}

#[tokio::test]
async fn a17_the_same_file_again_is_good_and_another_is_not() {
    let gitlab = plain().await;
    let job = running(&gitlab).await;
    for _ in 0..2 {
        upload_archive(&gitlab, &job, "").await.expect(201);
    }
    upload(&gitlab, &job, "", "artifacts.zip", b"another".to_vec()).await.expect(400);
    assert_eq!(stored(&gitlab, &job).len(), 1);
    let id = job["id"].as_u64().unwrap();
    assert_eq!(gitlab.artifact(id, "archive").unwrap().unwrap(), b"archive");
}

#[tokio::test]
async fn a18_a_storage_that_fails_is_503() {
    let gitlab = with(|settings| settings.artifact_storage_down = true).await;
    let job = running(&gitlab).await;
    upload_archive(&gitlab, &job, "").await.expect(503);
    assert!(stored(&gitlab, &job).is_empty());
    gitlab.change_settings(|settings| settings.artifact_storage_down = false);
    upload_archive(&gitlab, &job, "").await.expect(201);
}

//! A, first part: what GitLab and its own proxy say to each other.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_gitlab::{FakeGitlab, Settings};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};

use crate::support::{Answer, Repository, client, finish, send, user};
use crate::wire::{owner_token, running, running_in, with};

const SECRET: &str = "workhorse and rails";

/// A token signed by Workhorse, with these claims besides.
fn signed(mut claims: Value, secret: &str) -> String {
    claims["iss"] = json!("gitlab-workhorse");
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(&claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

async fn behind_workhorse(change: impl FnOnce(&mut Settings)) -> FakeGitlab {
    with(|settings| {
        settings.workhorse_secret = Some(SECRET.into());
        change(settings);
    })
    .await
}

/// `authorize` by way of Workhorse.
async fn authorize(gitlab: &FakeGitlab, job: &Value, query: &str) -> Answer {
    let url = format!("{}/api/v4/jobs/{}/artifacts/authorize?{query}", gitlab.url(), job["id"]);
    let request = client().post(url).header("Gitlab-Workhorse-Api-Request", signed(json!({}), SECRET));
    send(request.header("JOB-TOKEN", job["token"].as_str().unwrap())).await
}

/// An upload as Workhorse passes it on: text fields and what it says about them.
async fn passed_on(gitlab: &FakeGitlab, job: &Value, fields: &[(&str, String)], about: Option<String>) -> Answer {
    let url = format!("{}/api/v4/jobs/{}/artifacts", gitlab.url(), job["id"]);
    let mut form = reqwest::multipart::Form::new();
    for (name, value) in fields {
        form = form.text((*name).to_owned(), value.clone());
    }
    let mut request = client().post(url).header("Gitlab-Workhorse-Api-Request", signed(json!({}), SECRET));
    if let Some(about) = about {
        request = request.header("Gitlab-Workhorse-Multipart-Fields", about);
    }
    send(request.header("JOB-TOKEN", job["token"].as_str().unwrap()).multipart(form)).await
}

/// What Workhorse says when it has put the file `file` somewhere.
fn rewritten(path: &str) -> Option<String> {
    Some(signed(json!({"rewritten_fields": {"file": path}}), SECRET))
}

fn described(upload: Value) -> [(&'static str, String); 1] {
    [("file.gitlab-workhorse-upload", signed(json!({ "upload": upload }), SECRET))]
}

#[tokio::test]
async fn a01_authorize_names_a_folder() {
    let gitlab = behind_workhorse(|settings| settings.artifact_limit = 1000).await;
    let job = running(&gitlab).await;
    let by_header = authorize(&gitlab, &job, "").await.expect(200);
    let by_parameter = {
        let token = job["token"].as_str().unwrap();
        let url = format!("{}/api/v4/jobs/{}/artifacts/authorize?token={token}", gitlab.url(), job["id"]);
        send(client().post(url).header("Gitlab-Workhorse-Api-Request", signed(json!({}), SECRET))).await.expect(200)
    };
    for answer in [by_header, by_parameter] {
        assert_eq!(answer.header("content-type"), Some("application/vnd.gitlab-workhorse+json"));
        let body = answer.json();
        assert!(Path::new(body["TempPath"].as_str().unwrap()).is_dir(), "{body}");
        assert_eq!(body["MaximumSize"], 1000);
        assert_eq!(body.get("RemoteObject"), None);
    }
}

#[tokio::test]
async fn a02_authorize_names_an_object() {
    let gitlab = behind_workhorse(|settings| settings.object_storage = true).await;
    let job = running(&gitlab).await;
    let body = authorize(&gitlab, &job, "").await.expect(200).json();
    assert_eq!(body.get("TempPath"), None);
    let object = &body["RemoteObject"];
    for name in ["ID", "GetURL", "StoreURL", "DeleteURL", "MultipartUpload"] {
        assert!(!object[name].is_null(), "{name} is not in {object}");
    }
    assert_eq!(object["SkipDelete"], json!(true));

    let store = client().put(object["StoreURL"].as_str().unwrap()).body("archive");
    send(store).await.expect(200);
    let upload = json!({"remote_id": object["ID"], "name": "artifacts.zip", "size": "7"});
    passed_on(&gitlab, &job, &described(upload), rewritten("")).await.expect(201);
    let id = job["id"].as_u64().unwrap();
    assert_eq!(gitlab.artifact(id, "archive").unwrap().unwrap(), b"archive");
}

#[tokio::test]
async fn a03_authorize_refuses_what_is_too_large() {
    let repository = Repository::with(&[("a", "b")]);
    let gitlab = FakeGitlab::builder().project("root/sub/app", repository.path()).start().await.unwrap();
    for limits in [
        json!({"artifact_type_limits": {"archive": 9}}),
        json!({"artifact_limit": 9}),
        json!({"artifact_limits": {"root": 9}}),
        json!({"artifact_limits": {"root/sub": 9}}),
        json!({"artifact_limits": {"root/sub/app": 9}}),
    ] {
        let changed = Settings::default().with(&limits).unwrap().with(&json!({"workhorse_secret": SECRET})).unwrap();
        gitlab.change_settings(|settings| *settings = changed);
        let job = running_in(&gitlab, "root/sub/app").await;
        authorize(&gitlab, &job, "filesize=10").await.expect(413);
        let body = authorize(&gitlab, &job, "filesize=9").await.expect(200).json();
        assert_eq!(body["MaximumSize"], 9, "{limits}");
    }
}

#[tokio::test]
async fn a04_authorize_is_for_workhorse_and_running_jobs() {
    let gitlab = behind_workhorse(|_| ()).await;
    let job = running(&gitlab).await;
    let url = format!("{}/api/v4/jobs/{}/artifacts/authorize", gitlab.url(), job["id"]);
    let token = job["token"].as_str().unwrap();
    send(client().post(&url).header("JOB-TOKEN", token)).await.expect(403);
    let forged = signed(json!({}), "another secret");
    send(client().post(&url).header("JOB-TOKEN", token).header("Gitlab-Workhorse-Api-Request", forged))
        .await
        .expect(403);
    let old = signed(json!({"exp": 1000}), SECRET);
    send(client().post(&url).header("JOB-TOKEN", token).header("Gitlab-Workhorse-Api-Request", old)).await.expect(403);
    let project = owner_token(&gitlab, "/projects/fake%2Fjobs").await;
    for wrong in [
        json!({"id": job["id"], "token": project}),
        json!({"id": job["id"], "token": "x"}),
        json!({"id": 9999, "token": token}),
    ] {
        authorize(&gitlab, &wrong, "").await.expect(403);
    }
    authorize(&gitlab, &job, "").await.expect(200);
    finish(&gitlab, &job, "success").await.expect(200);
    authorize(&gitlab, &job, "").await.expect(403);
    user(&gitlab, "POST", &format!("/projects/fake%2Fjobs/jobs/{}/erase", job["id"])).await.expect(201);
    authorize(&gitlab, &job, "").await.expect(403);
}

#[tokio::test]
async fn a05_authorize_asks_for_the_processing_of_lsif() {
    let gitlab = behind_workhorse(|_| ()).await;
    let job = running(&gitlab).await;
    assert_eq!(authorize(&gitlab, &job, "artifact_type=lsif").await.expect(200).json()["ProcessLsif"], json!(true));
    assert_eq!(authorize(&gitlab, &job, "").await.expect(200).json().get("ProcessLsif"), None);
}

#[tokio::test]
async fn a11_only_workhorse_speaks_of_files() {
    let gitlab = behind_workhorse(|_| ()).await;
    let job = running(&gitlab).await;
    let folder = authorize(&gitlab, &job, "").await.expect(200).json()["TempPath"].as_str().unwrap().to_owned();
    let file = format!("{folder}/upload1");
    std::fs::write(&file, "archive").unwrap();
    let upload = || described(json!({"path": file, "name": "artifacts.zip"}));

    let nothing = Some(signed(json!({"rewritten_fields": {}}), SECRET));
    let crafted = [("file.path", "/etc/passwd".to_owned())];
    passed_on(&gitlab, &job, &crafted, nothing.clone()).await.expect(400);
    passed_on(&gitlab, &job, &crafted, rewritten("/etc/passwd")).await.expect(400);
    let outside = described(json!({"path": "/etc/passwd", "name": "artifacts.zip"}));
    passed_on(&gitlab, &job, &outside, rewritten("/etc/passwd")).await.expect(400);
    passed_on(&gitlab, &job, &upload(), None).await.expect(400);
    passed_on(&gitlab, &job, &[("a", "b".to_owned())], nothing).await.expect(400);
    let forged = Some(signed(json!({"rewritten_fields": {"file": file}}), "another secret"));
    passed_on(&gitlab, &job, &upload(), forged).await.expect(403);
    assert!(gitlab.job(job["id"].as_u64().unwrap()).unwrap().artifacts.is_empty());

    passed_on(&gitlab, &job, &upload(), rewritten(&file)).await.expect(201);
    let stored = gitlab.job(job["id"].as_u64().unwrap()).unwrap().artifacts;
    assert_eq!((stored[0].filename.as_str(), stored[0].size), ("artifacts.zip", 7));
    assert!(!Path::new(&file).exists(), "the upload was not taken away");
}

#[tokio::test]
async fn a19_an_unknown_object_is_500() {
    let gitlab = behind_workhorse(|settings| settings.object_storage = true).await;
    let job = running(&gitlab).await;
    let upload = described(json!({"remote_id": "12345678", "name": "artifacts.zip"}));
    let answer = passed_on(&gitlab, &job, &upload, rewritten("")).await.expect(500);
    assert!(answer.text().contains("Missing file"), "{}", answer.text());
}

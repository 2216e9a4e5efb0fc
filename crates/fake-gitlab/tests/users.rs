//! The user-facing API as API clients use it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{FakeGitlab, JobSpec};
use serde_json::{Value, json};
use support::{Repository, call, client, finish, patch, send, take, upload, user};

async fn gitlab() -> (FakeGitlab, Repository) {
    let repository = Repository::with(&[(".gitlab-ci.yml", "a: {script: x, tags: [], timeout: 10m}\n")]);
    let gitlab = FakeGitlab::builder().project("group/sub/app", repository.path()).start().await.unwrap();
    (gitlab, repository)
}

#[tokio::test]
async fn nothing_is_shown_without_the_private_token() {
    let (gitlab, _repository) = gitlab().await;
    for path in ["/version", "/user", "/projects", "/projects/1", "/projects/1/jobs", "/runners"] {
        let url = format!("{}/api/v4{path}", gitlab.url());
        let answer = send(client().get(&url)).await.expect(401);
        assert_eq!(answer.json(), json!({"message": "401 Unauthorized"}), "{path}");
        send(client().get(&url).header("PRIVATE-TOKEN", "wrong")).await.expect(401);
        send(client().get(&url).header("PRIVATE-TOKEN", gitlab.private_token())).await.expect(200);
        send(client().get(&url).bearer_auth(gitlab.private_token())).await.expect(200);
        send(client().get(format!("{url}?private_token={}", gitlab.private_token()))).await.expect(200);
    }
}

#[tokio::test]
async fn projects_are_found_by_number_and_by_path() {
    let (gitlab, _repository) = gitlab().await;
    let by_path = user(&gitlab, "GET", "/projects/group%2Fsub%2Fapp").await.expect(200).json();
    let by_id = user(&gitlab, "GET", &format!("/projects/{}", by_path["id"])).await.expect(200).json();
    assert_eq!(by_path, by_id);
    for (key, value) in [
        ("name", json!("app")),
        ("path_with_namespace", json!("group/sub/app")),
        ("default_branch", json!("main")),
        ("http_url_to_repo", json!(format!("{}/group/sub/app.git", gitlab.url()))),
    ] {
        assert_eq!(by_path[key], value, "{key}");
    }
    assert_eq!(by_path["namespace"]["full_path"], "group/sub");
    let missing = user(&gitlab, "GET", "/projects/nobody%2Fapp").await.expect(404);
    assert_eq!(missing.json(), json!({"message": "404 Project Not Found"}));
    let found = user(&gitlab, "GET", "/projects?search=app").await.expect(200).json();
    assert_eq!(found.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pipeline_is_made_with_variables_and_shown_with_its_jobs() {
    let (gitlab, _repository) = gitlab().await;
    let body = json!({"ref": "main", "variables": [{"key": "A", "value": "1"}, {"key": "F", "value": "2", "variable_type": "file"}]});
    let request = client().post(format!("{}/api/v4/projects/1/pipeline", gitlab.url()));
    let created = send(request.bearer_auth(gitlab.private_token()).json(&body)).await.expect(201).json();
    let id = &created["id"];
    assert_eq!(created["status"], "pending");
    assert_eq!(created["ref"], "main");
    assert_eq!(created["source"], "api");
    assert_eq!(created["detailed_status"]["text"], "pending");
    let variables = user(&gitlab, "GET", &format!("/projects/1/pipelines/{id}/variables")).await.expect(200).json();
    assert_eq!(variables[1]["variable_type"], "file");

    let payload = take(&gitlab).await;
    assert_eq!(support::variable(&payload, "A"), Some("1"));
    let job = user(&gitlab, "GET", &format!("/projects/1/jobs/{}", payload["id"])).await.expect(200).json();
    assert_eq!(job["status"], "running");
    assert_eq!(job["name"], "a");
    assert_eq!(job["pipeline"]["id"], *id);
    assert_eq!(job["commit"]["title"], "First commit");
    assert_eq!(job["runner"]["description"], "first runner");
    assert_eq!(job["runner_manager"]["system_id"], "s_0123456789ab");
    assert_eq!(job["user"]["username"], "root");
    assert_eq!(job.get("failure_reason"), None);

    finish(&gitlab, &payload, "failed").await.expect(200);
    let shown = user(&gitlab, "GET", &format!("/projects/1/pipelines/{id}")).await.expect(200).json();
    assert_eq!(shown["status"], "failed");
    assert!(shown["finished_at"].is_string() && shown["duration"].is_number());
    let job = user(&gitlab, "GET", &format!("/projects/1/jobs/{}", payload["id"])).await.json();
    assert_eq!(job["failure_reason"], "script_failure");
    for (query, count) in [("", 1), ("?status=failed", 1), ("?status=success", 0), ("?ref=main", 1), ("?ref=x", 0)] {
        let listed = user(&gitlab, "GET", &format!("/projects/1/pipelines{query}")).await.expect(200).json();
        assert_eq!(listed.as_array().unwrap().len(), count, "{query}");
    }
    user(&gitlab, "GET", "/projects/1/pipelines/99").await.expect(404);
    user(&gitlab, "GET", "/projects/1/jobs/99").await.expect(404);
    user(&gitlab, "GET", "/projects/2/pipelines/1").await.expect(404);
    let wrong = json!({"ref": "main", "variables": [{"value": "1"}]});
    let request = client().post(format!("{}/api/v4/projects/1/pipeline", gitlab.url()));
    send(request.bearer_auth(gitlab.private_token()).json(&wrong)).await.expect(400);
}

#[tokio::test]
async fn a_failure_that_is_allowed_is_a_success_with_warnings() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default().allow_failure()).await.unwrap();
    let payload = take(&gitlab).await;
    finish(&gitlab, &payload, "failed").await.expect(200);
    let shown = user(&gitlab, "GET", "/projects/fake%2Fjobs/pipelines/1").await.expect(200).json();
    assert_eq!(shown["status"], "success");
    assert_eq!(shown["detailed_status"]["group"], "success-with-warnings");
}

#[tokio::test]
async fn log_and_artifacts_are_read_and_erased() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    patch(&gitlab, &payload, "0-4", "hello").await.expect(202);
    upload(&gitlab, &payload, "expire_in=1%20day", "a.zip", b"zip".to_vec()).await.expect(201);
    let job = format!("/projects/fake%2Fjobs/jobs/{id}");
    let trace = user(&gitlab, "GET", &format!("{job}/trace")).await.expect(200);
    assert_eq!(trace.text(), "hello");
    assert_eq!(trace.header("content-type"), Some("text/plain"));
    user(&gitlab, "POST", &format!("{job}/erase")).await.expect(403);
    finish(&gitlab, &payload, "success").await.expect(200);
    let shown = user(&gitlab, "GET", &job).await.json();
    assert_eq!(shown["artifacts_file"], json!({"filename": "a.zip", "size": 3}));
    assert!(shown["artifacts_expire_at"].is_string());
    let erased = user(&gitlab, "POST", &format!("{job}/erase")).await.expect(201).json();
    assert!(erased["erased_at"].is_string());
    assert_eq!(erased["artifacts"], json!([]));
    assert_eq!(user(&gitlab, "GET", &format!("{job}/trace")).await.text(), "");
    user(&gitlab, "GET", &format!("{job}/artifacts")).await.expect(404);
    let answer = finish(&gitlab, &payload, "success").await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Job has been erased!"}));
}

#[tokio::test]
async fn runners_are_listed_with_their_jobs() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let listed = user(&gitlab, "GET", "/runners/all").await.expect(200).json();
    assert_eq!(listed[0]["status"], "never_contacted");
    take(&gitlab).await;
    let listed = user(&gitlab, "GET", "/runners").await.expect(200).json();
    assert_eq!(listed[0]["status"], "online");
    let jobs = user(&gitlab, "GET", &format!("/runners/{}/jobs", listed[0]["id"])).await.expect(200).json();
    assert_eq!(jobs[0]["id"], id);
    user(&gitlab, "GET", "/runners/99").await.expect(404);
    let invalid = user(&gitlab, "GET", "/runners/first").await.expect(400);
    assert_eq!(invalid.json(), json!({"error": "id is invalid"}));
    call(&gitlab, "GET", "/runners/1", Value::Null).await.expect(401);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let answer = user(&gitlab, "GET", "/nonsense").await.expect(404);
    assert_eq!(answer.json(), json!({"error": "404 Not Found"}));
    let answer = user(&gitlab, "DELETE", "/version").await.expect(405);
    assert_eq!(answer.json(), json!({"error": "405 Method Not Allowed"}));
}

//! The calls these tests make over and over.

use fake_gitlab::{FakeGitlab, JobSpec, Settings};
use serde_json::{Value, json};

use crate::support::{Answer, Repository, call, client, features, send, take};

/// A server with some of its rules changed.
pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> FakeGitlab {
    FakeGitlab::builder().settings(change).start().await.unwrap()
}

/// A server with no rule changed.
pub(crate) async fn plain() -> FakeGitlab {
    FakeGitlab::start().await.unwrap()
}

/// A server of one repository, `group/app`, with this definition.
pub(crate) async fn with_definition(definition: &str) -> (FakeGitlab, Repository) {
    let repository = Repository::with(&[(".gitlab-ci.yml", definition)]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    (gitlab, repository)
}

/// Enqueues a job and takes it.
pub(crate) async fn running(gitlab: &FakeGitlab) -> Value {
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    take(gitlab).await
}

/// A running job of a project of its own.
pub(crate) async fn running_in(gitlab: &FakeGitlab, project: &str) -> Value {
    gitlab.enqueue(JobSpec::default().project(project)).await.unwrap();
    take(gitlab).await
}

/// Everything that is sent to `PUT /jobs/:id` for this job.
pub(crate) async fn put(gitlab: &FakeGitlab, job: &Value, mut body: Value) -> Answer {
    body["token"] = job["token"].clone();
    call(gitlab, "PUT", &format!("/jobs/{}", job["id"]), body).await
}

/// `POST /jobs/request` as the first runner, with these members besides.
pub(crate) async fn ask(gitlab: &FakeGitlab, members: Value) -> Answer {
    ask_as(gitlab, gitlab.runner_token(), members).await
}

/// The same as another runner.
pub(crate) async fn ask_as(gitlab: &FakeGitlab, token: &str, members: Value) -> Answer {
    let mut body = json!({
        "token": token,
        "system_id": "s_0123456789ab",
        "info": { "name": "gitlab-runner", "features": features() },
    });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    call(gitlab, "POST", "/jobs/request", body).await
}

/// `info` with these features and no others.
pub(crate) fn info_with(names: &[&str]) -> Value {
    let features: Value = names.iter().map(|name| ((*name).to_owned(), json!(true))).collect();
    json!({ "info": { "name": "gitlab-runner", "features": features } })
}

/// A call of the user-facing API with a JSON body.
pub(crate) async fn as_user(gitlab: &FakeGitlab, method: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}/api/v4{path}", gitlab.url());
    let request = client().request(method.parse().unwrap(), url).header("PRIVATE-TOKEN", gitlab.private_token());
    send(request.json(&body)).await
}

/// What the server knows of the runner with this number.
pub(crate) async fn runner(gitlab: &FakeGitlab, id: &Value) -> Option<Value> {
    let all = send(client().get(format!("{}/-/fake/runners", gitlab.url()))).await.expect(200).json();
    all.as_array().unwrap().iter().find(|runner| runner["id"] == *id).cloned()
}

/// What the server knows of the runner that is there from the start.
pub(crate) async fn first_runner(gitlab: &FakeGitlab) -> Value {
    runner(gitlab, &json!(1)).await.unwrap()
}

/// What the server knows of a job.
pub(crate) async fn job(gitlab: &FakeGitlab, id: &Value) -> Value {
    send(client().get(format!("{}/-/fake/jobs/{id}", gitlab.url()))).await.expect(200).json()
}

/// Does something to a job that no user can do.
pub(crate) async fn change_job(gitlab: &FakeGitlab, id: &Value, change: Value) {
    send(client().put(format!("{}/-/fake/jobs/{id}", gitlab.url())).json(&change)).await.expect(200);
}

/// Sets the server's clock ahead.
pub(crate) fn advance(gitlab: &FakeGitlab, seconds: u64) {
    gitlab.change_settings(|settings| settings.clock_ahead += seconds);
}

/// Seconds from now, on the machine's clock, to a time of the API.
pub(crate) fn seconds_until(stamp: &Value) -> i64 {
    let text = stamp.as_str().unwrap_or_else(|| panic!("{stamp} is no time"));
    let at = humantime::parse_rfc3339(text).unwrap();
    let since = |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    since(at) - since(std::time::SystemTime::now())
}

/// The registration token of a project or group.
pub(crate) async fn owner_token(gitlab: &FakeGitlab, path: &str) -> String {
    let shown = as_user(gitlab, "GET", path, json!({})).await.expect(200).json();
    shown["runners_token"].as_str().unwrap().to_owned()
}

/// A `POST` of JSON with a raw `JOB-TOKEN` header.
pub(crate) async fn with_job_token(gitlab: &FakeGitlab, method: &str, path: &str, token: &str) -> Answer {
    let url = format!("{}/api/v4{path}", gitlab.url());
    send(client().request(method.parse().unwrap(), url).header("JOB-TOKEN", token)).await
}

/// A text without its quotes.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

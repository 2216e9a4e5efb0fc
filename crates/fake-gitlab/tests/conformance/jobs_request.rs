//! J, first half: who gets which job.

use fake_gitlab::{FakeGitlab, JobSpec, JobStatus, RunnerSpec, RunnerType};
use serde_json::{Value, json};

use crate::support::{Repository, call, client, features, git, send, take, variable};
use crate::wire::{
    advance, as_user, ask, ask_as, change_job, first_runner, info_with, job, owner_token, plain, running,
    seconds_until, with, with_definition,
};

const LAST_UPDATE: &str = "x-gitlab-last-update";

/// A new runner of the project or group with this registration token.
async fn registered(gitlab: &FakeGitlab, token: &str) -> String {
    let answer = call(gitlab, "POST", "/runners", json!({ "token": token })).await.expect(201).json();
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn j01_no_token_is_400_and_a_wrong_one_403() {
    let gitlab = plain().await;
    call(&gitlab, "POST", "/jobs/request", json!({})).await.expect(400);
    call(&gitlab, "POST", "/jobs/request", json!({"token": "wrong"})).await.expect(403);
}

#[tokio::test]
async fn j02_a_runner_of_a_project_that_is_gone_is_orphaned() {
    let repository = Repository::with(&[("a", "b")]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    let token = owner_token(&gitlab, "/projects/group%2Fapp").await;
    let token = registered(&gitlab, &token).await;
    as_user(&gitlab, "DELETE", "/projects/group%2Fapp", json!({})).await.expect(202);
    let answer = ask_as(&gitlab, &token, json!({})).await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - Runner is orphaned"}));
    assert_eq!(crate::wire::runner(&gitlab, &json!(2)).await.unwrap()["managers"], json!([]));
}

#[tokio::test]
async fn j03_a_paused_runner_gets_nothing_but_the_queue_value() {
    let gitlab = plain().await;
    gitlab.pause_runner(gitlab.runner_token(), true);
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let first = ask(&gitlab, json!({})).await.expect(204);
    let again = ask(&gitlab, json!({})).await.expect(204);
    assert!(first.header(LAST_UPDATE).is_some() && first.header(LAST_UPDATE) == again.header(LAST_UPDATE));
    assert_eq!(gitlab.job(id).unwrap().status, JobStatus::Pending);
}

#[tokio::test]
async fn j04_a_machine_is_made_once_and_heard_of_again() {
    let gitlab = plain().await;
    ask(&gitlab, json!({})).await.expect(204);
    advance(&gitlab, 500);
    ask(&gitlab, json!({})).await.expect(204);
    let managers = first_runner(&gitlab).await["managers"].clone();
    assert_eq!(managers.as_array().unwrap().len(), 1);
    assert!((495..=505).contains(&seconds_until(&managers[0]["contacted_at"])), "{managers}");
    assert!(seconds_until(&managers[0]["created_at"]) <= 5, "{managers}");
}

#[tokio::test]
async fn j05_without_a_job_there_is_a_queue_value() {
    let gitlab = plain().await;
    let finished = running(&gitlab).await;
    crate::wire::put(&gitlab, &finished, json!({"state": "success"})).await.expect(200);
    assert!(ask(&gitlab, json!({})).await.expect(204).header(LAST_UPDATE).is_some());
    let other = RunnerSpec { kind: RunnerType::ProjectType, owner: Some("other/one".into()), ..RunnerSpec::default() };
    let other = gitlab.create_runner(other).unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    ask_as(&gitlab, &other, json!({})).await.expect(403); // orphaned: there is no such project
    as_user(&gitlab, "PUT", "/projects/fake%2Fjobs", json!({"shared_runners_enabled": false})).await.expect(200);
    assert!(ask(&gitlab, json!({})).await.expect(204).header(LAST_UPDATE).is_some());
    let own = owner_token(&gitlab, "/projects/fake%2Fjobs").await;
    let own = registered(&gitlab, &own).await;
    ask_as(&gitlab, &own, json!({})).await.expect(201);
}

#[tokio::test]
async fn j06_a_current_queue_value_comes_back() {
    let gitlab = plain().await;
    let value = ask(&gitlab, json!({})).await.expect(204).header(LAST_UPDATE).unwrap().to_owned();
    assert_eq!(value.len(), 32);
    let again = ask(&gitlab, json!({"last_update": value})).await.expect(204);
    assert_eq!(again.header(LAST_UPDATE), Some(value.as_str()));
}

#[tokio::test]
async fn j07_an_outdated_queue_value_is_replaced() {
    let gitlab = plain().await;
    let value = ask(&gitlab, json!({})).await.expect(204).header(LAST_UPDATE).unwrap().to_owned();
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    gitlab.cancel(id);
    let answer = ask(&gitlab, json!({"last_update": value})).await.expect(204);
    assert!(answer.header(LAST_UPDATE).is_some_and(|new| new != value));
}

#[tokio::test]
async fn j08_any_user_agent_is_served() {
    let gitlab = plain().await;
    for agent in [
        "gitlab-runner 9.0.0 (9-0-stable; go1.7.4; linux/amd64)",
        "gitlab-runner 19.4.0~beta",
        "gitlab-ci-multi-runner 1.6.0",
        "curl",
    ] {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
        let request = client().post(format!("{}/api/v4/jobs/request", gitlab.url())).header("User-Agent", agent);
        send(request.json(&json!({"token": gitlab.runner_token(), "info": {"features": features()}})))
            .await
            .expect(201);
    }
}

#[tokio::test]
async fn j16_a_job_that_cannot_be_described_fails() {
    let gitlab = with(|settings| settings.git_down = true).await;
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let session = json!({"session": {"url": "https://runner.example.com:8093"}});
    ask(&gitlab, session).await.expect(204);
    assert_eq!(gitlab.job(id).unwrap().failure_reason.as_deref(), Some("scheduler_failure"));
    let shown = job(&gitlab, &json!(id)).await;
    assert_eq!((&shown["runner"], &shown["session_url"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn j19_what_a_machine_says_of_itself_is_stored() {
    let gitlab = plain().await;
    let info = json!({"name": "gitlab-runner", "version": "19.4.0", "revision": "abc", "platform": "linux",
        "architecture": "amd64", "executor": "kubernetes", "labels": {"a": "b"}, "features": {}});
    ask(&gitlab, json!({ "info": info })).await.expect(204);
    let manager = first_runner(&gitlab).await["managers"][0].clone();
    for name in ["version", "revision", "platform", "architecture"] {
        assert_eq!(manager[name], info[name], "{name}");
    }
    assert_eq!(manager["info"]["executor"], "kubernetes");
    assert_eq!(manager["info"]["labels"], json!({"a": "b"}));
}

#[tokio::test]
async fn j20_only_gpus_are_kept_of_the_configuration() {
    let gitlab = plain().await;
    ask(&gitlab, json!({"info": {"config": {"gpus": "all", "ignored": "x"}}})).await.expect(204);
    assert_eq!(first_runner(&gitlab).await["managers"][0]["info"]["config"], json!({"gpus": "all"}));
}

#[tokio::test]
async fn j21_the_first_forwarded_address_is_the_machines() {
    let gitlab = plain().await;
    let request = client().post(format!("{}/api/v4/jobs/request", gitlab.url()));
    let request = request.header("X-Forwarded-For", "203.0.113.7, 10.0.0.1");
    send(request.json(&json!({"token": gitlab.runner_token()}))).await.expect(204);
    assert_eq!(first_runner(&gitlab).await["managers"][0]["ip_address"], "203.0.113.7");
}

#[tokio::test]
async fn j22_a_lost_race_is_409_without_a_queue_value() {
    let gitlab = plain().await;
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    change_job(&gitlab, &json!(id), json!({"races_to_lose": 1})).await;
    let answer = ask(&gitlab, json!({})).await.expect(409);
    assert_eq!(answer.header(LAST_UPDATE), None);
    assert_eq!(gitlab.job(id).unwrap().status, JobStatus::Pending);
    ask(&gitlab, json!({})).await.expect(201);
}

#[tokio::test]
async fn j26_untagged_jobs_are_for_those_who_take_them() {
    let gitlab = plain().await;
    let choosy = RunnerSpec { tags: vec!["a".into()], run_untagged: false, ..RunnerSpec::default() };
    let choosy = gitlab.create_runner(choosy).unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    ask_as(&gitlab, &choosy, json!({})).await.expect(204);
    ask(&gitlab, json!({})).await.expect(201);
}

#[tokio::test]
async fn j37_a_session_on_the_servers_own_machine_may_be_refused() {
    let gitlab = plain().await;
    let session = json!({"session": {"url": "https://127.0.0.1:8093", "authorization": "x", "certificate": ""}});
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = ask(&gitlab, session.clone()).await.expect(201).json();
    assert_eq!(payload["runner_info"]["runner_session_url"], "https://127.0.0.1:8093");
    gitlab.change_settings(|settings| settings.allow_local_requests = false);
    let id = gitlab.enqueue(JobSpec::default()).await.unwrap();
    let answer = ask(&gitlab, session).await.expect(409);
    assert!(answer.text().contains("409 Conflict"), "{}", answer.text());
    assert_eq!(gitlab.job(id).unwrap().status, JobStatus::Pending);
    ask(&gitlab, json!({"session": {"url": "https://192.0.2.1:8093"}})).await.expect(201);
}

#[tokio::test]
async fn j38_a_terminal_is_for_runners_with_its_tag() {
    let gitlab = plain().await;
    let id = gitlab.enqueue(JobSpec::default().name("terminal").tag("web")).await.unwrap();
    ask(&gitlab, json!({})).await.expect(204);
    assert_eq!(gitlab.job(id).unwrap().status, JobStatus::Pending);
    let tagged = gitlab.create_runner(RunnerSpec { tags: vec!["web".into()], ..RunnerSpec::default() }).unwrap();
    let payload = ask_as(&gitlab, &tagged, json!({})).await.expect(201).json();
    assert_eq!(payload["job_info"]["name"], "terminal");
}

#[tokio::test]
async fn j39_a_protected_runner_takes_protected_jobs_only() {
    let (gitlab, repository) = with_definition("a:\n  script: x\n").await;
    repository.git(&["branch", "feature"]);
    let protected = gitlab.create_runner(RunnerSpec { protected_only: true, ..RunnerSpec::default() }).unwrap();
    gitlab.create_pipeline("group/app", Some("feature"), vec![]).await.unwrap();
    ask_as(&gitlab, &protected, json!({})).await.expect(204);
    gitlab.create_pipeline("group/app", Some("main"), vec![]).await.unwrap();
    let payload = ask_as(&gitlab, &protected, json!({})).await.expect(201).json();
    assert_eq!(payload["git_info"]["ref"], "main");
    assert_eq!(variable(&payload, "CI_COMMIT_REF_PROTECTED"), Some("true"));
}

#[tokio::test]
async fn j40_all_tags_of_a_job_must_be_the_runners() {
    let gitlab = plain().await;
    let runner = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        gitlab.create_runner(RunnerSpec { tags, ..RunnerSpec::default() }).unwrap()
    };
    gitlab.enqueue(JobSpec::default().tag("a").tag("b")).await.unwrap();
    ask_as(&gitlab, &runner(&["a"]), json!({})).await.expect(204);
    ask_as(&gitlab, &runner(&["a", "c"]), json!({})).await.expect(204);
    ask_as(&gitlab, &runner(&["c", "b", "a"]), json!({})).await.expect(201);
}

// Another thread serves while this one waits for git.
#[tokio::test(flavor = "multi_thread")]
async fn j11_the_pipelines_own_ref_is_there_before_the_answer() {
    let (gitlab, repository) = with_definition("a:\n  script: x\n").await;
    let pipeline = gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let payload = take(&gitlab).await;
    let url = payload["git_info"]["repo_url"].as_str().unwrap();
    let refs = git(repository.path(), &["ls-remote", url, &format!("refs/pipelines/{pipeline}")]);
    assert!(refs.starts_with(payload["git_info"]["sha"].as_str().unwrap()), "{refs}");
}

#[tokio::test]
async fn j17_a_release_is_a_step_for_those_who_can() {
    let gitlab = plain().await;
    let spec = || JobSpec { release: vec!["glab release create v1".into()], ..JobSpec::script(["make"]) };
    gitlab.enqueue(spec()).await.unwrap();
    let payload = ask(&gitlab, info_with(&["multi_build_steps"])).await.expect(201).json();
    let names: Vec<&Value> = payload["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(names, ["script", "release"]);
    let id = gitlab.enqueue(spec()).await.unwrap();
    ask(&gitlab, info_with(&[])).await.expect(204);
    assert_eq!(gitlab.job(id).unwrap().failure_reason.as_deref(), Some("runner_unsupported"));
}

#[tokio::test]
async fn j44_secrets_need_a_licence_and_a_runner_that_can() {
    let gitlab = plain().await;
    let secret = json!({"vault": {"path": "p"}, "file": true});
    let spec = || {
        let secrets = [("S".to_owned(), secret.clone())].into_iter().collect();
        JobSpec { secrets, ..JobSpec::default() }
    };
    gitlab.enqueue(spec()).await.unwrap();
    assert_eq!(ask(&gitlab, json!({})).await.expect(201).json().get("secrets"), None);
    gitlab.change_settings(|settings| settings.licensed = true);
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    assert_eq!(ask(&gitlab, json!({})).await.expect(201).json()["secrets"], json!({}));
    gitlab.enqueue(spec()).await.unwrap();
    let payload = ask(&gitlab, info_with(&["vault_secrets"])).await.expect(201).json();
    assert_eq!(payload["secrets"], json!({ "S": secret }));
    let id = gitlab.enqueue(spec()).await.unwrap();
    ask(&gitlab, json!({})).await.expect(204);
    assert_eq!(gitlab.job(id).unwrap().failure_reason.as_deref(), Some("runner_unsupported"));
}

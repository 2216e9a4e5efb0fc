//! J, second half: what stands in the job.

use fake_gitlab::{JobSpec, RunnerSpec, RunnerType};
use serde_json::{Value, json};

use crate::support::{finish, take, upload, variable};
use crate::wire::{advance, as_user, ask, ask_as, info_with, plain, with, with_definition};

#[tokio::test]
async fn j09_a_job_has_all_its_members() {
    let gitlab = plain().await;
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let answer = ask(&gitlab, json!({})).await.expect(201);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-gitlab-last-update"), None);
    let payload = answer.json();
    for name in [
        "id",
        "token",
        "allow_git_fetch",
        "job_info",
        "git_info",
        "runner_info",
        "inputs",
        "variables",
        "steps",
        "hooks",
        "image",
        "services",
        "artifacts",
        "cache",
        "credentials",
        "dependencies",
        "features",
    ] {
        assert!(payload.get(name).is_some(), "{name} is not in {payload}");
    }
    let expected = [{
        json!({"name": "script", "script": ["true"], "timeout": 3600, "when": "on_success", "allow_failure": false})
    }];
    assert_eq!(payload["steps"], json!(expected));
}

#[tokio::test]
async fn j10_features_name_sections_and_failure_reasons() {
    let gitlab = plain().await;
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let features = take(&gitlab).await["features"].clone();
    assert_eq!(features["trace_sections"], json!(true));
    assert!(features["failure_reasons"].as_array().unwrap().contains(&json!("script_failure")));
}

const ONE_JOB: &str = "a:\n  script: x\n";

#[tokio::test]
async fn j12_tags_are_tags_and_all_else_is_a_branch() {
    let (gitlab, repository) = with_definition("workflow: {rules: [when: always]}\na:\n  script: x\n").await;
    repository.git(&["tag", "v1"]);
    repository.git(&["branch", "feature"]);
    for (reference, kind) in [("v1", "tag"), ("main", "branch")] {
        gitlab.create_pipeline("group/app", Some(reference), vec![]).await.unwrap();
        assert_eq!(take(&gitlab).await["git_info"]["ref_type"], kind, "{reference}");
    }
    merge_request_pipeline(&gitlab).await;
    ask(&gitlab, info_with(&[])).await.expect(204); // dropped: it cannot fetch refs by refspec
    merge_request_pipeline(&gitlab).await;
    let payload = ask(&gitlab, info_with(&["refspecs"])).await.expect(201).json();
    assert_eq!(payload["git_info"]["ref_type"], "branch");
    assert_eq!(variable(&payload, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"), Some("feature"));
    assert_eq!(variable(&payload, "CI_PIPELINE_SOURCE"), Some("merge_request_event"));
}

/// Makes a merge request of branch `feature` and a pipeline for it.
async fn merge_request_pipeline(gitlab: &fake_gitlab::FakeGitlab) {
    let body = json!({"source_branch": "feature", "target_branch": "main", "title": "Better"});
    let request = as_user(gitlab, "POST", "/projects/group%2Fapp/merge_requests", body).await.expect(201).json();
    let path = format!("/projects/group%2Fapp/merge_requests/{}/pipelines", request["iid"]);
    as_user(gitlab, "POST", &path, json!({})).await.expect(201);
}

#[tokio::test]
async fn j13_shallow_clones_fetch_one_ref() {
    let (gitlab, repository) = with_definition("variables: {GIT_DEPTH: '1'}\na:\n  script: x\n").await;
    repository.git(&["tag", "v1"]);
    for (reference, refspec) in
        [("v1", "+refs/tags/v1:refs/tags/v1"), ("main", "+refs/heads/main:refs/remotes/origin/main")]
    {
        let pipeline = gitlab.create_pipeline("group/app", Some(reference), vec![]).await.unwrap();
        let info = take(&gitlab).await["git_info"].clone();
        let own = format!("+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}");
        assert_eq!(info["refspecs"], json!([own, refspec]));
        assert_eq!(info["depth"], 1);
    }
}

#[tokio::test]
async fn j14_without_a_depth_everything_is_fetched() {
    let (gitlab, _repository) = with_definition(ONE_JOB).await;
    as_user(&gitlab, "PUT", "/projects/group%2Fapp", json!({"ci_default_git_depth": 0})).await.expect(200);
    let pipeline = gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let info = take(&gitlab).await["git_info"].clone();
    let mut refspecs: Vec<String> = serde_json::from_value(info["refspecs"].clone()).unwrap();
    refspecs.sort();
    let own = format!("+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}");
    assert_eq!(refspecs, ["+refs/heads/*:refs/remotes/origin/*", own.as_str(), "+refs/tags/*:refs/tags/*"]);
    assert_eq!(info["depth"], 0);
}

#[tokio::test]
async fn j15_a_merge_requests_job_has_the_depth_too() {
    let definition = "variables: {GIT_DEPTH: '1'}\na:\n  script: x\n  only: [merge_requests]\n";
    let (gitlab, repository) = with_definition(definition).await;
    repository.git(&["branch", "feature"]);
    merge_request_pipeline(&gitlab).await;
    let info = ask(&gitlab, info_with(&["refspecs"])).await.expect(201).json()["git_info"].clone();
    assert_eq!(info["depth"], 1);
    assert_eq!(info["refspecs"], json!(["+refs/pipelines/1:refs/pipelines/1"]));
}

#[tokio::test]
async fn j18_steps_for_the_step_runner_are_a_text() {
    let gitlab = plain().await;
    let steps = json!([{"name": "hello", "script": "echo hi"}]);
    gitlab.enqueue(JobSpec { run: steps.clone(), ..JobSpec::default() }).await.unwrap();
    let payload = take(&gitlab).await;
    assert_eq!(serde_json::from_str::<Value>(payload["run"].as_str().unwrap()).unwrap(), steps);
    assert_eq!(payload["steps"], Value::Null);
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    assert_eq!(take(&gitlab).await.get("run"), None);
}

const THREE_JOBS: &str = "\
one: {stage: build, script: x}
two: {stage: build, script: x}
all: {stage: test, script: x}
some: {stage: test, script: x, dependencies: [two]}
none: {stage: test, script: x, dependencies: []}
";

#[tokio::test]
async fn j23_jobs_of_earlier_stages_are_dependencies() {
    let (gitlab, _repository) = with_definition(THREE_JOBS).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    for _ in 0..2 {
        let job = take(&gitlab).await;
        finish(&gitlab, &job, "success").await.expect(200);
    }
    let payload = take(&gitlab).await;
    let expected = |id: u64, name: &str| json!({"id": id, "name": name, "token": payload["token"]});
    assert_eq!(payload["dependencies"], json!([expected(1, "one"), expected(2, "two")]));
}

#[tokio::test]
async fn j24_a_dependency_with_an_archive_says_so() {
    let (gitlab, _repository) = with_definition(THREE_JOBS).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    for _ in 0..2 {
        let job = take(&gitlab).await;
        if job["job_info"]["name"] == "two" {
            upload(&gitlab, &job, "", "artifacts.zip", b"12345".to_vec()).await.expect(201);
        }
        finish(&gitlab, &job, "success").await.expect(200);
    }
    let dependencies = take(&gitlab).await["dependencies"].clone();
    assert_eq!(dependencies[0].get("artifacts_file"), None);
    assert_eq!(dependencies[1]["artifacts_file"], json!({"filename": "artifacts.zip", "size": 5}));
}

#[tokio::test]
async fn j25_named_dependencies_are_the_only_ones() {
    let (gitlab, _repository) = with_definition(THREE_JOBS).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    for _ in 0..2 {
        let job = take(&gitlab).await;
        finish(&gitlab, &job, "success").await.expect(200);
    }
    take(&gitlab).await;
    let some = take(&gitlab).await["dependencies"].clone();
    assert_eq!((some.as_array().unwrap().len(), &some[0]["name"]), (1, &json!("two")));
    assert_eq!(take(&gitlab).await["dependencies"], json!([]));
}

#[tokio::test]
async fn j27_a_coverage_report_is_an_artifact() {
    let definition = "a:\n  script: x\n  artifacts:\n    reports:\n      coverage_report: {coverage_format: cobertura, path: c.xml}\n";
    let (gitlab, _repository) = with_definition(definition).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let payload = ask(&gitlab, info_with(&["upload_multiple_artifacts"])).await.expect(201).json();
    let expected = json!([{"name": "cobertura-coverage.xml", "paths": ["c.xml"], "when": "always", "expire_in": null,
        "artifact_type": "cobertura", "artifact_format": "gzip"}]);
    assert_eq!(payload["artifacts"], expected);
}

#[tokio::test]
async fn j28_a_triggered_pipeline_has_its_variables() {
    let (gitlab, _repository) = with_definition(ONE_JOB).await;
    let project = "/projects/group%2Fapp";
    as_user(&gitlab, "POST", &format!("{project}/variables"), json!({"key": "SECRET", "value": "s"})).await.expect(201);
    let trigger =
        as_user(&gitlab, "POST", &format!("{project}/triggers"), json!({"description": "d"})).await.expect(201).json();
    let body = json!({"token": trigger["token"], "ref": "main", "variables": {"FROM": "trigger"}});
    crate::support::call(&gitlab, "POST", &format!("{project}/trigger/pipeline"), body).await.expect(201);
    let payload = take(&gitlab).await;
    let variables = payload["variables"].as_array().unwrap();
    for (key, value, public) in
        [("CI_PIPELINE_TRIGGERED", "true", true), ("SECRET", "s", false), ("FROM", "trigger", false)]
    {
        let expected = json!({"key": key, "value": value, "public": public, "masked": false});
        assert!(variables.contains(&expected), "{expected}");
    }
    assert_eq!(variable(&payload, "CI_PIPELINE_SOURCE"), Some("trigger"));
}

#[tokio::test]
async fn j29_a_registry_gives_a_credential() {
    let gitlab = plain().await;
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    assert_eq!(take(&gitlab).await["credentials"], json!([]));
    gitlab.change_settings(|settings| settings.registry = Some("registry.example.com:5005".into()));
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let payload = take(&gitlab).await;
    let expected = json!([{"type": "registry", "url": "registry.example.com:5005", "username": "gitlab-ci-token",
        "password": payload["token"]}]);
    assert_eq!(payload["credentials"], expected);
    gitlab.change_settings(|settings| (settings.registry, settings.dependency_proxy) = (None, true));
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let address = gitlab.url().trim_start_matches("http://").to_owned();
    assert_eq!(take(&gitlab).await["credentials"][0]["url"], address);
}

#[tokio::test]
async fn j30_the_timeout_is_the_smaller_one() {
    let gitlab = plain().await;
    as_user(&gitlab, "PUT", "/projects/fake%2Fjobs", json!({"build_timeout": 1234})).await.expect(200);
    for (limit, timeout) in [(None, 1234), (Some(1000), 1000), (Some(2000), 1234)] {
        let runner = gitlab.create_runner(RunnerSpec { maximum_timeout: limit, ..RunnerSpec::default() }).unwrap();
        gitlab.enqueue(JobSpec::default()).await.unwrap();
        let payload = ask_as(&gitlab, &runner, json!({})).await.expect(201).json();
        assert_eq!(payload["runner_info"]["timeout"], timeout, "{limit:?}");
    }
}

#[tokio::test]
async fn j31_the_time_in_the_queue_is_told() {
    let gitlab = plain().await;
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    advance(&gitlab, 60);
    let seconds = take(&gitlab).await["job_info"]["time_in_queue_seconds"].as_u64().unwrap();
    assert!((60..=70).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn j32_running_jobs_of_the_project_are_counted_up_to_a_limit() {
    let gitlab = with(|settings| settings.running_jobs_bucket = 2).await;
    let own = RunnerSpec { kind: RunnerType::ProjectType, owner: Some("fake/jobs".into()), ..RunnerSpec::default() };
    let own = gitlab.create_runner(own).unwrap();
    let count = |payload: Value| payload["job_info"]["project_jobs_running_on_instance_runners_count"].clone();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    assert_eq!(count(ask_as(&gitlab, &own, json!({})).await.expect(201).json()), "+Inf");
    for expected in ["0", "1", "2+", "2+"] {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
        assert_eq!(count(take(&gitlab).await), expected);
    }
}

/// The first job of a pipeline of this definition, which is taken.
async fn only_job(definition: &str) -> Value {
    let (gitlab, _repository) = with_definition(definition).await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    take(&gitlab).await
}

#[tokio::test]
async fn j33_ports_have_names_and_protocols() {
    let payload = only_job(
        "a:\n  script: x\n  image: {name: i, ports: [80]}\n  services:\n    - {name: s, ports: [{number: 443, protocol: https, name: web}]}\n",
    )
    .await;
    assert_eq!(payload["image"]["ports"], json!([{"number": 80, "protocol": "http", "name": "default_port"}]));
    assert_eq!(payload["services"][0]["ports"], json!([{"number": 443, "protocol": "https", "name": "web"}]));
}

#[tokio::test]
async fn j34_options_for_docker_are_passed_on() {
    let payload =
        only_job("a:\n  script: x\n  image: {name: i, docker: {platform: linux/arm64, user: dave}}\n  services: [s]\n")
            .await;
    assert_eq!(payload["image"]["executor_opts"], json!({"docker": {"platform": "linux/arm64", "user": "dave"}}));
    assert_eq!(payload["services"][0]["executor_opts"], json!({}));
}

#[tokio::test]
async fn j35_pull_policies_are_a_list_or_null() {
    let payload = only_job("a:\n  script: x\n  image: {name: i, pull_policy: [if-not-present]}\n  services: [s, {name: t, pull_policy: never}]\n").await;
    assert_eq!(payload["image"]["pull_policy"], json!(["if-not-present"]));
    assert_eq!(payload["services"][0]["pull_policy"], Value::Null);
    assert_eq!(payload["services"][1]["pull_policy"], json!(["never"]));
}

#[tokio::test]
async fn j36_exclusions_need_a_runner_that_can() {
    let (gitlab, _repository) = with_definition(
        "a:\n  script: x\n  artifacts: {paths: [o], exclude: [o/t]}\nb:\n  script: x\n  artifacts: {paths: [o], exclude: []}\n",
    )
    .await;
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let payload = ask(&gitlab, info_with(&["artifacts_exclude"])).await.expect(201).json();
    assert_eq!(payload["artifacts"][0]["exclude"], json!(["o/t"]));
    let payload = ask(&gitlab, info_with(&[])).await.expect(201).json();
    assert_eq!(payload["artifacts"][0].get("exclude"), None);
    let pipeline = gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    ask(&gitlab, info_with(&[])).await.expect(201);
    let dropped = gitlab.job(gitlab.pipeline_jobs(pipeline)[0]).unwrap();
    assert_eq!(dropped.failure_reason.as_deref(), Some("runner_unsupported"));
}

#[tokio::test]
async fn j41_a_user_for_kubernetes_is_a_text_or_a_number() {
    let payload = only_job("a:\n  script: x\n  image: {name: i, kubernetes: {user: 1001}}\n  services: [{name: s, kubernetes: {user: '1001:1000'}}]\n").await;
    assert_eq!(payload["image"]["executor_opts"], json!({"kubernetes": {"user": 1001}}));
    assert_eq!(payload["services"][0]["executor_opts"], json!({"kubernetes": {"user": "1001:1000"}}));
}

#[tokio::test]
async fn j42_cache_keys_tell_protected_branches_apart() {
    let (gitlab, repository) =
        with_definition("a:\n  script: x\n  cache: {key: k, paths: [c], fallback_keys: [f]}\n").await;
    repository.git(&["branch", "feature"]);
    for (reference, key, fallback) in
        [("main", "k-protected", "f-protected"), ("feature", "k-non_protected", "f-non_protected")]
    {
        gitlab.create_pipeline("group/app", Some(reference), vec![]).await.unwrap();
        let cache = take(&gitlab).await["cache"][0].clone();
        assert_eq!((&cache["key"], &cache["fallback_keys"]), (&json!(key), &json!([fallback])), "{reference}");
    }
    let plain = only_job("a:\n  script: x\n  cache: {paths: [c]}\n").await;
    assert_eq!(plain["cache"][0]["fallback_keys"], json!([]));
}

#[tokio::test]
async fn j43_what_a_service_does_not_say_is_null() {
    let payload = only_job("a:\n  script: x\n  services: [s, {name: t}]\n").await;
    let plain = json!({"name": "s", "alias": null, "entrypoint": null, "command": null, "ports": [], "variables": null,
        "executor_opts": {}, "pull_policy": null});
    assert_eq!(payload["services"][0], plain);
    assert_eq!(payload["services"][1]["variables"], json!([]));
    assert_eq!(payload["services"][1].as_object().unwrap().len(), 8, "{payload}");
}

//! Pipelines from a repository's definition: order, outcomes, payloads, retry and cancel.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{FakeGitlab, JobStatus, Variable};
use serde_json::{Value, json};
use support::{Repository, finish, patch, request_job_as, take, upload, user, variable};

async fn gitlab_with(definition: &str) -> (FakeGitlab, Repository) {
    let repository = Repository::with(&[(".gitlab-ci.yml", definition)]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    (gitlab, repository)
}

/// Runs a pipeline: jobs named in `failing` fail with exit code 1, all others succeed. Gives the
/// names in the order in which they ran and the pipeline's status.
async fn run(gitlab: &FakeGitlab, failing: &[&str]) -> (Vec<String>, JobStatus) {
    let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let mut ran = Vec::new();
    loop {
        let answer = request_job_as(gitlab, gitlab.runner_token()).await;
        if answer.status == 204 {
            break;
        }
        let payload = answer.expect(201).json();
        let name = payload["job_info"]["name"].as_str().unwrap().to_owned();
        let state = if failing.contains(&name.as_str()) { "failed" } else { "success" };
        finish(gitlab, &payload, state).await.expect(200);
        ran.push(name);
    }
    (ran, gitlab.pipeline_status(pipeline))
}

#[tokio::test]
async fn stages_needs_and_when_decide_what_runs() {
    let two_stages = "a: {stage: build, script: x}\nb: {stage: test, script: x}\nc: {stage: deploy, script: x}\n";
    let clean = "a: {stage: build, script: x}\nfix: {stage: test, script: x, when: on_failure}\nend: {stage: deploy, script: x, when: always}\n";
    let needs = "a: {stage: build, script: x}\nslow: {stage: build, script: x}\nb: {stage: test, script: x, needs: [a]}\nc: {stage: test, script: x}\nfree: {stage: deploy, script: x, needs: []}\n";
    let allowed = "a: {stage: build, script: x, allow_failure: true}\nb: {stage: test, script: x}\n";
    let codes = "a: {stage: build, script: x, allow_failure: {exit_codes: [1, 7]}}\nb: {stage: test, script: x}\n";
    let other_codes = "a: {stage: build, script: x, allow_failure: {exit_codes: 2}}\nb: {stage: test, script: x}\n";
    let manual = "a: {stage: build, script: x, when: manual}\nb: {stage: test, script: x}\n";
    let blocking = "a: {stage: build, script: x, when: manual, allow_failure: false}\nb: {stage: test, script: x}\n";
    let edges = "stages: [one]\nlast: {stage: .post, script: x}\nonly: {stage: one, script: x}\nfirst: {stage: .pre, script: x}\n";
    use JobStatus::{Failed, Manual, Success};
    for (definition, failing, ran, status) in [
        (two_stages, &[][..], &["a", "b", "c"][..], Success),
        (two_stages, &["a"], &["a"], Failed),
        (two_stages, &["b"], &["a", "b"], Failed),
        (clean, &[], &["a", "end"], Success),
        (clean, &["a"], &["a", "fix", "end"], Failed),
        (needs, &[], &["a", "slow", "free", "b", "c"], Success),
        (needs, &["slow"], &["a", "slow", "free", "b"], Failed),
        (needs, &["a"], &["a", "slow", "free"], Failed),
        (allowed, &["a"], &["a", "b"], Success),
        (codes, &["a"], &["a", "b"], Success),
        (other_codes, &["a"], &["a"], Failed),
        (manual, &[], &["b"], Success),
        (blocking, &[], &[], Manual),
        (edges, &[], &["first", "only", "last"], Success),
    ] {
        let (gitlab, _repository) = gitlab_with(definition).await;
        let (got, got_status) = run(&gitlab, failing).await;
        let mut sorted = got.clone();
        sorted.sort();
        let mut expected: Vec<String> = ran.iter().map(|name| (*name).to_owned()).collect();
        // With needs the order among ready jobs is that of their numbers; compare as sets there.
        if definition == needs {
            expected.sort();
            assert_eq!(sorted, expected, "{definition} failing {failing:?}");
        } else {
            assert_eq!(got, expected, "{definition} failing {failing:?}");
        }
        assert_eq!(got_status, status, "{definition} failing {failing:?}");
    }
}

#[tokio::test]
async fn a_needed_job_that_was_skipped_skips_the_needing_one() {
    let (gitlab, _repository) = gitlab_with(
        "a: {stage: build, script: x}\nb: {stage: test, script: x}\nc: {stage: deploy, script: x, needs: [b], when: always}\nd: {stage: deploy, script: x, needs: [b]}\n",
    )
    .await;
    let (ran, status) = run(&gitlab, &["a"]).await;
    assert_eq!(ran, ["a", "c"]);
    assert_eq!(status, JobStatus::Failed);
}

const FULL: &str = r#"
stages: [build, test]
default:
  image: alpine:3
  before_script: [default before]
  tags: [k8s]
  timeout: 1h 30m
variables:
  GLOBAL: global
  OVER: low
  RAW: {value: "$GLOBAL", description: text, expand: false}
.hidden: &hidden
  after_script: [hidden after]
  variables: {OVER: high, NUMBER: 12, FLAG: true}
make:
  stage: build
  script: [make]
  artifacts:
    name: out
    paths: [out/, "*.txt"]
    exclude: [out/tmp]
    expire_in: 1 week
    when: always
    reports: {junit: r.xml, dotenv: [build.env], coverage_report: {coverage_format: cobertura, path: c.xml}}
check:
  <<: *hidden
  stage: test
  image: {name: "rust:1", entrypoint: [""], pull_policy: if-not-present, docker: {user: dave, platform: linux/amd64}, kubernetes: {user: 1001}}
  services:
    - redis:7
    - {name: postgres:16, alias: "db,sql", variables: {POSTGRES_DB: x}, command: [postgres, -c, a]}
  before_script: []
  script:
    - one
    - [two, [three]]
    - |
      four
      five
  timeout: 20 minutes
  cache:
    - {key: deps, paths: [vendor/], policy: pull, fallback_keys: [old]}
    - {key: open, untracked: true, unprotect: true}
  tags: []
"#;

#[tokio::test]
async fn a_definition_becomes_the_documented_payload() {
    let (gitlab, repository) = gitlab_with(FULL).await;
    let runner = fake_gitlab::RunnerSpec { tags: vec!["k8s".into()], ..Default::default() };
    let runner = gitlab.create_runner(runner).unwrap();
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let make = request_job_as(&gitlab, &runner).await.expect(201).json();
    assert_eq!(make["image"]["name"], "alpine:3");
    assert_eq!(make["steps"][0]["script"], json!(["default before", "make"]));
    assert_eq!(make["steps"].as_array().unwrap().len(), 1);
    assert_eq!(make["runner_info"]["timeout"], 5400);
    assert_eq!(make["cache"], json!([]));
    assert_eq!(
        make["artifacts"],
        json!([
            {"name":"out","untracked":false,"paths":["out/","*.txt"],"exclude":["out/tmp"],"when":"always",
             "expire_in":"1 week","artifact_type":"archive","artifact_format":"zip"},
            {"name":"junit.xml","paths":["r.xml"],"when":"always","expire_in":"1 week","artifact_type":"junit","artifact_format":"gzip"},
            {"name":".env","paths":["build.env"],"when":"always","expire_in":"1 week","artifact_type":"dotenv","artifact_format":"gzip"},
            {"name":"cobertura-coverage.xml","paths":["c.xml"],"when":"always","expire_in":"1 week","artifact_type":"cobertura","artifact_format":"gzip"},
        ])
    );
    finish(&gitlab, &make, "success").await.expect(200);

    let check = take(&gitlab).await;
    assert_eq!(
        check["image"],
        json!({"name":"rust:1","entrypoint":[""],"ports":[],"pull_policy":["if-not-present"],
            "executor_opts":{"docker":{"platform":"linux/amd64","user":"dave"},"kubernetes":{"user":1001}}})
    );
    assert_eq!(
        check["services"],
        json!([
            {"name":"redis:7","alias":null,"entrypoint":null,"command":null,"ports":[],"variables":null,"executor_opts":{},"pull_policy":null},
            {"name":"postgres:16","alias":"db,sql","entrypoint":null,"command":["postgres","-c","a"],"ports":[],
             "variables":[{"key":"POSTGRES_DB","value":"x"}],"executor_opts":{},"pull_policy":null},
        ])
    );
    assert_eq!(check["steps"][0]["script"], json!(["one", "two", "three", "four\nfive\n"]));
    assert_eq!(check["steps"][1]["name"], "after_script");
    assert_eq!(check["steps"][1]["script"], json!(["hidden after"]));
    assert_eq!(check["steps"][1]["when"], "always");
    assert_eq!(check["runner_info"]["timeout"], 1200);
    assert_eq!(
        check["cache"],
        json!([
            {"key":"deps-protected","untracked":false,"paths":["vendor/"],"policy":"pull","when":"on_success","fallback_keys":["old-protected"]},
            {"key":"open-non_protected","untracked":true,"paths":[],"policy":"pull-push","when":"on_success","fallback_keys":[]},
        ])
    );
    assert_eq!(check["artifacts"], Value::Null);
    for (key, value) in [("GLOBAL", "global"), ("OVER", "high"), ("NUMBER", "12"), ("FLAG", "true"), ("RAW", "$GLOBAL")]
    {
        assert_eq!(variable(&check, key), Some(value), "{key}");
    }
    let sha = repository.git(&["rev-parse", "HEAD"]);
    assert_eq!(check["git_info"]["sha"], sha);
    assert_eq!(check["git_info"]["depth"], 20);
    assert_eq!(check["git_info"]["protected"], true);
    let pipeline = check["job_info"]["pipeline_id"].as_u64().unwrap();
    assert_eq!(
        check["git_info"]["refspecs"],
        json!([
            format!("+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}"),
            "+refs/heads/main:refs/remotes/origin/main"
        ])
    );
    let job = check["id"].as_u64().unwrap();
    for (key, value) in [
        ("CI", "true".to_owned()),
        ("GITLAB_CI", "true".into()),
        ("CI_SERVER_URL", gitlab.url().into()),
        ("CI_SERVER_HOST", "127.0.0.1".into()),
        ("CI_API_V4_URL", format!("{}/api/v4", gitlab.url())),
        ("CI_PROJECT_PATH", "group/app".into()),
        ("CI_PROJECT_NAME", "app".into()),
        ("CI_PROJECT_NAMESPACE", "group".into()),
        ("CI_PROJECT_URL", format!("{}/group/app", gitlab.url())),
        ("CI_PIPELINE_SOURCE", "api".into()),
        ("CI_JOB_ID", job.to_string()),
        ("CI_JOB_NAME", "check".into()),
        ("CI_JOB_STAGE", "test".into()),
        ("CI_JOB_TOKEN", check["token"].as_str().unwrap().into()),
        ("CI_COMMIT_SHA", sha.clone()),
        ("CI_COMMIT_SHORT_SHA", sha[..8].into()),
        ("CI_COMMIT_BRANCH", "main".into()),
        ("CI_COMMIT_REF_NAME", "main".into()),
        ("CI_COMMIT_REF_SLUG", "main".into()),
        ("CI_COMMIT_TITLE", "First commit".into()),
        ("CI_COMMIT_DESCRIPTION", "With a body.".into()),
        ("CI_COMMIT_AUTHOR", "Ada <ada@example.com>".into()),
        ("CI_DEFAULT_BRANCH", "main".into()),
        ("GITLAB_USER_LOGIN", "root".into()),
    ] {
        assert_eq!(variable(&check, key), Some(value.as_str()), "{key}");
    }
    assert_eq!(variable(&check, "CI_COMMIT_TAG"), None);
    assert_eq!(variable(&check, "CI_REGISTRY"), None);
    let token = check["variables"].as_array().unwrap().iter().find(|variable| variable["key"] == "CI_JOB_TOKEN");
    assert_eq!(token.unwrap()["masked"], true);
    assert_eq!(token.unwrap()["public"], false);
}

#[tokio::test]
async fn a_tag_pipeline_says_so() {
    let (gitlab, repository) =
        gitlab_with("a: {script: x, variables: {GIT_DEPTH: 1}}\nb: {script: x, variables: {GIT_DEPTH: 0}}\n").await;
    repository.git(&["tag", "-a", "v1", "-m", "Release one"]);
    gitlab.create_pipeline("group/app", Some("v1"), Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    assert_eq!(payload["git_info"]["ref_type"], "tag");
    assert_eq!(payload["git_info"]["depth"], 1);
    assert_eq!(payload["git_info"]["refspecs"][1], "+refs/tags/v1:refs/tags/v1");
    assert_eq!(payload["git_info"]["refspecs"].as_array().unwrap().len(), 2);
    assert_eq!(variable(&payload, "CI_COMMIT_TAG"), Some("v1"));
    assert_eq!(variable(&payload, "CI_COMMIT_TAG_MESSAGE"), Some("Release one"));
    assert_eq!(variable(&payload, "CI_COMMIT_BRANCH"), None);
    let payload = take(&gitlab).await;
    assert_eq!(payload["git_info"]["refspecs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn variables_of_pipeline_project_and_job_win_in_gitlabs_order() {
    let repository = Repository::with(&[(
        ".gitlab-ci.yml",
        "variables: {A: global, B: global}\nx: {script: x, variables: {A: job, C: \"$B/$CI_JOB_NAME\"}}\n",
    )]);
    let gitlab = FakeGitlab::builder()
        .project("group/app", repository.path())
        .variable(Variable::new("B", "project"))
        .variable(Variable::new("SECRET", "s3cret").masked())
        .variable(Variable::new("FILE", "text").file())
        .start()
        .await
        .unwrap();
    let pipeline = vec![Variable::new("A", "pipeline").private()];
    gitlab.create_pipeline("group/app", None, pipeline).await.unwrap();
    let payload = take(&gitlab).await;
    assert_eq!(variable(&payload, "A"), Some("pipeline"));
    assert_eq!(variable(&payload, "B"), Some("project"));
    assert_eq!(variable(&payload, "C"), Some("project/x"));
    let variables = payload["variables"].as_array().unwrap();
    assert!(variables.contains(&json!({"key":"SECRET","value":"s3cret","public":false,"masked":true})));
    assert!(variables.contains(&json!({"key":"FILE","value":"text","public":false,"masked":false,"file":true})));
}

#[tokio::test]
async fn dependencies_follow_stages_needs_and_the_keyword() {
    let definition = "
stages: [one, two, three]
a: {stage: one, script: x, artifacts: {paths: [a]}}
b: {stage: one, script: x}
all: {stage: two, script: x}
one: {stage: two, script: x, dependencies: [b]}
none: {stage: two, script: x, dependencies: []}
needy: {stage: two, script: x, needs: [a, {job: b, artifacts: false}]}
";
    let (gitlab, _repository) = gitlab_with(definition).await;
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let payload = take(&gitlab).await;
        assert_eq!(payload["job_info"]["name"], name);
        if name == "a" {
            upload(&gitlab, &payload, "", "out.zip", b"PK zip".to_vec()).await.expect(201);
        }
        finish(&gitlab, &payload, "success").await.expect(200);
        ids.push(payload["id"].clone());
    }
    let mut seen = 0;
    for _ in 0..4 {
        let payload = take(&gitlab).await;
        let token = &payload["token"];
        let a =
            json!({"id": ids[0], "name": "a", "token": token, "artifacts_file": {"filename": "out.zip", "size": 6}});
        let b = json!({"id": ids[1], "name": "b", "token": token});
        let expected = match payload["job_info"]["name"].as_str().unwrap() {
            "all" => json!([a, b]),
            "one" => json!([b]),
            "none" => json!([]),
            "needy" => json!([a]),
            other => panic!("{other} was not expected"),
        };
        assert_eq!(payload["dependencies"], expected, "{}", payload["job_info"]["name"]);
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[tokio::test]
async fn dotenv_reports_become_variables_of_later_jobs() {
    let definition = "a: {stage: build, script: x, artifacts: {reports: {dotenv: x.env}}}\nb: {stage: test, script: x}\nc: {stage: test, script: x, needs: []}\n";
    let (gitlab, _repository) = gitlab_with(definition).await;
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let a = take(&gitlab).await;
    let gzip = |text: &str| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let query = "artifact_type=dotenv&artifact_format=gzip";
    let answer = upload(&gitlab, &a, query, ".env.gz", gzip("no variable")).await.expect(400);
    assert!(answer.text().contains("Invalid Format"), "{}", answer.text());
    upload(&gitlab, &a, query, ".env.gz", gzip("VERSION=1.2\nMORE=a=b\n")).await.expect(201);
    finish(&gitlab, &a, "success").await.expect(200);
    for _ in 0..2 {
        let payload = take(&gitlab).await;
        let has = payload["job_info"]["name"] == "b";
        assert_eq!(variable(&payload, "VERSION"), has.then_some("1.2"));
        assert_eq!(variable(&payload, "MORE"), has.then_some("a=b"));
    }
}

#[tokio::test]
async fn retry_makes_a_new_job_and_wakes_what_was_skipped() {
    let (gitlab, _repository) = gitlab_with("a: {stage: build, script: x}\nb: {stage: test, script: x}\n").await;
    let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let first = take(&gitlab).await;
    finish(&gitlab, &first, "failed").await.expect(200);
    assert_eq!(gitlab.wait_pipeline(pipeline).await, JobStatus::Failed);
    let answer = user(&gitlab, "POST", &format!("/projects/group%2Fapp/jobs/{}/retry", first["id"])).await.expect(201);
    let again = take(&gitlab).await;
    assert_eq!(again["id"], answer.json()["id"]);
    assert_ne!(again["id"], first["id"]);
    assert_ne!(again["token"], first["token"]);
    finish(&gitlab, &again, "success").await.expect(200);
    let b = take(&gitlab).await;
    assert_eq!(b["job_info"]["name"], "b");
    finish(&gitlab, &b, "success").await.expect(200);
    assert_eq!(gitlab.wait_pipeline(pipeline).await, JobStatus::Success);
    user(&gitlab, "POST", &format!("/projects/1/jobs/{}/retry", first["id"])).await.expect(403);
    let jobs = user(&gitlab, "GET", &format!("/projects/1/pipelines/{pipeline}/jobs")).await.expect(200).json();
    assert_eq!(jobs.as_array().unwrap().len(), 2);
    let jobs =
        user(&gitlab, "GET", &format!("/projects/1/pipelines/{pipeline}/jobs?include_retried=true")).await.json();
    assert_eq!(jobs.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_pipeline_is_canceled_and_retried_as_a_whole() {
    let (gitlab, _repository) = gitlab_with(
        "a: {stage: build, script: x}\nb: {stage: build, script: x}\nc: {stage: test, script: x, when: always}\n",
    )
    .await;
    let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let a = take(&gitlab).await;
    let canceled = user(&gitlab, "POST", &format!("/projects/1/pipelines/{pipeline}/cancel")).await.expect(200).json();
    assert_eq!(canceled["status"], "canceling");
    finish(&gitlab, &a, "failed").await.expect(200);
    assert_eq!(gitlab.wait_pipeline(pipeline).await, JobStatus::Canceled);
    request_job_as(&gitlab, gitlab.runner_token()).await.expect(204);
    user(&gitlab, "POST", &format!("/projects/1/pipelines/{pipeline}/retry")).await.expect(201);
    for name in ["a", "b", "c"] {
        let payload = take(&gitlab).await;
        assert_eq!(payload["job_info"]["name"], name);
        finish(&gitlab, &payload, "success").await.expect(200);
    }
    assert_eq!(gitlab.pipeline_status(pipeline), JobStatus::Success);
}

#[tokio::test]
async fn a_manual_job_waits_until_it_is_played() {
    let (gitlab, _repository) =
        gitlab_with("a: {stage: build, script: x, when: manual, allow_failure: false}\nb: {stage: test, script: x}\n")
            .await;
    let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let a = gitlab.pipeline_jobs(pipeline)[0];
    assert_eq!(gitlab.job(a).unwrap().status, JobStatus::Manual);
    user(&gitlab, "POST", &format!("/projects/1/jobs/{a}/play")).await.expect(200);
    user(&gitlab, "POST", &format!("/projects/1/jobs/{a}/play")).await.expect(400);
    for name in ["a", "b"] {
        let payload = take(&gitlab).await;
        assert_eq!(payload["job_info"]["name"], name);
        finish(&gitlab, &payload, "success").await.expect(200);
    }
    assert_eq!(gitlab.pipeline_status(pipeline), JobStatus::Success);
}

#[tokio::test]
async fn pipelines_that_cannot_be_are_refused_in_gitlabs_shape() {
    let repository = Repository::with(&[("README", "no definition")]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    let create = async |reference: &str| {
        user(&gitlab, "POST", &format!("/projects/group%2Fapp/pipeline?ref={reference}")).await.expect(400).json()
    };
    assert_eq!(create("main").await, json!({"message": {"base": ["Missing CI config file"]}}));
    assert_eq!(create("nowhere").await, json!({"message": {"base": ["Reference not found"]}}));
    repository.commit("next", &[(".gitlab-ci.yml", "a: {script: x, foo: y}\nb: {script: x, bar: y}\n")]);
    let expected = ["jobs:a config contains unknown keys: foo", "jobs:b config contains unknown keys: bar"];
    assert_eq!(create("main").await, json!({"message": {"base": expected}}));
    user(&gitlab, "POST", "/projects/group%2Fapp/pipeline").await.expect(400);
    user(&gitlab, "POST", "/projects/nobody%2Fapp/pipeline?ref=main").await.expect(404);
}

#[tokio::test]
async fn a_failed_job_is_tried_again_as_a_new_job() {
    let (gitlab, _repository) = gitlab_with(
        "a: {stage: build, script: x, retry: {max: 1, when: script_failure}}\nb: {stage: build, script: x, retry: {max: 2, when: api_failure}}\nc: {script: x}\n",
    )
    .await;
    let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let mut ran = Vec::new();
    for _ in 0..3 {
        let payload = take(&gitlab).await;
        ran.push(payload["job_info"]["name"].as_str().unwrap().to_owned());
        finish(&gitlab, &payload, "failed").await.expect(200);
    }
    assert_eq!(ran, ["a", "b", "a"]);
    assert_eq!(gitlab.wait_pipeline(pipeline).await, JobStatus::Failed);
    request_job_as(&gitlab, gitlab.runner_token()).await.expect(204);
}

#[tokio::test]
async fn a_delayed_job_starts_when_its_time_has_come_or_somebody_plays_it() {
    let definition = "a: {stage: build, script: x, when: delayed, start_in: 1 day}\nb: {script: x}\n";
    for plays in [true, false] {
        let (gitlab, _repository) = gitlab_with(definition).await;
        let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
        let a = gitlab.pipeline_jobs(pipeline)[0];
        assert_eq!(gitlab.job(a).unwrap().status, JobStatus::Scheduled);
        assert_eq!(gitlab.pipeline_status(pipeline), JobStatus::Scheduled);
        match plays {
            true => drop(user(&gitlab, "POST", &format!("/projects/1/jobs/{a}/play")).await.expect(200)),
            false => gitlab.change_settings(|settings| settings.clock_ahead = 86_401),
        }
        gitlab.wait_status(a, JobStatus::Pending).await;
        for name in ["a", "b"] {
            let payload = take(&gitlab).await;
            assert_eq!(payload["job_info"]["name"], name);
            finish(&gitlab, &payload, "success").await.expect(200);
        }
        assert_eq!(gitlab.pipeline_status(pipeline), JobStatus::Success);
    }
}

#[tokio::test]
async fn jobs_of_a_resource_group_run_one_after_the_other() {
    let (gitlab, _repository) =
        gitlab_with("a: {script: x, resource_group: one}\nb: {script: x, resource_group: one}\nc: {script: x}\n").await;
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let (a, c) = (take(&gitlab).await, take(&gitlab).await);
    assert_eq!((&a["job_info"]["name"], &c["job_info"]["name"]), (&json!("a"), &json!("c")));
    request_job_as(&gitlab, gitlab.runner_token()).await.expect(204);
    finish(&gitlab, &a, "success").await.expect(200);
    assert_eq!(take(&gitlab).await["job_info"]["name"], "b");
}

#[tokio::test]
async fn coverage_environment_hooks_and_release_go_where_they_belong() {
    let definition = r#"
a:
  script: x
  coverage: '/Total: \d+\.\d+/'
  environment: {name: review/$CI_COMMIT_REF_SLUG, url: "https://x.example.com", action: prepare}
  hooks: {pre_get_sources_script: [echo before]}
  release: {tag_name: v1, description: First}
  cache: {key: {files: [Cargo.lock]}, paths: [target]}
"#;
    let repository = Repository::with(&[(".gitlab-ci.yml", definition), ("Cargo.lock", "one")]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let a = take(&gitlab).await;
    for (key, value) in [
        ("CI_ENVIRONMENT_NAME", "review/main"),
        ("CI_ENVIRONMENT_SLUG", "review-main"),
        ("CI_ENVIRONMENT_URL", "https://x.example.com"),
        ("CI_ENVIRONMENT_ACTION", "prepare"),
        ("CI_ENVIRONMENT_TIER", "development"),
    ] {
        assert_eq!(variable(&a, key), Some(value), "{key}");
    }
    assert_eq!(a["hooks"], json!([{"name": "pre_get_sources_script", "script": ["echo before"]}]));
    let names: Vec<&str> = a["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["script", "release"]);
    let key = a["cache"][0]["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("0_Cargo-") && key.ends_with("-protected"), "{key}");
    patch(&gitlab, &a, "0-23", "Total: 10.5\nTotal: 80.25\n").await.expect(202);
    finish(&gitlab, &a, "success").await.expect(200);
    let job = user(&gitlab, "GET", &format!("/projects/1/jobs/{}", a["id"])).await.expect(200).json();
    assert_eq!(job["coverage"], 80.25);

    repository.commit("other lock", &[("Cargo.lock", "two")]);
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    assert_ne!(take(&gitlab).await["cache"][0]["key"], key.as_str());
}

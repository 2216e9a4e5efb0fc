//! Which stages follow which, and how often one is tried.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use pod::Job;
use runner_core::failure::FailureReason;
use serde_json::json;

/// A GitLab that answers everything with one status.
struct Answers {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Answers {
    fn with(status: StatusCode) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let answer = move |_body: Bytes| async move { (status, "{}") };
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, _runtime: runtime }
    }
}

/// A job that keeps a cache and artifacts, whatever becomes of it.
fn keeping(job: Job) -> Job {
    job.set("cache", json!([{"key": "k", "paths": ["kept"], "when": "always", "policy": "push"}]))
        .set("artifacts", json!([{"paths": ["kept"], "when": "always"}]))
        .variable("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "false")
}

#[test]
fn j116_j118_j123_after_a_failed_script_each_later_stage_runs_once() {
    let gitlab = Answers::with(StatusCode::CREATED);
    for (code, of_cache, of_upload) in [
        (0, "archive_cache", "upload_artifacts_on_success"),
        (7, "archive_cache_on_failure", "upload_artifacts_on_failure"),
    ] {
        let script = ["echo x > kept".to_owned(), format!("exit {code}")];
        let mut job = keeping(Job::new(&[&script[0], &script[1]]).after(&["echo after"]));
        job.url.clone_from(&gitlab.url);
        let ended = job.run();
        assert_eq!(
            ended.stages,
            [
                "prepare_script",
                "get_sources",
                "restore_cache",
                "step_script",
                "after_script",
                of_cache,
                of_upload,
                "cleanup_file_variables"
            ]
        );
        let outcome = &ended.outcome;
        let expected = (code != 0).then_some((Some(code), FailureReason::ScriptFailure));
        assert_eq!(outcome.failure_reason.map(|reason| (outcome.exit_code, reason)), expected, "{}", ended.log);
    }
}

#[test]
fn j119_without_sources_no_script_runs_and_what_is_for_failed_jobs_is_kept() {
    let gitlab = Answers::with(StatusCode::CREATED);
    let mut job = keeping(Job::new(&["echo never"]).after(&["echo never"]));
    job.url.clone_from(&gitlab.url);
    let missing = format!("file://{}", job.path("no-repository").display());
    job.payload["git_info"]["repo_url"] = json!(missing);
    let job = job.variable("GIT_STRATEGY", "clone").variable("GET_SOURCES_ATTEMPTS", "3");
    let ended = job.run().failed("command terminated with exit code 128");
    assert_eq!(
        ended.stages,
        [
            "prepare_script",
            "get_sources",
            "clear_worktree",
            "get_sources",
            "clear_worktree",
            "get_sources",
            "archive_cache_on_failure",
            "upload_artifacts_on_failure",
            "cleanup_file_variables"
        ]
    );
}

#[test]
fn j121_artifacts_that_cannot_be_had_fail_the_job_after_all_tries() {
    let gitlab = Answers::with(StatusCode::NOT_FOUND);
    let dependency = json!([{"id": 5, "token": "t", "name": "earlier", "artifacts_file": {"filename": "a.zip"}}]);
    let mut job = Job::new(&["echo never"]).after(&["echo never"]).set("dependencies", dependency);
    job.url.clone_from(&gitlab.url);
    let job = job.variable("ARTIFACT_DOWNLOAD_ATTEMPTS", "2");
    let ended = job.variable("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "false").run();
    assert_eq!(
        ended.stages,
        ["prepare_script", "get_sources", "download_artifacts", "download_artifacts", "cleanup_file_variables"]
    );
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::ScriptFailure), "{}", ended.log);
    assert_eq!(ended.log.matches("WARNING: Retrying...\u{1b}[0;m\n").count(), 1, "{}", ended.log);
}

#[test]
fn j122_artifacts_that_cannot_be_kept_fail_a_good_job() {
    let gitlab = Answers::with(StatusCode::FORBIDDEN);
    let mut job = keeping(Job::new(&["echo x > kept"]));
    job.url.clone_from(&gitlab.url);
    let ended = job.run();
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::ScriptFailure), "{}", ended.log);
    assert_eq!(ended.stages.last().unwrap(), "cleanup_file_variables");
}

#[test]
fn j125_a_cache_that_cannot_be_understood_fails_the_job_after_all_tries() {
    let cache = json!([{"key": "k", "paths": ["kept"], "policy": "sideways"}]);
    let job = Job::new(&["echo never"]).set("cache", cache).variable("RESTORE_CACHE_ATTEMPTS", "2");
    let ended = job.variable("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "false").run();
    let tries = ended.stages.iter().filter(|stage| *stage == "restore_cache").count();
    assert_eq!(tries, 2);
    assert!(!ended.log.contains("echo never"));
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::RunnerSystemFailure), "{}", ended.outcome.message);
}

#[test]
fn j137_a_stage_with_nothing_to_do_is_not_there() {
    let job = Job::new(&["true"])
        .set("cache", json!([{"key": "k", "paths": []}]))
        .set("artifacts", json!([{"paths": [], "when": "always"}]))
        .set("dependencies", json!([{"id": 5, "artifacts_file": {"filename": ""}}]))
        .after(&[]);
    let ended = job.run().succeeded();
    assert_eq!(ended.stages, ["prepare_script", "get_sources", "step_script", "cleanup_file_variables"]);
}

#[test]
fn j106_sources_that_take_longer_than_the_runner_allows_end_the_job() {
    let hooks = json!([{"name": "pre_get_sources_script", "script": ["sleep 60"]}]);
    let job = Job::new(&["echo never"]).after(&["echo never"]).set("hooks", hooks).variable("GIT_STRATEGY", "clone");
    let job = keeping(job).config("get_sources_timeout", json!("500ms")).variable("GET_SOURCES_ATTEMPTS", "3");
    let ended = job.run().failed("get sources timeout: exceeded timeout of 500ms");
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::JobExecutionTimeout));
    assert_eq!(ended.stages, ["prepare_script", "get_sources"]);
    assert!(ended.log.contains("WARNING: get_sources could not run to completion because the timeout was exceeded."));
}

#[test]
fn j126_settings_that_are_wrong_are_told_together_and_the_job_runs() {
    let job = Job::new(&["true"]).variable("GET_SOURCES_ATTEMPTS", "0").variable("RESTORE_CACHE_ATTEMPTS", "x");
    let ended = job.variable("GIT_CHECKOUT", "perhaps").variable("CI_DEBUG_TRACE", "perhaps").run().succeeded();
    let expected = "\u{1b}[0;33mWARNING: CI_DEBUG_TRACE: expected bool got \"perhaps\", using default value: false\n\
        GET_SOURCES_ATTEMPTS: number of attempts out of the range [1, 10], clamping to: 1\n\
        RESTORE_CACHE_ATTEMPTS: expected int got \"x\", using default value: 1\n\
        GIT_CHECKOUT: expected bool got \"perhaps\", using default value: true\u{1b}[0;m\n";
    assert!(ended.log.contains(expected), "{}", ended.log);
}

#[test]
fn j156_inputs_are_put_into_scripts_and_a_bad_one_fails_the_job() {
    let inputs = json!([{"key": "name", "value": {"type": "string", "content": "it's"}}]);
    let job = Job::new(&["echo \"${{ job.inputs.name }}\""]).after(&["echo ${{ job.inputs.name }} \\'"]);
    let ended = job.set("inputs", inputs.clone()).run().succeeded();
    assert_eq!(ended.output(), "it's\n");
    assert!(ended.section("step_script").starts_with("\u{1b}[32;1m$ echo \"it's\"\u{1b}[0;m\n"));
    let bad = || Job::new(&["echo '${{ job.inputs.none }}'"]).set("inputs", inputs.clone());
    let outcome = bad().start().result();
    assert_eq!(outcome.message, "failed to interpolate job inputs: \"job.inputs.none\" does not exist");
    assert_eq!(outcome.failure_reason, Some(FailureReason::RunnerConfigurationError));
    let off = bad().variable("FF_ENABLE_JOB_INPUTS_INTERPOLATION", "false").run().succeeded();
    assert_eq!(off.output(), "${{ job.inputs.none }}\n");
}

#[test]
fn j505_scripts_know_how_the_job_stands() {
    for (script, status) in [("true", "success"), ("false", "failed")] {
        let ended = Job::new(&["echo $CI_JOB_STATUS", script]).after(&["echo $CI_JOB_STATUS"]).run();
        assert_eq!(ended.output(), "running\n");
        assert!(ended.section("after_script").ends_with(&format!("\n{status}\n")), "{}", ended.log);
    }
}

#[test]
fn j502_j503_handed_over_values_reach_every_later_stage_of_this_job_only() {
    let script = &[
        "echo 'NAME=$HOME `id`' >> \"$GITLAB_ENV\"",
        "echo 'FOLDER=out' >> \"$GITLAB_ENV\"",
        "mkdir out; echo x > out/f",
    ];
    let cache = json!([{"key": "k", "paths": ["$FOLDER/"], "policy": "push"}]);
    let first = Job::new(script).set("cache", cache).after(&["echo \"$NAME\""]).run().succeeded();
    assert!(first.section("after_script").ends_with("\n$HOME `id`\n"), "{}", first.log);
    assert!(first.section("archive_cache").contains("found 2 matching"), "{}", first.log);
    let second = Job::new(&["echo \"[$NAME]\""]).after_job(first).run().succeeded();
    assert_eq!(second.output(), "[]\n");
}

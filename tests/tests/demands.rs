//! What a job's payload asks for, and what becomes of it on the way through the whole pipe.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobReport, JobSpec, JobStatus};
use serde_json::json;
use tests::{World, trace};

async fn run(world: &World, spec: JobSpec) -> (JobReport, String) {
    let job = world.run(spec).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    (job, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn j156_inputs_choose_the_image_and_a_bad_one_fails_the_job_before_its_first_line() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let inputs = json!([{"key": "name", "value": {"type": "string", "content": "chosen"}}]);
    let image = json!({"name": "${{ job.inputs.name }}:1"});
    let spec = JobSpec::script(["echo ${{ job.inputs.name }} $CI_JOB_IMAGE"]);
    let (job, log) = run(&world, spec.payload(json!({"inputs": inputs, "image": image}))).await;
    assert_eq!(job.status, JobStatus::Success, "{log}");
    assert!(log.contains("Using Kubernetes executor with image chosen:1 ..."), "{log}");
    assert!(log.contains("\nchosen chosen:1\n"), "{log}");

    let spec = JobSpec::script(["echo ${{ job.inputs.none }}"]).payload(json!({"inputs": inputs}));
    let (job, log) = run(&world, spec).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"));
    assert_eq!(
        log,
        "\u{1b}[31;1mERROR: Job failed: failed to interpolate job inputs: \"job.inputs.none\" does not exist\u{1b}[0;m\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_runner_can_do_is_refused_without_a_pod() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let options = json!({"image": {"name": "a", "executor_opts": {"docker": {"speed": 9}}}});
    for (payload, text) in [
        (json!({"run": "[{\"name\":\"x\"}]"}), "the `run` and `script` keywords cannot be used together\n"),
        (
            options,
            "Unsupported \"image\" options [speed] for \"docker executor\"; supported options are [platform user]\n",
        ),
    ] {
        let (job, log) = run(&world, JobSpec::script(["echo never"]).payload(payload)).await;
        assert_eq!(log, text);
        assert_eq!((job.failure_reason.as_deref(), job.exit_code), (Some("runner_system_failure"), Some(3)));
    }
    let payload = json!({"run": "[{\"name\":\"x\"}]", "steps": null});
    let (job, log) = run(&world, JobSpec::default().payload(payload)).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"));
    assert!(log.contains("Running with gitlab-runner") && log.contains("the `run` keyword is not supported"), "{log}");
    assert!(!world.kube.requests().iter().any(|request| request.method == "POST"), "no pod was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn j107_j108_a_pod_that_takes_longer_than_the_runner_allows_ends_the_job_as_timed_out() {
    let builder = World::builder().runner("prepare_timeout = \"1s\"");
    let world = builder.kube(|kube| kube.unschedulable("0/3 nodes are available")).start().await;
    let _pipe = world.pipe();
    let (job, log) = run(&world, JobSpec::script(["echo never"]).after_script(["echo never"])).await;
    assert_eq!(job.failure_reason.as_deref(), Some("job_execution_timeout"), "{log}");
    assert!(log.ends_with("ERROR: Job failed: prepare timeout: exceeded timeout of 1s\u{1b}[0;m\n"), "{log}");
    assert!(!log.contains("never"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j132_a_wrong_flag_is_told_once_and_resolved_values_are_exported() {
    let world = World::builder().runner("[runners.feature_flags]\nFF_SCRIPT_SECTIONS = true\n").start().await;
    let _pipe = world.pipe();
    let spec = JobSpec::script(["echo flags $FF_TIMESTAMPS $FF_SCRIPT_SECTIONS $FF_HASH_CACHE_KEYS"])
        .variable("FF_HASH_CACHE_KEYS", "maybe")
        .variable("FF_SCRIPT_SECTIONS", "false")
        .variable("FF_CONCRETE", "1");
    let (job, log) = run(&world, spec).await;
    assert_eq!(job.status, JobStatus::Success, "{log}");
    assert!(log.contains("\nflags true true false\n"), "{log}");
    assert!(log.contains("  feature flags: FF_CONCRETE:true, FF_SCRIPT_SECTIONS:true\u{1b}[0;m\n"), "{log}");
    let warning = "FF_HASH_CACHE_KEYS: could not parse feature flag, expected bool, got maybe";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    assert_eq!(log.matches("FF_CONCRETE has no effect in this runner").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j152_images_are_in_the_runners_own_log_only_with_the_flag() {
    let world = World::start().await;
    let pipe = world.pipe();
    let services = json!({"services": [{"name": "db:$TAG", "command": ["sleep", "60"]}]});
    let spec = |flag: &str, image: &str| {
        let spec = JobSpec::script(["true"]).image(image).variable("TAG", "16");
        spec.variable("FF_LOG_IMAGES_CONFIGURED_FOR_JOB", flag).payload(services.clone())
    };
    for (flag, image) in [("true", "told:$TAG"), ("false", "untold:$TAG")] {
        assert_eq!(world.run(spec(flag, image)).await.status, JobStatus::Success);
    }
    pipe.drain().await;
    let own = world.report().printed("runner-exec-k8s.stderr");
    assert!(own.contains("image `told:16`, services [\"db:16\"]"), "{own}");
    assert!(!own.contains("image `untold"), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j539_a_masked_value_that_is_the_final_text_is_masked_there() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let spec = JobSpec::script(["exit 3"]).masked("TEXT", "Job failed: command terminated with exit code 3");
    let (job, log) = run(&world, spec).await;
    assert_eq!(job.exit_code, Some(3));
    assert!(log.ends_with("\u{1b}[31;1mERROR: [MASKED]\u{1b}[0;m\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_many_megabytes_runs_and_its_secrets_go_with_its_pod() {
    let world = World::start().await;
    let _pipe = world.pipe();
    // Random enough that no compression makes one Secret of it.
    let mut state = 1u64;
    let noise = (0..5 << 20).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    });
    let noise: String = noise.filter(|c| c.is_ascii_alphanumeric()).collect();
    let script = format!("noise={noise}; echo ${{#noise}}");
    let (job, log) =
        run(&world, JobSpec::script([script, "echo end of ${#LONG}".to_owned()]).variable("LONG", "x".repeat(200_000)))
            .await;
    assert_eq!(job.status, JobStatus::Success, "{:.2000}", log);
    assert!(trace::text(&world.gitlab.trace(job.id)).contains("\nend of 200000\n"), "the end is missing");
    world.cluster_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_finds_the_jobs_file_variables_at_their_paths() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let read = world.path("read").display().to_string();
    let script = format!("until [ -s \"$CERT\" ]; do sleep 0.1; done; cat \"$CERT\" > {read}; sleep 60");
    let payload = json!({
        "services": [{"name": "db:1", "command": ["sh", "-c", script]}],
        "variables": [{"key": "CERT", "value": "the certificate", "file": true, "public": true}],
    });
    let spec = JobSpec::script([format!("until [ -s {read} ]; do sleep 0.1; done; cat {read}; echo; echo $CERT")]);
    let (job, log) = run(&world, spec.payload(payload)).await;
    assert_eq!(job.status, JobStatus::Success, "{log}");
    assert!(log.contains("\nthe certificate\n") && log.contains(".tmp/CERT\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_cannot_be_had_fail_the_job_with_gits_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let done =
            std::process::Command::new("git").arg("-C").arg(dir.path()).args(identity).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    let world = World::builder().gitlab(|gitlab| gitlab.project("group/app", dir.path())).start().await;
    let _pipe = world.pipe();
    let host = world.gitlab.url().trim_start_matches("http://").to_owned();
    for (url, words) in [
        (format!("http://gitlab-ci-token:wrong-password@{host}/group/app.git"), "Authentication failed for"),
        (
            "http://gitlab-ci-token:wrong-password@127.0.0.1:1/group/app.git".to_owned(),
            "Failed to connect to 127.0.0.1",
        ),
        (format!("http://gitlab-ci-token:wrong-password@{host}/group/none.git"), "fatal: "),
    ] {
        let spec = JobSpec::script(["echo never"]).project("group/app").payload(json!({"git_info": {"repo_url": url}}));
        let (job, log) = run(&world, spec).await;
        assert_eq!((job.failure_reason.as_deref(), job.exit_code), (Some("script_failure"), Some(128)), "{log}");
        assert!(log.contains(words), "{words} is missing in\n{log}");
        assert!(!log.contains("wrong-password") && !log.contains("never"), "{log}");
    }
}

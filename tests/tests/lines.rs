//! The pipe as a pipe: jobs from files, filters in the middle, bad lines, dry runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use serde_json::{Value, json};
use tests::{Finished, World, command, run_with_input, trace};

/// A payload that needs no server.
fn payload(script: &[&str]) -> Value {
    json!({
        "id": 42, "token": "glcbt-64_not-a-real-token",
        "job_info": {"name": "test", "project_id": 7},
        "git_info": {"repo_url": "http://gitlab-ci-token:x@gitlab.example.com/group/app.git", "sha": "", "ref": "main"},
        "variables": [
            {"key": "CI_SERVER_URL", "value": "https://gitlab.example.com", "public": true},
            {"key": "GIT_STRATEGY", "value": "none", "public": true},
            {"key": "SECRET", "value": "s3cret-value-42", "masked": true},
        ],
        "steps": [{"name": "script", "script": script}],
        "features": {"trace_sections": true},
    })
}

fn exec(world: &World, args: &[&str], input: &str) -> Finished {
    let mut exec = command("runner-exec-k8s");
    exec.env("HOME", world.path(".")).args(["--kubeconfig", world.path("kubeconfig").to_str().unwrap()]);
    run_with_input(exec.args(["--image", tests::BUILD_IMAGE, "--namespace", world.kube.namespace()]).args(args), input)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_job_runs_again_without_a_server() {
    let world = World::start().await;
    let input = format!("{}\n", payload(&["echo hello; echo $SECRET", "exit 7"]));
    let done = exec(&world, &["--format", "text"], &input).expect(1);
    for line in ["$ exit 7", "hello\n", "\n[MASKED]\n", "ERROR: Job failed: command terminated with exit code 7"] {
        assert!(done.stdout.contains(line), "{line:?} is missing in\n{}", done.stdout);
    }
    assert!(!done.stdout.contains("s3cret-value-42"));
    exec(&world, &["--format", "text", "--ignore-job-result"], &input).expect(0);
    world.cluster_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_from_a_file_are_whole_lines_that_end() {
    let world = World::start().await;
    let done = exec(&world, &["--format", "ndjson"], &format!("{}\n", payload(&["echo hello"]))).expect(0);
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!((types.first(), types.last()), (Some(&"hello"), Some(&"end")));
    for kind in ["open", "pod", "log", "stage", "close"] {
        assert!(types.contains(&kind), "no `{kind}` in {types:?}");
    }
    assert!(lines.iter().all(|line| line["v"] == 1));
    // The lengths in `close` are those of the texts.
    let close = lines.iter().find(|line| line["type"] == "close").unwrap();
    for source in ["executor", "pod"] {
        let texts = lines.iter().filter(|line| line["type"] == "log" && line["source"] == source);
        let sum: usize = texts.map(|line| line["text"].as_str().unwrap().len()).sum();
        assert_eq!(close["sources"][source], sum, "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_and_the_other_jobs_go_on() {
    let world = World::start().await;
    let good = payload(&["echo hello"]).to_string();
    let long = format!("{{\"v\":1,\"type\":\"job\",\"x\":\"{}\"}}", "x".repeat(17 * 1024 * 1024));
    let input = format!("nonsense\n{long}\n{{\"id\":\"glcbt-secret\",\"token\":1,\"job_info\":0}}\n{good}\n");
    let done = exec(&world, &["--format", "text"], &input).expect(1);
    assert!(done.stdout.contains("Job succeeded"), "{}", done.stdout);
    for number in ["line 1:", "line 2:", "line 3:"] {
        assert!(done.stderr.contains(number), "{number} is missing in\n{}", done.stderr);
    }
    assert!(!done.stderr.contains("glcbt-secret"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_between_the_tools_changes_nothing() {
    if std::process::Command::new("jq").arg("--version").output().is_err() {
        return; // the pipe needs no jq; where there is one, it must not disturb
    }
    let world = World::start().await;
    let id = world.gitlab.enqueue(JobSpec::script(["printf 'a\\000b\\r\\n'", "seq 1 2000"])).await.unwrap();
    let tools =
        ["runner-poll", "runner-exec-k8s", "runner-trace"].map(|tool| tests::program(tool).display().to_string());
    let script =
        format!("{} --once | jq -c --unbuffered . | {} | jq -c --unbuffered . | {}", tools[0], tools[1], tools[2]);
    let mut shell = world.command("runner-poll");
    let mut sh = std::process::Command::new("sh");
    sh.env_clear().args(["-c", &script]);
    for (key, value) in shell.get_envs() {
        if let Some(value) = value {
            sh.env(key, value);
        }
    }
    shell.env_clear();
    let done = tokio::task::spawn_blocking(move || run_with_input(&mut sh, "")).await.unwrap().expect(0);
    assert!(done.stdout.contains("\"done\""), "{}", done.stdout);
    let job = world.gitlab.job(id).unwrap();
    assert_eq!(job.status, JobStatus::Success);
    let log = world.gitlab.trace(id);
    assert!(log.windows(5).any(|bytes| bytes == b"a\0b\r\n"));
    assert_eq!(trace::text(&log).lines().filter(|line| line.trim().parse::<u32>().is_ok()).count(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_manifests_without_secrets() {
    let world = World::start().await;
    let input = format!("{}\n", payload(&["echo hello"]));
    let shown = exec(&world, &["--dry-run"], &input).expect(0);
    for text in [
        "kind: Secret",
        "kind: Pod",
        &format!("namespace: {}", world.kube.namespace()),
        "image: localhost/build:1",
        "[redacted]",
    ] {
        assert!(shown.stdout.contains(text), "{text:?} is missing in\n{}", shown.stdout);
    }
    for secret in ["glcbt-64_not-a-real-token", "s3cret-value-42"] {
        assert!(!shown.stdout.contains(secret));
    }
    assert_eq!(world.kube.requests().len(), 0, "no cluster was asked");
    exec(&world, &["--dry-run", "--show-secrets"], &input).expect(0);
    if std::process::Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_ok_and(|out| out.status.success())
    {
        let mut kubectl = std::process::Command::new("kubectl");
        kubectl.env("KUBECONFIG", world.path("kubeconfig")).env("HOME", world.path("."));
        // Without validation: the fake cluster has no schemas to download.
        let args = ["create", "--dry-run=client", "--validate=false", "-f", "-"];
        let accepted = run_with_input(kubectl.args(args), &shown.stdout).expect(0);
        assert!(accepted.stdout.contains("pod/runner-project-7-job-42 created (dry run)"), "{}", accepted.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_taken_into_a_file_runs_from_that_file() {
    let world = World::start().await;
    world.gitlab.enqueue(JobSpec::script(["echo from a file"])).await.unwrap();
    let taken = run_with_input(world.command("runner-poll").arg("--once"), "").expect(0);
    let file = world.path("job.json");
    std::fs::write(&file, taken.stdout).unwrap();
    let mut exec = world.command("runner-exec-k8s");
    exec.stdin(std::fs::File::open(&file).unwrap()).args(["--format", "ndjson"]);
    let output = tokio::task::spawn_blocking(move || exec.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("from a file"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_finished_is_not_run_again() {
    let world = World::start().await;
    let id = world.gitlab.enqueue(JobSpec::script(["echo once"])).await.unwrap();
    let taken = run_with_input(world.command("runner-poll").arg("--once"), "").expect(0).stdout;
    // runner-trace has delivered it and removed its folder while this line was on its way.
    std::fs::remove_dir_all(world.job_folder(id)).unwrap();
    let mut exec = world.command("runner-exec-k8s");
    let done = run_with_input(exec.args(["--format", "ndjson"]), &taken).expect(0);
    assert!(!done.stdout.contains("\"open\""), "{}", done.stdout);
    assert_eq!(world.kube.pods().await.len(), 0);
}

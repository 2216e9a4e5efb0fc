//! Services beside a job: how they are reached, and what happens when they end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobReport, JobSpec, JobStatus};
use serde_json::{Value, json};
use tests::{World, trace};

const LISTEN: &str = "localhost/listen:1";

/// Runs `script` in an image with `wget` beside `services`; the job and its log.
async fn run(world: &World, services: Value, script: &[&str]) -> (JobReport, String) {
    let spec = JobSpec::script(script.iter().copied()).image("localhost/bb:1").timeout(60);
    let job = world.run(spec.payload(json!({"services": services}))).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    (job, log)
}

fn variable(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "public": false})
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn services_are_reached_by_image_and_alias_and_run_what_the_job_says() {
    let world = World::start().await;
    let pipe = world.pipe();
    let page = "mkdir /w; echo \"own $SECRET\" > /w/index.html; exec httpd -f -p 8083 -h /w";
    let services = json!([
        {"name": LISTEN, "alias": "", "variables": [variable("HEALTHCHECK_TCP_PORT", "80")]},
        {"name": LISTEN, "alias": "web www", "command": ["8081"], "variables": [variable("HEALTHCHECK_TCP_PORT", "8081")]},
        {"name": LISTEN, "alias": "set", "variables": [variable("PORT", "8082"), variable("HEALTHCHECK_TCP_PORT", "8082")]},
        {"name": LISTEN, "alias": "own", "entrypoint": ["/bin/sh", "-c"], "command": [page],
         "variables": [variable("SECRET", "page of 42"), variable("HEALTHCHECK_TCP_PORT", "8083")]},
    ]);
    let fetch = ["localhost-listen:80", "web:8081", "www:8081", "set:8082", "own:8083"];
    let script: Vec<String> =
        fetch.iter().map(|place| format!("wget -qO- http://{place}/ | sed 's/^/{place} says /'")).collect();
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let (job, log) = run(&world, services, &script).await;
    assert_eq!(job.status, JobStatus::Success, "{log}");
    for place in &fetch[..4] {
        assert!(log.contains(&format!("\n{place} says listening\n")), "{place}:\n{log}");
    }
    assert!(log.contains("\nown:8083 says own page of 42\n"), "{log}");
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_service_that_ends_does_not_end_the_job() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let services = json!([{"name": LISTEN, "alias": "gone", "entrypoint": ["/bin/sh", "-c", "exit 3"]}]);
    // Until after the kubelet has noticed.
    let (job, log) = run(&world, services, &["sleep 3", "echo still here"]).await;
    assert!(job.status == JobStatus::Success && log.contains("\nstill here\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_script_waits_for_a_service_with_a_health_check() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let slow = ["/bin/sh", "-c", "sleep 4; exec httpd -f -p 8080 -h /srv"];
    let services = json!([
        {"name": LISTEN, "alias": "slow", "entrypoint": slow, "variables": [variable("HEALTHCHECK_TCP_PORT", "8080")]},
    ]);
    let (job, log) = run(&world, services, &["wget -qO- http://slow:8080/"]).await;
    assert!(job.status == JobStatus::Success && log.contains("\nlistening\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_service_that_ends_before_it_is_healthy_fails_the_job() {
    let world = World::start().await;
    let pipe = world.pipe();
    let services = json!([
        {"name": LISTEN, "alias": "broken", "entrypoint": ["/bin/sh", "-c", "exit 3"],
         "variables": [variable("HEALTHCHECK_TCP_PORT", "8080")]},
    ]);
    let (job, log) = run(&world, services, &["echo never"]).await;
    assert_eq!(
        (job.status, job.failure_reason.as_deref()),
        (JobStatus::Failed, Some("runner_system_failure")),
        "{log}"
    );
    assert!(log.contains("Health check aborted due to error: Error in container broken: exit code: 3"), "{log}");
    assert!(!log.contains("\nnever\n"), "{log}");
    world.leaves_nothing(pipe).await;
}

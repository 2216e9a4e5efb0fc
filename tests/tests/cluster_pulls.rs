//! Images that are pulled, or cannot be: registries, policies and credentials as the kubelet knows them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobReport, JobSpec, JobStatus};
use serde_json::json;
use tests::registry::Registry;
use tests::{World, trace};

const SH: &str = "localhost/bb:1";

async fn run(world: &World, spec: JobSpec) -> (JobReport, String) {
    let job = world.run(spec).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    (job, log)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn an_image_or_tag_that_does_not_exist_is_named() {
    let registry = Registry::start().await;
    let world = World::start().await;
    let pipe = world.pipe();
    for image in [format!("{}/nothing:1", registry.address()), registry.image().replace(":1", ":2")] {
        let (job, log) = run(&world, JobSpec::script(["true"]).image(&image)).await;
        assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"), "{image}:\n{log}");
        assert!(log.contains(&format!("pulling image \"{image}\" for container build: image pull failed")), "{log}");
    }
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn each_pull_policy_does_what_it_says() {
    let registry = Registry::start().await;
    let image = registry.image();
    // The helper's image is on the node only: the policy under test is the service's.
    let allowed =
        "allowed_pull_policies = [\"always\", \"if-not-present\", \"never\"]\npull_policy = \"if-not-present\"";
    let world = World::builder().kubernetes(allowed).start().await;
    let _pipe = world.pipe();
    for (policy, success, pulled) in [
        ("never", false, false),
        ("if-not-present", true, true),
        ("if-not-present", true, false),
        ("always", true, true),
    ] {
        let before = registry.pulls();
        let service =
            json!({"name": image, "alias": "s", "pull_policy": [policy], "entrypoint": ["/bin/sleep", "600"]});
        let (job, log) = run(&world, JobSpec::script(["true"]).payload(json!({"services": [service]}))).await;
        assert_eq!(job.status == JobStatus::Success, success, "{policy}:\n{log}");
        assert_eq!(registry.pulls() > before, pulled, "{policy}: {} pulls, {before} before", registry.pulls());
        if !success {
            assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"));
            assert!(log.contains(&format!("pulling image \"{image}\" for container s: image pull failed")), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_next_policy_is_tried_for_each_container_until_the_job_runs() {
    // Neither image can be had from where its name points to; both are on the node.
    let world = World::builder().kubernetes("pull_policy = [\"always\", \"if-not-present\"]").start().await;
    let pipe = world.pipe();
    let (job, log) = run(&world, JobSpec::script(["echo hello"]).image(SH)).await;
    assert!(job.status == JobStatus::Success && log.contains("\nhello\n"), "{log}");
    for container in ["helper", "build"] {
        let attempt = format!("image for container \"{container}\"");
        assert!(log.lines().any(|line| line.contains("Trying \"IfNotPresent\"") && line.contains(&attempt)), "{log}");
    }
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn credentials_of_the_job_and_of_docker_auth_config_open_a_registry() {
    let world = World::start().await;
    let pipe = world.pipe();
    let closed = Registry::with_password("reader", "pull-password-42").await;
    let (job, log) = run(&world, JobSpec::script(["true"]).image(closed.image())).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"), "{log}");

    let credentials = json!([
        {"type": "registry", "url": closed.address(), "username": "reader", "password": "pull-password-42"},
    ]);
    let spec = JobSpec::script(["echo let in"]).image(closed.image()).payload(json!({"credentials": credentials}));
    let (job, log) = run(&world, spec).await;
    assert!(job.status == JobStatus::Success && log.contains("\nlet in\n"), "{log}");

    let other = Registry::with_password("reader", "pull-password-43").await;
    let auths = json!({"auths": {other.address(): {"username": "reader", "password": "pull-password-43"}}}).to_string();
    let spec = JobSpec::script(["echo let in"]).image(other.image()).masked("DOCKER_AUTH_CONFIG", auths);
    let (job, log) = run(&world, spec).await;
    assert!(job.status == JobStatus::Success && log.contains("\nlet in\n"), "{log}");
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_registry_that_is_away_for_a_while_is_waited_for() {
    let address = Registry::free_address().await;
    let world = World::start().await;
    let _pipe = world.pipe();
    let spec = JobSpec::script(["echo hello"]).image(format!("{address}/bb:1"));
    let id = world.gitlab.enqueue(spec).await.unwrap();
    world.kube.wait_for_pods(|pods| format!("{pods:?}").contains("ErrImagePull")).await;
    let _registry = Registry::at(address).await;
    let job = world.finished(id).await;
    let log = trace::text(&world.gitlab.trace(id));
    assert!(job.status == JobStatus::Success && log.contains("\nhello\n"), "{log}");
}

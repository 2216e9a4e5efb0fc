//! Images of many kinds as a real container runtime starts them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use serde_json::json;
use tests::{BUILD_IMAGE, World, trace};

const SH: &str = "localhost/bb:1";
const NO_SHELL: &str = "localhost/noshell:1";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn scripts_run_by_bash_by_sh_alone_and_as_another_user() {
    let world = World::start().await;
    let pipe = world.pipe();
    for (image, script, expected) in [
        (BUILD_IMAGE, "echo \"shell ${BASH_VERSION:+bash} user $(id -u)\"", "\nshell bash user 0\n"),
        (SH, "echo \"shell ${BASH_VERSION:-sh} user $(id -u)\"", "\nshell sh user 0\n"),
        (
            "localhost/nonroot:1",
            "echo mine > file; echo \"user $(id -u) owns $(stat -c %u file)\"",
            "\nuser 1000 owns 1000\n",
        ),
    ] {
        let job = world.run(JobSpec::script([script]).image(image)).await;
        let log = trace::text(&world.gitlab.trace(job.id));
        assert!(job.status == JobStatus::Success && log.contains(expected), "{image}:\n{log}");
    }
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_job_may_choose_its_user() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let image = json!({"name": SH, "executor_opts": {"kubernetes": {"user": "1234:5678"}}});
    let spec = JobSpec::script(["echo mine > file; echo \"ids $(id -u):$(id -g)\""]).payload(json!({"image": image}));
    let job = world.run(spec).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(job.status == JobStatus::Success && log.contains("\nids 1234:5678\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn an_entrypoint_is_used_where_the_job_wants_it() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let entrypoint = json!(["/bin/sh", "-c", "export ENTERED=yes; exec \"$@\"", "entry"]);
    for (honor, expected) in [("false", "\nentered no\n"), ("true", "\nentered yes\n")] {
        let image = json!({"name": SH, "entrypoint": entrypoint});
        let spec = JobSpec::script(["echo \"entered ${ENTERED:-no}\""]).payload(json!({"image": image}));
        let job = world.run(spec.variable("FF_KUBERNETES_HONOR_ENTRYPOINT", honor)).await;
        let log = trace::text(&world.gitlab.trace(job.id));
        assert!(job.status == JobStatus::Success && log.contains(expected), "{honor}:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn an_image_without_a_shell_is_named_with_the_reason() {
    let world = World::start().await;
    let pipe = world.pipe();
    let job = world.run(JobSpec::script(["true"]).image(NO_SHELL)).await;
    assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("runner_configuration_error")));
    let log = trace::text(&world.gitlab.trace(job.id));
    let expected = "container \"build\" with image \"localhost/noshell:1\" cannot start: StartError: ";
    assert!(log.contains(expected) && log.contains("\"sh\": executable file not found"), "{log}");
    world.leaves_nothing(pipe).await;
}

/// The init container needs no shell in the image; the job's script does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn an_init_container_brings_the_helper_into_images_of_every_kind() {
    let world = World::start().await;
    let pipe = world.pipe_with_exec(&["--inject", "init-container"]);
    let job = world.run(JobSpec::script(["echo hello"]).image("localhost/nonroot:1")).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(job.status == JobStatus::Success && log.contains("\nhello\n"), "{log}");

    let job = world.run(JobSpec::script(["echo hello"]).image(NO_SHELL)).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    assert_eq!(job.status, JobStatus::Failed);
    assert!(log.contains("shell not found: the image has none of "), "{log}");
    world.leaves_nothing(pipe).await;
}

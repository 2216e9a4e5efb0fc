//! Jobs that are stopped: by GitLab, by a file, by the clock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use fake_gitlab::{JobSpec, JobStatus};
use tests::{World, trace};

/// A job that would run for minutes. It talks, because GitLab tells of a cancel only in its answers: for a silent job that is the
/// next keep-alive, up to half a minute later.
fn long() -> JobSpec {
    let script = ["echo begun", "for i in $(seq 1000); do echo tick $i; sleep 0.3; done", "echo never"];
    JobSpec::script(script).after_script(["echo after with $CI_JOB_STATUS"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_gitlab_stops_the_script_and_after_script_runs() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(long()).await.unwrap();
    world.log_shows(id, "begun").await;
    world.gitlab.cancel(id);
    let job = world.finished(id).await;
    assert_eq!(job.status, JobStatus::Canceled);
    let log = trace::text(&world.gitlab.trace(id));
    assert!(log.contains("after with canceled") && !log.contains("\nnever\n"), "{log}");
    assert!(log.contains("ERROR: Job failed: canceled"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn touching_the_cancel_file_stops_the_job() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(long()).await.unwrap();
    world.log_shows(id, "begun").await;
    std::fs::write(world.job_folder(id).join("cancel"), "").unwrap();
    let job = world.finished(id).await;
    assert_eq!(job.status, JobStatus::Failed, "GitLab did not ask for it");
    let log = trace::text(&world.gitlab.trace(id));
    assert!(log.contains("after with canceled"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_ignores_the_signal_is_killed_before_after_script() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let script = ["trap '' TERM", "echo begun", "while :; do echo still here; sleep 0.2; done"];
    let id = world.gitlab.enqueue(JobSpec::script(script).after_script(["echo after"])).await.unwrap();
    world.log_shows(id, "begun").await;
    world.gitlab.cancel(id);
    assert_eq!(world.finished(id).await.status, JobStatus::Canceled);
    assert!(trace::text(&world.gitlab.trace(id)).contains("\nafter\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_job_whose_runner_cannot_wait_is_aborted() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(long()).await.unwrap();
    world.log_shows(id, "begun").await;
    // In one step, as runner-trace does it: an empty file would ask for less.
    std::fs::write(world.path("level"), "canceled").unwrap();
    std::fs::rename(world.path("level"), world.job_folder(id).join("cancel")).unwrap();
    let job = world.finished(id).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert!(!trace::text(&world.gitlab.trace(id)).contains("after with"));
    world.cluster_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_time_limit_ends_it() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let began = Instant::now();
    let job = world.run(long().timeout(10)).await;
    assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("job_execution_timeout")));
    assert!(began.elapsed().as_secs() >= 10, "not before its time");
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(log.contains("ERROR: Job failed: execution took longer than 10s seconds"), "{log}");
    assert!(!log.contains("after with"), "nothing runs after the job's own limit:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_own_limit_leaves_time_for_after_script() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let job = world.run(long().variable("RUNNER_SCRIPT_TIMEOUT", "1s")).await;
    assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("job_execution_timeout")));
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(log.contains("after with timedout"), "{log}");
}

//! Programs are killed, connections break: jobs go on and end with their true result and log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{Fault, JobSpec, JobStatus};
use rustix::process::Signal;
use tests::counting::{counted, counting};
use tests::{Pipe, Tool, World, trace};

async fn lost(mut pipe: Pipe, killed: Tool) {
    let codes = pipe.wait().await;
    for (tool, code) in [Tool::Poll, Tool::Exec, Tool::Trace].into_iter().zip(codes) {
        assert_eq!(code, if tool == killed { 137 } else { 75 }, "{tool:?} after {killed:?} was killed: {codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_program_loses_nothing() {
    for killed in [Tool::Poll, Tool::Exec, Tool::Trace] {
        let world = World::start().await;
        let pipe = world.pipe();
        let id = world.gitlab.enqueue(counting(40)).await.unwrap();
        world.log_shows(id, "line 10").await;
        pipe.signal(killed, Signal::KILL);
        lost(pipe, killed).await;
        let pipe = world.pipe();
        let job = world.finished(id).await;
        assert_eq!((job.status, job.exit_code), (JobStatus::Failed, Some(5)), "{killed:?} was killed");
        assert_eq!(counted(&world.gitlab.trace(id)), (1..=40).collect::<Vec<_>>(), "{killed:?} was killed");
        assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
        pipe.drain().await;
        world.cluster_is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ended_while_nobody_watched_is_reported_as_it_ended() {
    let world = World::start().await;
    let pipe = world.pipe();
    let id = world.gitlab.enqueue(counting(20)).await.unwrap();
    world.log_shows(id, "line 3").await;
    drop(pipe);
    let done = |pods: &[serde_json::Value]| {
        let text = format!("{pods:?}");
        text.contains("exitCode")
            || pods.iter().all(|pod| pod["status"]["containerStatuses"][1]["state"]["terminated"].is_object())
    };
    tokio::time::timeout(tests::PATIENCE, world.kube.wait_for_pods(done)).await.expect("the script ends by itself");
    let _pipe = world.pipe();
    let job = world.finished(id).await;
    assert_eq!((job.status, job.exit_code), (JobStatus::Failed, Some(5)));
    assert_eq!(counted(&world.gitlab.trace(id)), (1..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlab_in_trouble_gets_everything_in_the_end() {
    let world = World::start().await;
    world.gitlab.inject(Fault::on("PATCH", "/api/v4/jobs/*/trace").times(3).status(502));
    world.gitlab.inject(Fault::on("PUT", "/api/v4/jobs/*").nth(2).times(2).status(500));
    let _pipe = world.pipe();
    let job = world.run(counting(10)).await;
    assert_eq!(job.exit_code, Some(5));
    assert_eq!(counted(&world.gitlab.trace(job.id)), (1..=10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_gitlab_lost_is_sent_again() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(counting(60)).await.unwrap();
    world.log_shows(id, "line 5").await;
    world.gitlab.inject(Fault::on("PATCH", "/api/v4/jobs/*/trace").lose_trace());
    let job = world.finished(id).await;
    assert_eq!(counted(&world.gitlab.trace(id)), (1..=60).collect::<Vec<_>>());
    assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_somebody_deletes_fails_its_job_with_the_reason() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(JobSpec::script(["echo begun", "sleep 300"])).await.unwrap();
    world.log_shows(id, "begun").await;
    world.kube.delete_pod(&world.kube.only_pod().await).await;
    let job = world.finished(id).await;
    assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("runner_system_failure")));
    let log = trace::text(&world.gitlab.trace(id));
    assert!(log.contains("begun\n") && log.contains("is being deleted"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_pipe_leaves_the_jobs_running() {
    let world = World::start().await;
    let pipe = world.pipe();
    let id = world.gitlab.enqueue(counting(30)).await.unwrap();
    world.log_shows(id, "line 2").await;
    let mut pipe = pipe;
    for tool in [Tool::Poll, Tool::Exec, Tool::Trace] {
        pipe.signal(tool, Signal::TERM);
    }
    assert!(pipe.wait().await.iter().all(|code| [143, 75].contains(code)));
    assert_eq!(world.kube.pods().await.len(), 1, "the pod goes on");
    let _pipe = world.pipe();
    assert_eq!(world.finished(id).await.exit_code, Some(5));
    assert_eq!(counted(&world.gitlab.trace(id)), (1..=30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_belongs_to_no_job_is_swept() {
    let world = World::start().await;
    let pipe = world.pipe();
    let id = world.gitlab.enqueue(JobSpec::script(["echo begun", "sleep 300"])).await.unwrap();
    world.log_shows(id, "begun").await;
    drop(pipe);
    std::fs::remove_dir_all(world.job_folder(id)).unwrap();
    let _pipe = world.pipe();
    // The next job in that namespace makes the executor look.
    world.run(JobSpec::script(["true"])).await;
    world.cluster_is_empty().await;
}

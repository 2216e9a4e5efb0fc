//! Jobs that run to their end: result, exit code, log, clean-up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use tests::{Tool, World, is_empty, trace};

fn text(world: &World, id: u64) -> String {
    trace::text(&world.gitlab.trace(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_succeeds_and_leaves_nothing_behind() {
    let world = World::start().await;
    let pipe = world.pipe();
    let job = world.run(JobSpec::script(["echo hello from $CI_JOB_NAME"]).name("greeting")).await;
    assert_eq!(job.status, JobStatus::Success);
    assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
    let log = text(&world, job.id);
    for line in ["Running with gitlab-runner", "$ echo hello from $CI_JOB_NAME", "hello from greeting", "Job succeeded"]
    {
        assert!(log.contains(line), "{line:?} is missing in\n{log}");
    }
    assert_eq!(pipe.drain().await, [0, 0, 0]);
    assert!(is_empty(&world.state().join("jobs")), "the job's folder is gone");
    world.cluster_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_exit_code_reaches_gitlab() {
    let world = World::start().await;
    let pipe = world.pipe();
    for (script, exit_code) in [("exit 7", 7), ("(exit 42)", 42), ("no-such-command", 127), ("kill -9 $$", 137)] {
        let job = world.run(JobSpec::script([script])).await;
        assert_eq!((job.status, job.exit_code), (JobStatus::Failed, Some(exit_code)), "{script}");
        assert_eq!(job.failure_reason.as_deref(), Some("script_failure"), "{script}");
        let log = text(&world, job.id);
        assert!(log.contains(&format!("ERROR: Job failed: command terminated with exit code {exit_code}")), "{log}");
    }
    assert_eq!(pipe.drain().await, [0, 1, 1], "some job did not succeed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_stops_the_script_and_after_script_runs() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let spec = JobSpec::script(["echo one", "false", "echo two"]).after_script(["echo status is $CI_JOB_STATUS"]);
    let job = world.run(spec).await;
    let log = text(&world, job.id);
    assert_eq!(job.exit_code, Some(1));
    assert!(log.contains("\none\n") && !log.contains("\ntwo\n"), "{log}");
    assert!(log.contains("status is failed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_jobs_run_at_once() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(world.gitlab.enqueue(JobSpec::script(["echo begun", "sleep 600"])).await.unwrap());
    }
    // None of them ends by itself: all have begun only if they all run at one time.
    for &id in &ids {
        world.log_shows(id, "begun\n").await;
    }
    for &id in &ids {
        std::fs::write(world.job_folder(id).join("cancel"), "").unwrap();
    }
    for id in ids {
        assert_eq!(world.finished(id).await.status, JobStatus::Failed, "it was stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_once_takes_one_job_and_the_pipe_ends() {
    let world = World::start().await;
    let first = world.gitlab.enqueue(JobSpec::script(["true"])).await.unwrap();
    let second = world.gitlab.enqueue(JobSpec::script(["true"])).await.unwrap();
    let mut pipe = world.pipe_with(&["--once"]);
    assert_eq!(pipe.wait().await, [0, 0, 0]);
    assert_eq!(world.gitlab.job(first).unwrap().status, JobStatus::Success);
    assert_eq!(world.gitlab.job(second).unwrap().status, JobStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_and_limit_are_never_exceeded() {
    let world = World::builder().head("concurrent = 3\ncheck_interval = 1").runner("limit = 2").start().await;
    let other = world.gitlab.create_runner(fake_gitlab::RunnerSpec::default()).unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    world.write_config(&(config + &world.runner_table("second", &other, "limit = 2\n", "")));
    let _pipe = world.pipe();
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(world.gitlab.enqueue(JobSpec::script(["sleep 0.3"])).await.unwrap());
    }
    for id in ids {
        assert_eq!(world.finished(id).await.status, JobStatus::Success);
    }
    let (mut running, mut most) = (0_i32, 0);
    for event in world.gitlab.events() {
        match event.job.status {
            JobStatus::Running => running += 1,
            status if status.is_finished() => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    assert_eq!(most, 3, "three at once, never more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_uses_few_requests_of_the_api_server() {
    let world = World::start().await;
    let pipe = world.pipe();
    world.run(JobSpec::script(["sleep 1"])).await;
    let before = world.kube.requests().len();
    world.run(JobSpec::script(["sleep 1"])).await;
    pipe.drain().await;
    let requests = world.kube.requests();
    let of_job: Vec<_> = requests[before..].iter().filter(|request| !request.is_watch()).collect();
    assert!(of_job.len() <= 6, "{of_job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let world = World::start().await;
    let running = world.gitlab.enqueue(JobSpec::script(["echo begun", "sleep 3"])).await.unwrap();
    let mut pipe = world.pipe();
    world.log_shows(running, "begun").await;
    pipe.signal(Tool::Poll, rustix::process::Signal::QUIT);
    // The request under way may still have brought one.
    assert_eq!(pipe.wait_for(Tool::Poll).await, 0);
    let late = world.gitlab.enqueue(JobSpec::script(["true"])).await.unwrap();
    assert_eq!(pipe.wait().await, [0, 0, 0]);
    assert_eq!(world.gitlab.job(running).unwrap().status, JobStatus::Success);
    assert_eq!(world.gitlab.job(late).unwrap().status, JobStatus::Pending);
}

//! Pods that somebody takes away, in every stage of their job.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use fake_gitlab::{Fault, JobSpec, JobStatus};
use tests::{World, trace};

/// Longer than any test.
const STUCK: u64 = 600_000;

/// Where a job can be when its pod goes: what makes it stay there, and the text of its log that says that it is there.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Sources,
    Script,
    AfterScript,
    Uploads,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Sources, Self::Script, Self::AfterScript, Self::Uploads];

    fn job(self) -> JobSpec {
        let (script, after) = match self {
            Self::Script => ("echo begun; sleep 600", "true"),
            Self::AfterScript => ("true", "echo begun; sleep 600"),
            Self::Sources | Self::Uploads => ("echo x > x.txt", "true"),
        };
        JobSpec::script([script]).after_script([after]).project("group/app").archive(["x.txt"])
    }

    fn hold(self, world: &World) {
        match self {
            Self::Sources => world.gitlab.inject(Fault::on("GET", "/group/app.git/info/refs").delay_ms(STUCK)),
            Self::Uploads => world.gitlab.inject(Fault::on("POST", "/api/v4/jobs/*/artifacts").delay_ms(STUCK)),
            Self::Script | Self::AfterScript => {}
        }
    }

    fn shows(self) -> &'static str {
        match self {
            Self::Sources => "Fetching changes",
            Self::Script | Self::AfterScript => "begun\n",
            Self::Uploads => "Uploading artifacts",
        }
    }
}

fn repository(dir: &Path) {
    std::fs::write(dir.join("a.txt"), "a\n").unwrap();
    for args in [
        &["init", "-q", "-b", "main"][..],
        &["add", "-A"],
        &["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", "first"],
    ] {
        assert!(Command::new("git").args(args).current_dir(dir).status().unwrap().success());
    }
}

async fn is_lost(evict: bool, reasons: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    for stage in Stage::ALL {
        let world = World::builder().gitlab(|gitlab| gitlab.project("group/app", dir.path())).start().await;
        stage.hold(&world);
        let pipe = world.pipe();
        let id = world.gitlab.enqueue(stage.job()).await.unwrap();
        world.log_shows(id, stage.shows()).await;
        let pod = world.kube.only_pod().await;
        if evict {
            world.kube.real().evict(&pod).await;
        } else {
            world.kube.delete_pod(&pod).await;
        }
        let job = world.finished(id).await;
        let log = trace::text(&world.gitlab.trace(id));
        let result = (job.status, job.failure_reason.as_deref());
        assert_eq!(result, (JobStatus::Failed, Some("runner_system_failure")), "{stage:?}:\n{log}");
        let last = log.lines().rfind(|line| line.contains("ERROR: Job failed")).unwrap_or_default();
        assert!(reasons.iter().all(|reason| last.contains(reason)), "{stage:?}:\n{log}");
        assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
        world.leaves_nothing(pipe).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_pod_that_is_deleted_in_any_stage_fails_its_job_with_the_reason() {
    is_lost(false, &["is being deleted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_pod_that_is_evicted_in_any_stage_fails_its_job_with_the_reason() {
    is_lost(true, &["is disrupted: reason \"EvictionByEvictionAPI\"", "Eviction API: evicting"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_pod_that_is_deleted_before_it_has_a_node_fails_its_job() {
    let world = World::builder().kubernetes("cpu_request = \"1000\"").start().await;
    let pipe = world.pipe();
    let id = world.gitlab.enqueue(JobSpec::script(["echo never"])).await.unwrap();
    world.log_shows(id, "Insufficient cpu").await;
    world.kube.delete_pod(&world.kube.only_pod().await).await;
    let job = world.finished(id).await;
    let log = trace::text(&world.gitlab.trace(id));
    assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"), "{log}");
    assert!(log.contains("is being deleted") || log.contains("is deleted"), "{log}");
    world.leaves_nothing(pipe).await;
}

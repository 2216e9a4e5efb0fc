//! What a cluster can do to a job, made to happen by faults of fake-kube. On a real cluster the same is done by its own means, see
//! the files named `cluster_*`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fake_gitlab::{JobSpec, JobStatus};
use tests::{World, trace};

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_log_stream_is_continued_where_it_ended() {
    let world = World::start().await;
    world.kube.fake().faults().add(fake_kube::Fault::cut_logs_after(3000).times(3));
    let script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 5";
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(JobSpec::script([script])).await.unwrap();
    let job = world.finished(id).await;
    assert_eq!(job.exit_code, Some(5));
    let log = trace::text(&world.gitlab.trace(id));
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(lines, (1..=60).map(|n| format!("line {n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rotated_away_before_it_is_read_is_printed_again() {
    let world = World::builder().kube(|kube| kube.log_max_size(32 * 1024)).start().await;
    let pipe = world.pipe();
    let (go, printed) = (world.path("go"), world.path("printed"));
    let wait = format!("echo begun; until [ -e {} ]; do sleep 0.05; done", go.display());
    let spec = JobSpec::script([wait, "seq 1 80000".to_owned(), format!("touch {}", printed.display())]);
    let id = world.gitlab.enqueue(spec).await.unwrap();
    world.log_shows(id, "begun\n").await;
    drop(pipe);
    std::fs::write(go, "").unwrap();
    let printing = async {
        while !printed.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(tests::PATIENCE, printing).await.expect("the script goes on with nobody there");
    let _pipe = world.pipe();
    assert_eq!(world.finished(id).await.status, JobStatus::Success);
    let log = trace::text(&world.gitlab.trace(id));
    let numbers = log.lines().filter_map(|line| line.parse::<u32>().ok());
    assert!(numbers.eq(1..=80_000), "{} bytes", log.len());
    assert!(
        world.report().printed("runner-exec-k8s.stderr").contains("was lost on the way"),
        "nothing was rotated away"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_in_trouble_is_waited_for() {
    let world = World::start().await;
    world.kube.fake().faults().add(fake_kube::Fault::answer(503).method("POST").times(2));
    world.kube.fake().faults().add(fake_kube::Fault::too_many_requests(1).method("PATCH").times(1));
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["echo hello"])).await;
    assert_eq!(job.status, JobStatus::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named() {
    let world = World::builder().kube(|kube| kube.image_error("missing:1", "ErrImagePull")).start().await;
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["true"]).image("missing:1")).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"));
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(log.contains("missing:1") && log.contains("image pull failed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pull_policy_is_tried() {
    let world = World::builder()
        .kubernetes("pull_policy = [\"always\", \"if-not-present\"]")
        .kube(|kube| kube.image_error("missing:1", "ErrImagePull"))
        .start()
        .await;
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["true"]).image("missing:1")).await;
    assert_eq!(job.status, JobStatus::Failed);
    let log = trace::text(&world.gitlab.trace(job.id));
    for line in [
        "WARNING: Failed to pull image \"missing:1\" for container \"build\" with policy \"Always\"",
        "Attempt #2: Trying \"IfNotPresent\" pull policy for \"missing:1\" image for container \"build\"",
    ] {
        assert!(log.contains(line), "{line:?} is missing in\n{log}");
    }
    world.cluster_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_no_node_takes_says_why() {
    let world = World::builder()
        .kubernetes("poll_timeout = 1")
        .kube(|kube| kube.unschedulable("0/3 nodes are available: 3 Insufficient cpu"))
        .start()
        .await;
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["true"])).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"));
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(log.contains("timed out waiting for pod to start") && log.contains("3 Insufficient cpu"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_its_node_evicts_fails_its_job_with_the_reason() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(JobSpec::script(["echo begun", "sleep 300"])).await.unwrap();
    world.log_shows(id, "begun").await;
    assert!(world.kube.fake().evict(
        world.kube.namespace(),
        &world.kube.only_pod().await,
        "The node was low on memory"
    ));
    let job = world.finished(id).await;
    assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("runner_system_failure")));
    let log = trace::text(&world.gitlab.trace(id));
    assert!(log.contains("begun\n") && log.contains("The node was low on memory"), "{log}");
}

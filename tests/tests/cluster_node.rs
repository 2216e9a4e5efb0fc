//! The node and its services die under running jobs: every job ends with its true result, each line of its log once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fake_gitlab::JobStatus;
use tests::cluster::{Component, Node};
use tests::counting::{EXIT_CODE, counted, counting};
use tests::{World, trace};

/// How long a component is away: long enough that every connection is tried again and in vain.
const AWAY: Duration = Duration::from_secs(5);

/// A job counts while the node is broken and mended by `trouble`.
async fn counts_through(lines: u32, trouble: impl AsyncFnOnce(&Node<'_>)) {
    let world = World::builder().alone().start().await;
    let node = world.kube.real().node();
    let pipe = world.pipe();
    let id = world.gitlab.enqueue(counting(lines)).await.unwrap();
    world.log_shows(id, "line 10\n").await;
    trouble(&node).await;
    ended_as_it_should(&world, id, lines).await;
    world.leaves_nothing(pipe).await;
}

async fn ended_as_it_should(world: &World, id: u64, lines: u32) {
    let job = world.finished(id).await;
    let log = world.gitlab.trace(id);
    assert_eq!((job.status, job.exit_code), (JobStatus::Failed, Some(EXIT_CODE)), "{}", trace::text(&log));
    assert_eq!(counted(&log), (1..=lines).collect::<Vec<_>>());
    assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
}

async fn away(node: &Node<'_>, components: &[Component]) {
    for component in components {
        node.kill(*component).await;
    }
    tokio::time::sleep(AWAY).await;
    node.start().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_api_server_ends_in_the_middle_of_a_log() {
    counts_through(600, async |node| away(node, &[Component::ApiServer]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_api_server_is_away_when_the_job_ends() {
    counts_through(40, async |node| away(node, &[Component::ApiServer]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn etcd_ends_and_with_it_every_watch() {
    counts_through(600, async |node| away(node, &[Component::Etcd, Component::ApiServer]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn containerd_ends_in_the_middle_of_a_log() {
    counts_through(600, async |node| away(node, &[Component::Containerd]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn containerd_is_away_when_the_job_ends() {
    counts_through(40, async |node| away(node, &[Component::Containerd]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_kubelet_ends_in_the_middle_of_a_log() {
    counts_through(600, async |node| away(node, &[Component::Kubelet]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn the_kubelet_stands_still_for_half_a_minute_in_which_the_job_ends() {
    let standstill = async |node: &Node<'_>| {
        node.stop(Component::Kubelet).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        node.go_on(Component::Kubelet).await;
    };
    counts_through(200, standstill).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn everything_ends_at_once() {
    use Component::{ApiServer, Containerd, Etcd, Kubelet};
    counts_through(600, async |node| away(node, &[Kubelet, Containerd, ApiServer, Etcd]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_container_that_is_killed_fails_its_job_with_the_reason() {
    for container in ["build", "helper"] {
        let world = World::builder().alone().start().await;
        let pipe = world.pipe();
        let id = world.gitlab.enqueue(counting(2000)).await.unwrap();
        world.log_shows(id, "line 10\n").await;
        world.kube.real().node().kill_container(&world.kube.only_pod().await, container).await;
        let job = world.finished(id).await;
        let log = world.gitlab.trace(id);
        let text = trace::text(&log);
        assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("runner_system_failure")));
        let why = format!("Error in container {container}: exit code: 137, reason: 'Error'");
        assert!(text.lines().last().unwrap().contains(&why), "{text}");
        let lines = counted(&log);
        assert!((10..2000).contains(&lines.len()), "{text}");
        assert_eq!(lines, (1..=u32::try_from(lines.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
        world.leaves_nothing(pipe).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn five_jobs_go_on_when_the_whole_pipe_is_killed_and_started_again() {
    const LINES: u32 = 200;
    let world = World::start().await;
    let pipe = world.pipe();
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(world.gitlab.enqueue(counting(LINES)).await.unwrap());
    }
    for id in &jobs {
        world.log_shows(*id, "line 10\n").await;
    }
    drop(pipe); // with -9
    let pipe = world.pipe();
    for id in jobs {
        ended_as_it_should(&world, id, LINES).await;
    }
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_job_that_ends_while_the_node_breaks_and_nobody_watches_is_reported_as_it_ended() {
    const LINES: u32 = 60;
    let world = World::builder().alone().start().await;
    let node = world.kube.real().node();
    let pipe = world.pipe();
    let id = world.gitlab.enqueue(counting(LINES)).await.unwrap();
    world.log_shows(id, "line 10\n").await;
    drop(pipe); // with -9
    away(&node, &[Component::Containerd, Component::Kubelet]).await;
    let script_ended = |pods: &[serde_json::Value]| {
        let statuses = pods.iter().flat_map(|pod| pod["status"]["containerStatuses"].as_array()).flatten();
        statuses.into_iter().any(|status| status["name"] == "build" && status["state"]["terminated"].is_object())
    };
    tokio::time::timeout(tests::PATIENCE, world.kube.wait_for_pods(script_ended))
        .await
        .expect("the job ends by itself");
    let pipe = world.pipe();
    ended_as_it_should(&world, id, LINES).await;
    world.leaves_nothing(pipe).await;
}

//! Many jobs at one time on one node.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use tests::World;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn forty_jobs_run_at_once_and_leave_nothing() {
    let world = World::builder().head("concurrent = 40\ncheck_interval = 1").start().await;
    let pipe = world.pipe();
    let mut ids = Vec::new();
    for n in 0..40 {
        let script = ["echo begun".to_owned(), "sleep 20".to_owned(), format!("echo {n} of forty")];
        ids.push(world.gitlab.enqueue(JobSpec::script(script).image("localhost/bb:1")).await.unwrap());
    }
    for (n, id) in ids.into_iter().enumerate() {
        let job = world.finished(id).await;
        let log = tests::trace::text(&world.gitlab.trace(id));
        assert!(job.status == JobStatus::Success && log.contains(&format!("\n{n} of forty\n")), "{log}");
        assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
    }
    let mut running = 0_i32;
    let mut most = 0;
    for event in world.gitlab.events() {
        match event.job.status {
            JobStatus::Running => running += 1,
            status if status.is_finished() => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    assert_eq!(most, 40, "all at once");
    let requests = world.kube.requests();
    let few = requests.iter().filter(|request| !request.is_watch()).count();
    assert!(few <= 40 * 7, "{few} requests, a log of each job among them");
    world.leaves_nothing(pipe).await;
}

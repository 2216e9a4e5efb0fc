//! The kubelet rotates a container's log away faster than anybody reads it: the job's log is complete to the byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use fake_gitlab::{JobSpec, JobStatus};
use tests::{World, trace};

/// Lines of a hundred bytes.
const LINES: usize = 500_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn fifty_megabytes_arrive_byte_by_byte_through_files_of_64_kib() {
    let world = World::builder().alone().runner("output_limit = 204800").start().await;
    let node = world.kube.real().node();
    node.restart_kubelet("64Ki").await;
    let pipe = world.pipe();
    let print = format!("awk 'BEGIN {{ for (n = 1; n <= {LINES}; n++) printf \"%099d\\n\", n }}'");
    // What the script itself has printed is what must arrive.
    let script =
        ["set -o pipefail".to_owned(), format!("{print} | tee copy"), "sha256sum copy | cut -c -64".to_owned()];
    let job = world.run(JobSpec::script(script)).await;
    let printed = trace::script_output(&world.gitlab.trace(job.id));
    assert_eq!(job.status, JobStatus::Success);
    let mut numbers = String::with_capacity(LINES * 100);
    for n in 1..=LINES {
        writeln!(numbers, "{n:099}").unwrap();
    }
    let at = printed.windows(100).position(|window| window == &numbers.as_bytes()[..100]).unwrap();
    assert!(printed[at..].starts_with(numbers.as_bytes()), "the lines are not those that were printed");
    let digest = sha256(&printed[at..at + numbers.len()]);
    let rest = String::from_utf8_lossy(&printed[at + numbers.len()..]).into_owned();
    assert!(rest.contains(&digest), "{digest} in {rest}");
    assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
    world.leaves_nothing(pipe).await;
}

/// In hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

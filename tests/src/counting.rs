//! Jobs that print numbered lines, so that a line that is lost, doubled or out of order is seen.

use fake_gitlab::JobSpec;

use crate::trace;

/// What such a job exits with: neither a success nor what a killed program leaves.
pub const EXIT_CODE: i64 = 5;

/// Counts to `n`, twenty lines a second, so that there is time to break something in the middle.
pub fn counting(n: u32) -> JobSpec {
    let count = format!("i=0; while [ $i -lt {n} ]; do i=$((i+1)); echo line $i; sleep 0.05; done");
    JobSpec::script([format!("{count}; exit {EXIT_CODE}")])
}

/// The numbers that the log of such a job holds.
pub fn counted(log: &[u8]) -> Vec<u32> {
    let text = trace::text(log);
    text.lines().filter_map(|line| line.strip_prefix("line ")).filter_map(|n| n.trim().parse().ok()).collect()
}

//! `bench`: the pipe on a real cluster under the loads that GitLab Runner was measured under. Prints a table; asserts nothing but
//! that every job succeeds. `scripts/bench --cluster` runs it.
//!
//! GitLab Runner's figures are of version 19.4.0 with its default settings, on a node like the one that docs/operations.md
//! describes, with the same images.

mod loads;
mod median;
mod processes;
mod table;
mod times;

use loads::{many_at_once, one_by_one, restart};
use table::Table;

#[tokio::main]
async fn main() {
    let one = one_by_one().await;
    let many = many_at_once().await;
    let restart = restart().await;
    let mut table = Table::new();
    table.row("one job, Git clone: handed out → script starts", "3.88 s", one.starts.seconds(), "≤ 0.9 s");
    table.row("the same: handed out → done", "4.81 s", one.done.seconds(), "≤ 1.7 s");
    table.row("forty jobs at once: handed out → script starts, p50", "26.1 s", many.starts.seconds(), "≤ 10 s");
    table.row("the same: handed out → done less 30 s, p50", "27.1 s", many.done.seconds(), "≤ 11 s");
    table.row("the same: API requests a job without its log stream", "47", format!("{:.1}", many.requests), "≤ 6");
    table.row("the same: of them exec or attach", "10", many.entered.to_string(), "0");
    table.row("the same: log streams a job", "–", format!("{:.1}", many.streams), "1");
    table.row("the same: processor time of the tools a job", "102 ms", format!("{:.0} ms", many.cpu_ms), "≤ 20 ms");
    table.row("the same: memory (PSS) a job", "3.4 MiB", format!("{:.2} MiB", many.job_mib), "≤ 0.5 MiB");
    table.row("memory (PSS) of the tools, idle", "70 MiB", format!("{:.1} MiB", many.idle_mib), "≤ 25 MiB");
    table.row("killed with 5 jobs running, started again: lost, left", "5, 5", restart.to_string(), "0, 0");
    table.print();
}

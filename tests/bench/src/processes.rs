//! What the three tools have used.

use rustix::param::clock_ticks_per_second;
use tests::{Pipe, Tool};

const TOOLS: [Tool; 3] = [Tool::Poll, Tool::Exec, Tool::Trace];

/// Processor time of the tools so far, in milliseconds.
pub(crate) fn cpu_ms(pipe: &Pipe) -> f64 {
    let ticks: u64 = TOOLS.map(|tool| ticks(pipe.pid(tool))).iter().sum();
    ticks as f64 * 1e3 / clock_ticks_per_second() as f64
}

/// In user and kernel mode, all threads.
fn ticks(pid: u32) -> u64 {
    let stat = read(&format!("/proc/{pid}/stat"));
    // The name before may hold blanks.
    let (_, fields) = stat.rsplit_once(") ").expect("a process has a name");
    fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Memory of the tools in MiB: shared pages count in parts.
pub(crate) fn memory_mib(pipe: &Pipe) -> f64 {
    let kib = TOOLS.map(|tool| {
        let rollup = read(&format!("/proc/{}/smaps_rollup", pipe.pid(tool)));
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a process has memory");
        pss.trim().trim_end_matches(" kB").parse::<f64>().expect("a number of KiB")
    });
    kib.iter().sum::<f64>() / 1024.0
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

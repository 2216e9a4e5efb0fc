//! Whether the kernel has killed something in this container for want of memory.
//!
//! Kubernetes tells of it only where the container's main process was killed. As a rule it is what a script had started.

use std::fs;

/// The counters of control groups of version 2 and of version 1. In a container both are its own.
const COUNTERS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// How many processes were killed so far; 0 where nobody counts.
pub(crate) fn oom_kills() -> u64 {
    COUNTERS.iter().find_map(|path| parse(&fs::read_to_string(path).ok()?)).unwrap_or(0)
}

fn parse(counters: &str) -> Option<u64> {
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_counter_is_found_in_both_versions() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None, "old kernels do not count");
    }
}

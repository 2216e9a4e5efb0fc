//! Ends containers: a container is a main process and whatever it started.
//!
//! A real node kills a whole cgroup. Here a container's processes are those in the process group of
//! its main process, its descendants, and those that carry its mark in their environment, which
//! also finds daemons that left the group. What cleared its environment is found by where it works,
//! once its pod has no other container left.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The environment variable that marks a container's processes; its value is the pod's folder, a
/// slash and the container's id.
pub(crate) const MARK: &str = "FAKE_KUBE_CONTAINER";

/// Sends a signal; a process that is gone already is what we want anyway.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Kills everything of the container whose main process is (or was) `main`, and whose processes carry
/// this value of [`MARK`].
pub(crate) fn kill_container(main: i32, mark: &str) {
    let mark = format!("{MARK}={mark}");
    kill_until_gone(|processes| {
        let mut found: HashSet<i32> = processes
            .iter()
            .filter(|(pid, process)| **pid == main || process.group == main || carries(**pid, &mark))
            .map(|(pid, _)| *pid)
            .collect();
        add_descendants(&mut found, processes);
        found
    });
    if let Some(group) = Pid::from_raw(main) {
        let _ = kill_process_group(group, Signal::KILL); // usually empty by now
    }
}

/// Kills what still works inside a folder and lost both its mark and its parents: daemons that
/// cleared their environment. Somebody's shell that looks around in the folder is spared: it leads a
/// session, and what it runs has it as parent.
pub(crate) fn kill_orphans(folder: &Path) {
    let own = std::process::id().cast_signed();
    kill_until_gone(|processes| {
        let Some(session) = processes.get(&own).map(|process| process.session) else {
            return HashSet::new();
        };
        let reapers = ancestors(own, processes);
        let is_orphan = |(pid, process): &(&i32, &Process)| {
            process.session == session
                && **pid != session
                && reapers.contains(&process.parent)
                && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
                && !carries(**pid, MARK)
        };
        let mut found: HashSet<i32> = processes.iter().filter(is_orphan).map(|(pid, _)| *pid).collect();
        found.remove(&own);
        add_descendants(&mut found, processes);
        found
    });
}

/// A process, its parents, and init: one of them has adopted an orphan.
fn ancestors(own: i32, processes: &HashMap<i32, Process>) -> HashSet<i32> {
    let mut found = HashSet::from([1]);
    let mut next = Some(own);
    while let Some(pid) = next.filter(|pid| found.insert(*pid)) {
        next = processes.get(&pid).map(|process| process.parent);
    }
    found
}

struct Process {
    parent: i32,
    group: i32,
    session: i32,
}

/// Repeats, because a process may fork between the look and the kill, and takes a moment to die.
fn kill_until_gone(find: impl Fn(&HashMap<i32, Process>) -> HashSet<i32>) {
    for _ in 0..200 {
        let found = find(&processes());
        if found.is_empty() {
            return;
        }
        for pid in found {
            signal(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1)); // there is no event for somebody else's child
    }
}

/// Kills what still works in a folder and removes it; again, as long as something slips in a file.
pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    let mut tries = 50;
    loop {
        kill_orphans(folder);
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if tries > 0 => tries -= 1,
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn add_descendants(found: &mut HashSet<i32>, processes: &HashMap<i32, Process>) {
    loop {
        let before = found.len();
        for (pid, process) in processes {
            if found.contains(&process.parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return;
        }
    }
}

/// All processes that run; zombies are no longer of interest.
fn processes() -> HashMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // "pid (name) state ppid pgrp …": the name may hold anything, so look from its end.
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let alive = !matches!(fields.next()?, "Z" | "X");
            let mut number = || fields.next()?.parse::<i32>().ok();
            let process = Process { parent: number()?, group: number()?, session: number()? };
            alive.then_some((pid, process))
        })
        .collect()
}

/// Whether a process has a variable that begins like this in the environment it was started with.
fn carries(pid: i32, mark: &str) -> bool {
    // Unreadable: another user's process, so not one of ours.
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|pair| pair.starts_with(mark.as_bytes())))
}

/// What a process does with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// It has a handler.
    Handles,
    /// It holds the signal back: to read it in another way, or only for a moment (while it forks).
    Blocks,
    /// Nothing of the kind. In a real container the kernel drops the signal for the first process.
    Deaf,
}

/// What a process does with a signal now; one that is gone is deaf.
pub(crate) fn hearing(pid: i32, signal: Signal) -> Hearing {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bit = 1_u64 << (signal.as_raw() - 1);
    let has = |field: &str| {
        let masks = status.lines().filter_map(|line| line.strip_prefix(field));
        masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & bit != 0)
    };
    if has("SigCgt:") {
        Hearing::Handles
    } else if has("SigBlk:") {
        Hearing::Blocks
    } else {
        Hearing::Deaf
    }
}

//! Child processes: start them in a group of their own, learn how they ended, find and end everything they left behind.
//!
//! The process becomes the reaper of its descendants, as it is anyway when it is PID 1 of its container, so that nothing a script
//! started can get out of sight.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::wire::End;

/// Reaps all children of this process.
#[derive(Debug, Clone)]
pub(crate) struct Reaper {
    /// Who waits for which child. Held across a spawn, so that a child cannot end before it is known; never across an await.
    waiting: Arc<Mutex<HashMap<Pid, oneshot::Sender<End>>>>,
    /// Counts the children that have been reaped.
    reaped: watch::Receiver<u64>,
}

impl Reaper {
    /// Starts reaping. There is one reaper in a process.
    pub(crate) fn start() -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let mut children = signal(SignalKind::child())?;
        let waiting = Arc::new(Mutex::new(HashMap::<Pid, oneshot::Sender<End>>::new()));
        let (count, reaped) = watch::channel(0);
        let known = Arc::clone(&waiting);
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                // An error (no children at all) is the same as nothing to reap.
                while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                    let waiter = known.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
                    let end = status.exit_status().map(End::Code).or(status.terminating_signal().map(End::Signal));
                    if let (Some(waiter), Some(end)) = (waiter, end) {
                        let _ = waiter.send(end); // nobody waits any more: fine
                    }
                    count.send_modify(|n| *n += 1);
                }
            }
        });
        Ok(Self { waiting, reaped })
    }

    /// Starts `command` as the leader of a process group of its own.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        let (send, end) = oneshot::channel();
        waiting.insert(pid, send);
        Ok(Child { pid, end, ended: false })
    }

    /// Completes when a child is reaped after this call.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + use<> {
        let mut reaped = self.reaped.clone();
        reaped.mark_unchanged();
        async move {
            let _ = reaped.changed().await; // ends with the runtime
        }
    }
}

/// A running child. Dropped before its end is known, its group is killed.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    end: oneshot::Receiver<End>,
    ended: bool,
}

impl Child {
    /// Waits for the end. Cancel safe; after it has returned once it must not be called again.
    pub(crate) async fn wait(&mut self) -> End {
        let end = (&mut self.end).await;
        self.ended = true;
        end.unwrap_or(End::Signal(Signal::KILL.as_raw())) // the reaper is gone, so is the process
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL); // gone already: fine
        }
    }
}

/// How a descendant is related to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinship {
    /// Started by this process, or left by a parent that has died.
    Child,
    /// Its parent lives.
    Further,
}

/// Sends `signal` to those descendants of this process that `chosen` chooses; returns how many descendants there are.
///
/// Not to the group only: a script may have made groups and sessions of its own.
pub(crate) fn signal_descendants(signal: Signal, mut chosen: impl FnMut(Pid, Kinship) -> bool) -> usize {
    let found = descendants();
    for &(pid, _) in found.iter().filter(|&&(pid, kinship)| chosen(pid, kinship)) {
        let _ = rustix::process::kill_process(pid, signal); // ended meanwhile, or belongs to another user
    }
    found.len()
}

/// All descendants of this process. The dead that nobody has reaped yet count too: they come to this process, and then are gone.
fn descendants() -> Vec<(Pid, Kinship)> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else { continue }; // ended meanwhile
        // `pid (name) state ppid …`; the name may hold anything, so the last parenthesis counts
        let Some(name_end) = stat.iter().rposition(|&b| b == b')') else { continue };
        let rest = String::from_utf8_lossy(&stat[name_end + 1..]).into_owned();
        let mut fields = rest.split_ascii_whitespace();
        let Some(Ok(parent)) = fields.nth(1).map(str::parse) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut todo = vec![own];
    while let Some(parent) = todo.pop() {
        let kinship = if parent == own { Kinship::Child } else { Kinship::Further };
        for pid in children.remove(&parent).into_iter().flatten() {
            todo.push(pid);
            found.extend(Pid::from_raw(pid).map(|pid| (pid, kinship)));
        }
    }
    found
}

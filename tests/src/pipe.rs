//! `runner-poll | runner-exec-k8s | runner-trace` on real pipes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::report::Report;
use crate::world::{PATIENCE, World};

/// One of the three programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// runner-poll.
    Poll,
    /// runner-exec-k8s.
    Exec,
    /// runner-trace.
    Trace,
}

/// The running pipe. Whatever still runs when it is dropped is killed.
pub struct Pipe {
    children: [Child; 3],
}

impl Pipe {
    pub(crate) fn start(world: &World, report: &Report, poll_args: &[&str], exec_args: &[&str]) -> Self {
        let (from_poll, to_exec) = std::io::pipe().expect("a pipe");
        let (from_exec, to_trace) = std::io::pipe().expect("a pipe");
        // Each end is moved into its command and closed here once that is spawned and dropped.
        let poll = spawn(world.command("runner-poll").args(poll_args).stdin(Stdio::null()).stdout(to_exec), report);
        let exec = spawn(world.command("runner-exec-k8s").args(exec_args).stdin(from_poll).stdout(to_trace), report);
        let done = report.file("runner-trace.stdout");
        let trace = spawn(world.command("runner-trace").stdin(from_exec).stdout(done), report);
        Self { children: [poll, exec, trace] }
    }

    /// Sends a signal to one program.
    pub fn signal(&self, tool: Tool, signal: Signal) {
        let child = &self.children[tool as usize];
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).expect("the program still runs");
    }

    /// Process id of one program.
    pub fn pid(&self, tool: Tool) -> u32 {
        self.children[tool as usize].id()
    }

    /// Waits until all three have ended; their exit codes, 128 + n where signal n ended one.
    pub async fn wait(&mut self) -> [i32; 3] {
        let mut codes = [0; 3];
        for tool in [Tool::Poll, Tool::Exec, Tool::Trace] {
            codes[tool as usize] = self.wait_for(tool).await;
        }
        codes
    }

    /// Waits until one program has ended; its exit code, 128 + n where signal n ended it.
    pub async fn wait_for(&mut self, tool: Tool) -> i32 {
        let began = Instant::now();
        let child = &mut self.children[tool as usize];
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return code(status);
            }
            assert!(began.elapsed() < PATIENCE, "{tool:?} does not end");
            // The standard library has no event for the end of a child that can be awaited; this bounds nothing.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Drains the pipe: no new jobs, then the end. Returns the exit codes.
    pub async fn drain(mut self) -> [i32; 3] {
        self.signal(Tool::Poll, Signal::QUIT);
        self.wait().await
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1)
}

fn spawn(command: &mut Command, report: &Report) -> Child {
    let name =
        std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.stderr(report.file(&format!("{name}.stderr")));
    report.command(command);
    command.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"))
}

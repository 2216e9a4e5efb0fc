//! A container's main process: started, its output logged, its end reported.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::log_file::{LogFile, LogStream};
use super::reap::{self, MARK};
use super::rewrite::Mounts;

/// Larger pipes mean fewer switches between the container and us.
const PIPE_SIZE: usize = 512 * 1024;

/// How long output is waited for after the main process ended, if something still holds the pipe.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything that is needed to run a process as a container would.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    /// The container's mounts, for what is executed in it later.
    pub(crate) mounts: Mounts,
    /// The pod's folder.
    pub(crate) folder: PathBuf,
}

impl Program {
    fn command(&self, id: &str) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(MARK, self.mark(id))
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// What marks the processes of the run with this id.
    pub(crate) fn mark(&self, id: &str) -> String {
        format!("{}/{id}", self.folder.display())
    }

    /// Runs a command beside the main process, as probes and hooks do; its output is thrown away.
    pub(crate) async fn exec(&self, id: &str, argv: &[String]) -> io::Result<ExitStatus> {
        let argv = argv.iter().map(|word| self.mounts.rewrite(word)).collect();
        let program = Self { argv, ..self.clone() };
        let mut command = program.command(id);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.kill_on_drop(true).status().await
    }
}

/// The containers that run now, so that all can be killed when the server stops.
#[derive(Debug, Default)]
pub(crate) struct Live {
    state: Mutex<LiveState>,
}

#[derive(Debug, Default)]
struct LiveState {
    /// Set once: from then on nothing is started.
    stopped: bool,
    /// Mark and pod folder by the id of the main process.
    mains: HashMap<i32, (String, PathBuf)>,
}

impl Live {
    fn with<T>(&self, work: impl FnOnce(&mut LiveState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Spawns under the lock, so that nothing starts behind [`Live::stop`]'s back.
    fn spawn(&self, program: &Program, id: &str) -> io::Result<(Child, i32)> {
        self.with(|state| {
            if state.stopped {
                return Err(io::Error::other("the node is shutting down"));
            }
            let child = program.command(id).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let pid = child.id().unwrap_or_default().cast_signed();
            state.mains.insert(pid, (program.mark(id), program.folder.clone()));
            Ok((child, pid))
        })
    }

    /// Kills every container, for good.
    pub(crate) fn stop(&self) {
        let mains = self.with(|state| {
            state.stopped = true;
            std::mem::take(&mut state.mains)
        });
        for (pid, (mark, _)) in mains {
            reap::kill_container(pid, &mark);
        }
    }

    /// A main process ended: the rest of its container goes with it.
    fn note_end(&self, pid: i32) {
        let (ended, last) = self.with(|state| {
            let ended = state.mains.remove(&pid);
            let folder = ended.as_ref().map(|(_, folder)| folder);
            let last = !state.mains.values().any(|(_, other)| Some(other) == folder);
            (ended, last)
        });
        // Absent if the server has been stopped meanwhile, and then all is dead.
        let Some((mark, folder)) = ended else { return };
        reap::kill_container(pid, &mark);
        if last {
            reap::kill_orphans(&folder);
        }
    }
}

/// Starts a container's main process; returns its process id. `ended` is called once, with the exit
/// code (128 + signal if one killed it), when the process has ended and its log is complete.
pub(crate) fn start(
    live: &Arc<Live>,
    program: &Program,
    id: &str,
    log: Arc<LogFile>,
    ended: impl FnOnce(i32) + Send + 'static,
) -> io::Result<i32> {
    let (mut child, pid) = live.spawn(program, id)?;
    if let (Some(stdout), Some(stderr)) = (&child.stdout, &child.stderr) {
        // Only speed depends on it; the limit for a user's pipes may be reached.
        let _ = (fcntl_setpipe_size(stdout, PIPE_SIZE), fcntl_setpipe_size(stderr, PIPE_SIZE));
    }
    let copies = futures::future::join(
        copy(child.stdout.take(), log.stream("stdout")),
        copy(child.stderr.take(), log.stream("stderr")),
    );
    let (live, id) = (Arc::clone(live), id.to_owned());
    let mut copies = tokio::spawn(copies);
    tokio::spawn(async move {
        let status = child.wait().await;
        live.note_end(pid);
        if tokio::time::timeout(DRAIN, &mut copies).await.is_err() {
            tracing::warn!("container {id}: something still holds its output");
            copies.abort();
        }
        log.close();
        ended(status.map_or(255, exit_code));
    });
    Ok(pid)
}

async fn copy(from: Option<impl AsyncRead + Unpin>, mut to: LogStream) {
    let Some(mut from) = from else { return };
    let mut block = vec![0; 128 * 1024];
    loop {
        match from.read(&mut block).await {
            Ok(0) => return to.end(),
            Ok(n) => to.append(&block[..n]),
            Err(error) => return tracing::error!("read container output: {error}"),
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match status.code() {
        Some(code) => code,
        None => 128 + status.signal().unwrap_or(0),
    }
}

//! The build container's main process: runs one script after the other for `drive`, passes their output on, reports how they ended.
//!
//! It accepts one connection, ever. When that ends, or on SIGTERM, everything that still runs is ended and so is the process.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::{HelperError, doing};
use crate::memory;
use crate::process::{Child, Kinship, Reaper, signal_descendants};
use crate::shell::Shell;
use crate::wire::{CHUNK, End, Order, Report, Run, SOCKET};

/// Time between TERM and KILL when nobody says otherwise: SIGTERM to this process, or drive is gone.
const GRACE: Duration = Duration::from_secs(10);

/// The same when the job is over and only what it left behind runs.
const GRACE_AT_END: Duration = Duration::from_secs(1);

/// What must be had before the runtime starts.
#[derive(Debug)]
pub(crate) struct Door {
    share: PathBuf,
    listener: UnixListener,
    shell: Shell,
}

impl Door {
    /// Binds the socket in `share`.
    pub(crate) fn new(share: &Path) -> Result<Self, HelperError> {
        let shell = Shell::new(share).map_err(doing("open `/dev/null`"))?;
        let what = || format!("listen on `{}`", share.join(SOCKET).display());
        // Through the folder's descriptor, because the path of a socket may have 107 bytes at most.
        let folder = File::open(share).map_err(doing(what()))?;
        let inside = |name: &str| PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
        let temporary = inside("serve.sock.part");
        let _ = std::fs::remove_file(&temporary); // left by a container that was restarted
        let listener = UnixListener::bind(&temporary).map_err(doing(what()))?;
        // The helper may be another user. Who can reach the folder is in this pod.
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o666)).map_err(doing(what()))?;
        std::fs::rename(&temporary, inside(SOCKET)).map_err(doing(what()))?;
        Ok(Self { share: share.to_owned(), listener, shell })
    }

    async fn accept(listener: UnixListener) -> io::Result<UnixStream> {
        listener.set_nonblocking(true)?;
        let (stream, _) = tokio::net::UnixListener::from_std(listener)?.accept().await?;
        Ok(stream)
    }
}

/// Serves one job; returns the exit code.
pub(crate) async fn serve(door: Door) -> Result<u8, HelperError> {
    let Door { share, listener, shell } = door;
    let mut terminate = signal(SignalKind::terminate()).map_err(doing("listen for SIGTERM"))?;
    let reaper = Reaper::start().map_err(doing("become the reaper of the container"))?;
    let stream = tokio::select! {
        stream = Door::accept(listener) => stream.map_err(doing("accept the helper's connection"))?,
        _ = terminate.recv() => return Ok(128 + 15),
    };
    let _ = std::fs::remove_file(share.join(SOCKET)); // nobody else is let in; the listener is closed already
    let (mut from_drive, to_drive) = stream.into_split();
    let (send, mut orders) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(Some(order)) = Order::read(&mut from_drive).await {
            if send.send(order).await.is_err() {
                return;
            }
        }
    });
    let (read, write) = io::pipe().map_err(doing("make a pipe"))?;
    let output = pipe::Receiver::from_owned_fd(read.into()).map_err(doing("make a pipe"))?;
    let mut room = Room {
        shell,
        reaper,
        output,
        write,
        to_drive,
        deaf: false,
        leaving: false,
        oom_kills: memory::oom_kills(),
        running: None,
        buffer: vec![0; CHUNK],
    };
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Run(run)) => room.run(*run).await,
                Some(Order::Stop(stop)) => room.stop(stop.grace()).await?,
                Some(Order::Bye) => {
                    room.end_all(GRACE_AT_END).await?;
                    return Ok(0);
                }
                None => {
                    room.end_all(GRACE).await?;
                    return Ok(1);
                }
            },
            end = ended(&mut room.running) => room.ended(end).await?,
            n = room.output.read(&mut room.buffer) => {
                let n = n.map_err(doing("read the script's output"))?;
                room.report(&Report::Output(room.buffer[..n].to_vec())).await;
            }
            _ = terminate.recv() => {
                room.leaving = true;
                room.end_all(GRACE).await?;
                return Ok(128 + 15);
            }
        }
    }
}

async fn ended(running: &mut Option<Child>) -> End {
    match running {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

/// What there is to run scripts with.
struct Room {
    shell: Shell,
    reaper: Reaper,
    /// The one pipe all scripts write to, both stdout and stderr: their order is kept, and what a script leaves running can still
    /// be heard.
    output: pipe::Receiver,
    write: io::PipeWriter,
    to_drive: OwnedWriteHalf,
    /// Drive listens no more.
    deaf: bool,
    /// The container is being ended: that a script ends now is not the script's doing, and drive is not told that it is.
    leaving: bool,
    running: Option<Child>,
    /// How many processes the kernel had killed when that was last told.
    oom_kills: u64,
    buffer: Vec<u8>,
}

impl Room {
    async fn run(&mut self, run: Run) {
        if self.running.is_some() {
            return self.report(&Report::Failed("a script is running already".to_owned())).await;
        }
        match self.shell.start(&self.reaper, run, &self.write) {
            Ok(child) => self.running = Some(child),
            Err(err) => self.report(&Report::Failed(err.to_string())).await,
        }
    }

    /// The shell has ended: passes on what it wrote before that, and says so. What others still write comes later.
    async fn ended(&mut self, end: End) -> Result<(), HelperError> {
        self.running = None;
        self.drain().await?;
        let oom_kills = memory::oom_kills();
        if oom_kills > self.oom_kills {
            self.oom_kills = oom_kills;
            self.report(&Report::OutOfMemory).await;
        }
        if !self.leaving {
            self.report(&Report::Ended(end)).await;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), HelperError> {
        const READING: &str = "read the script's output";
        let mut left = rustix::io::ioctl_fionread(self.output.as_fd()).map_err(doing(READING))?;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.output.read(&mut self.buffer[..most]).await.map_err(doing(READING))?;
            left = left.saturating_sub(n as u64);
            self.report(&Report::Output(self.buffer[..n].to_vec())).await;
        }
        Ok(())
    }

    async fn stop(&mut self, grace: Duration) -> Result<(), HelperError> {
        self.end_all(grace).await?;
        self.report(&Report::Stopped).await;
        Ok(())
    }

    /// Sends TERM to everything that runs and, after `grace`, KILL; returns when nothing runs. Output flows on meanwhile.
    async fn end_all(&mut self, grace: Duration) -> Result<(), HelperError> {
        let deadline = Instant::now() + grace;
        let mut killing = false;
        let mut told = HashSet::new();
        loop {
            let reaped = self.reaper.next();
            // Again after each death: a process that died may have started another just before, which is a child of ours then.
            // What a script starts on TERM to clean up is left alone.
            let first = told.is_empty();
            let left = if killing {
                signal_descendants(Signal::KILL, |_, _| true)
            } else {
                signal_descendants(Signal::TERM, |pid, kin| (first || kin == Kinship::Child) && told.insert(pid))
            };
            if left == 0 && self.running.is_none() {
                return self.drain().await;
            }
            tokio::select! {
                end = ended(&mut self.running) => self.ended(end).await?,
                () = reaped => {}
                () = tokio::time::sleep_until(deadline), if !killing => killing = true,
                n = self.output.read(&mut self.buffer) => {
                    let n = n.map_err(doing("read the script's output"))?;
                    self.report(&Report::Output(self.buffer[..n].to_vec())).await;
                }
            }
        }
    }

    /// Tells drive. If it is gone, what runs must be ended all the same, and that its messages have ended is noticed elsewhere.
    async fn report(&mut self, report: &Report) {
        self.deaf = self.deaf || report.write(&mut self.to_drive).await.is_err();
    }
}

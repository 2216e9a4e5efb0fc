//! The build container as seen from the helper: scripts go in, output goes to the log, their ends come out.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::files::Owner;
use super::log::Log;
use super::watch::Watch;
use crate::wire::{End, Order, Report, Run, SOCKET};

/// How long after the last signal a stopped script may take to be gone: only a process the kernel cannot end takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// In the word that Kubernetes has for it.
const OUT_OF_MEMORY: &str = "a process in the build container was killed for want of memory (OOMKilled)";

/// The connection to `serve`. When it is dropped, serve ends everything that still runs.
#[derive(Debug)]
pub(crate) struct Build {
    orders: OwnedWriteHalf,
    user: Owner,
    /// All reports but output. Closed when the container is gone.
    reports: mpsc::Receiver<Report>,
}

/// Why a script did not end by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The container is gone.
    Container,
    /// It could not be started.
    Start(String),
}

impl Build {
    /// Waits until `serve` listens in the folder `share`, which `watch` watches.
    pub(crate) async fn connect(share: &Path, mut watch: Watch, log: Log) -> io::Result<Self> {
        let folder = File::open(share)?;
        // Through the folder's descriptor, because the path of a socket may have 107 bytes at most.
        let socket = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
        let stream = loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => break stream,
                Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    watch.changed().await?;
                }
                Err(err) => return Err(err),
            }
        };
        // Not through rustix: it cannot hold the process number 0, which is that of a peer in another container.
        let peer = stream.peer_cred()?;
        let user = Owner { user: peer.uid(), group: peer.gid() };
        let (mut from, orders) = stream.into_split();
        let (send, reports) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok(Some(report)) = Report::read(&mut from).await {
                match report {
                    Report::Output(bytes) => log.work(&bytes),
                    Report::OutOfMemory => log.warn(OUT_OF_MEMORY),
                    report => {
                        if send.send(report).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Self { orders, user, reports })
    }

    /// The user of the container.
    pub(crate) fn user(&self) -> Owner {
        self.user
    }

    /// Starts a script.
    pub(crate) async fn start(&mut self, run: Run) -> Result<(), Lost> {
        Order::Run(Box::new(run)).write(&mut self.orders).await.map_err(|_gone| Lost::Container)
    }

    /// Waits for the end of the script that was started. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<End, Lost> {
        loop {
            match self.reports.recv().await {
                Some(Report::Ended(end)) => return Ok(end),
                Some(Report::Failed(why)) => return Err(Lost::Start(why)),
                Some(Report::Stopped | Report::Output(_) | Report::OutOfMemory) => {}
                None => return Err(Lost::Container),
            }
        }
    }

    /// Ends everything that runs, with `grace` between TERM and KILL, and waits until nothing runs.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<(), Lost> {
        Order::stop(grace).write(&mut self.orders).await.map_err(|_gone| Lost::Container)?;
        let stopped = async {
            loop {
                match self.reports.recv().await {
                    Some(Report::Stopped) => return Ok(()),
                    Some(_) => {}
                    None => return Err(Lost::Container),
                }
            }
        };
        tokio::time::timeout(grace + PATIENCE, stopped).await.unwrap_or(Err(Lost::Container))
    }

    pub(crate) async fn bye(mut self) {
        let _ = Order::Bye.write(&mut self.orders).await; // gone already: as good
    }
}

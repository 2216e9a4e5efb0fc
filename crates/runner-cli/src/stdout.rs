//! Lines out: whole and flushed, by one writer; a reader that goes away is an event, noticed at once.

use std::io::{ErrorKind, Write};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The standard output. Clones share it; lines of different tasks never mix.
#[derive(Debug, Clone)]
pub struct Output {
    to: mpsc::Sender<Item>,
    closed: CancellationToken,
}

/// The reader is gone, or the file cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("standard output was closed")]
pub struct Closed;

#[derive(Debug)]
enum Item {
    Bytes(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

impl Output {
    /// Takes the standard output: a thread that writes, and one that watches for the reader's end.
    pub fn stdout() -> std::io::Result<Self> {
        let (to, mut items) = mpsc::channel(64);
        let closed = CancellationToken::new();
        let on_error = closed.clone();
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            if let Err(err) = write_all(&mut items) {
                if err.kind() != ErrorKind::BrokenPipe {
                    tracing::error!("standard output: {err}");
                }
                on_error.cancel();
            }
        })?;
        let on_hangup = closed.clone();
        std::thread::Builder::new().name("stdout-watch".to_owned()).spawn(move || {
            if wait_for_hangup() {
                on_hangup.cancel();
            }
        })?;
        Ok(Self { to, closed })
    }

    /// Queues `bytes`, one or more whole lines. Waits while the reader is slow.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), Closed> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(Closed),
            sent = self.to.send(Item::Bytes(bytes)) => sent.map_err(|_| Closed),
        }
    }

    /// Returns when everything queued before has been written.
    pub async fn flush(&self) -> Result<(), Closed> {
        let (done, written) = oneshot::channel();
        self.to.send(Item::Flush(done)).await.map_err(|_| Closed)?;
        written.await.map_err(|_| Closed)
    }

    /// Returns when the reader has gone away.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

fn write_all(items: &mut mpsc::Receiver<Item>) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    while let Some(item) = items.blocking_recv() {
        match item {
            Item::Bytes(bytes) => {
                stdout.write_all(&bytes)?;
                stdout.flush()?;
            }
            // nobody waits any more: the tool is on its way out
            Item::Flush(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// Waits until the other end of the standard output is closed; `false` if that cannot be told.
fn wait_for_hangup() -> bool {
    let stdout = std::io::stdout();
    loop {
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => return true,
            Ok(_) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

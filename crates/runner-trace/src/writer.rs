//! Writes the journals: a thread of its own, so that a slow disk holds up no upload.
//!
//! What has queued while one batch became durable is the next batch: many lines cost one write.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::journal::Journal;

/// Most bytes of a batch.
const BATCH: usize = 1024 * 1024;
/// How long to wait for space on a full disk; delivered jobs give theirs back.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// One line for one journal.
#[derive(Debug)]
pub(crate) struct Append {
    /// Where it belongs.
    pub(crate) journal: Arc<Journal>,
    /// The line without its newline.
    pub(crate) line: String,
    /// Whether it is a `close`.
    pub(crate) closes: bool,
}

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Order {
    /// Append a line.
    Append(Append),
    /// Tell when everything before is written.
    Flush(oneshot::Sender<()>),
}

/// Starts the writer. The second part tells of the error that made it give up: not a full disk, which it waits out.
pub(crate) fn start() -> io::Result<(mpsc::Sender<Order>, oneshot::Receiver<Error>)> {
    let (to, mut orders) = mpsc::channel(64);
    let (failed, failure) = oneshot::channel();
    std::thread::Builder::new().name("journals".to_owned()).spawn(move || {
        while let Some(first) = orders.blocking_recv() {
            let (batch, flushed) = collect(first, &mut orders);
            for lines in batch {
                if let Err(err) = lines.write() {
                    let _ = failed.send(err); // nobody listens: the tool is on its way out
                    return;
                }
            }
            for done in flushed {
                let _ = done.send(()); // as above
            }
        }
    })?;
    Ok((to, failure))
}

/// The lines of one batch for one journal.
struct Lines {
    journal: Arc<Journal>,
    bytes: Vec<u8>,
    closes: bool,
}

/// Takes what is queued, ordered by journal; within a journal the order of arrival stays.
fn collect(first: Order, orders: &mut mpsc::Receiver<Order>) -> (Vec<Lines>, Vec<oneshot::Sender<()>>) {
    let (mut batch, mut flushed, mut size) = (Vec::<Lines>::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(order) = next {
        match order {
            Order::Append(Append { journal, line, closes }) => {
                size += line.len();
                let at = batch.iter().position(|lines| Arc::ptr_eq(&lines.journal, &journal));
                let at = at.unwrap_or_else(|| {
                    batch.push(Lines { journal, bytes: Vec::new(), closes: false });
                    batch.len() - 1
                });
                batch[at].bytes.extend_from_slice(line.as_bytes());
                batch[at].bytes.push(b'\n');
                batch[at].closes |= closes;
            }
            Order::Flush(done) => flushed.push(done),
        }
        next = if size < BATCH { orders.try_recv().ok() } else { None };
    }
    (batch, flushed)
}

impl Lines {
    /// Appends the lines. While the disk is full they wait here, and with them whoever sends more.
    fn write(&self) -> Result<(), Error> {
        let mut told = false;
        loop {
            let source = match self.journal.append(&self.bytes, self.closes) {
                Ok(()) => return Ok(()),
                Err(err) => err,
            };
            let error = Error::Journal { doing: "writing", name: self.journal.name().to_owned(), source };
            match &error {
                Error::Journal { source, .. } if is_full(source) => {
                    if !told {
                        tracing::error!("{error}: waiting for space");
                    }
                    told = true;
                    std::thread::sleep(FULL_DISK_PAUSE);
                }
                _ => return Err(error),
            }
        }
    }
}

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

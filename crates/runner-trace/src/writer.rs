//! Writes the journals: a thread of its own, so that a slow disk holds up no upload.
//!
//! What has queued while one batch became durable is the next batch: many lines cost one write.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::error::Error;
use crate::journal::Journal;

/// Bytes that may be on their way to the disk. A slow disk so gets large batches, and a slower one holds up the input.
const ROOM: usize = 2 * 1024 * 1024;
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

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    to: mpsc::UnboundedSender<Order>,
    room: Arc<Semaphore>,
}

/// What the writer is asked for.
#[derive(Debug)]
enum Order {
    Append(Append, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the writer. The second part tells of the error that made it give up: not a full disk, which it waits out.
    pub(crate) fn start() -> io::Result<(Self, oneshot::Receiver<Error>)> {
        let (to, mut orders) = mpsc::unbounded_channel();
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
        Ok((Self { to, room: Arc::new(Semaphore::new(ROOM)) }, failure))
    }

    /// Waits for room for `bytes`, to be given back once they are written.
    pub(crate) async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let wanted = u32::try_from(bytes.min(ROOM)).unwrap_or(u32::MAX);
        match Arc::clone(&self.room).acquire_many_owned(wanted).await {
            Ok(room) => room,
            Err(err) => unreachable!("the room is never closed: {err}"),
        }
    }

    /// Hands a line over. If the writer has given up nobody takes it, and [`Writer::start`]'s second part says why.
    pub(crate) fn append(&self, line: Append, room: OwnedSemaphorePermit) {
        let _ = self.to.send(Order::Append(line, room));
    }

    /// Returns when everything before is written, or the writer has given up.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let _ = self.to.send(Order::Flush(done)); // `written` fails too then
        let _ = written.await;
    }
}

/// The lines of one batch for one journal.
struct Lines {
    journal: Arc<Journal>,
    bytes: Vec<u8>,
    closes: bool,
    /// Given back when the lines are dropped.
    room: Vec<OwnedSemaphorePermit>,
}

/// Takes what is queued, ordered by journal; within a journal the order of arrival stays.
fn collect(first: Order, orders: &mut mpsc::UnboundedReceiver<Order>) -> (Vec<Lines>, Vec<oneshot::Sender<()>>) {
    let (mut batch, mut flushed) = (Vec::<Lines>::new(), Vec::new());
    let mut next = Some(first);
    while let Some(order) = next {
        match order {
            Order::Append(Append { journal, line, closes }, room) => {
                let at = batch.iter().position(|lines| Arc::ptr_eq(&lines.journal, &journal));
                let at = at.unwrap_or_else(|| {
                    batch.push(Lines { journal, bytes: Vec::new(), closes: false, room: Vec::new() });
                    batch.len() - 1
                });
                batch[at].bytes.extend_from_slice(line.as_bytes());
                batch[at].bytes.push(b'\n');
                batch[at].closes |= closes;
                batch[at].room.push(room);
            }
            Order::Flush(done) => flushed.push(done),
        }
        next = orders.try_recv().ok();
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

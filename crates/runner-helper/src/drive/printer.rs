//! Prints the spool as frames on stdout, in a thread of its own: a reader that is slow or stands still holds up only this thread.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runner_core::frame::{Body, Frame, encode_log};

use super::spool::Spool;

/// Text that is turned into frames at once.
const BATCH: usize = 64 * 1024;

/// What is to be printed.
#[derive(Debug)]
pub(crate) struct Printer {
    spool: Arc<Spool>,
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    /// Bytes of text in the spool.
    len: u64,
    /// Frames without text, each behind the text that came before it.
    frames: VecDeque<(u64, Body)>,
    /// The last frame, once it is known: printed again after a replay.
    result: Option<Body>,
    /// Print again from here.
    replay: Option<u64>,
    /// All there is has been printed.
    idle: bool,
}

enum Step {
    Text { offset: u64, end: u64 },
    Frame { offset: u64, body: Body },
}

impl Printer {
    /// Starts printing what is in `spool`.
    pub(crate) fn start(spool: Arc<Spool>) -> Arc<Self> {
        let printer = Arc::new(Self { spool, plan: Mutex::default(), changed: Condvar::new() });
        let thread = Arc::clone(&printer);
        std::thread::spawn(move || {
            // If stdout is broken the log still is in the spool, and the result in the termination message.
            let _ = thread.print(&mut io::stdout());
        });
        printer
    }

    /// The spool now has `len` bytes.
    pub(crate) fn text(&self, len: u64) {
        self.change(|plan| plan.len = len);
    }

    /// Prints `body` behind the text there is now.
    pub(crate) fn frame(&self, body: Body) {
        self.change(|plan| {
            if let Body::Result(_) = body {
                plan.result = Some(body.clone());
            }
            plan.frames.push_back((plan.len, body));
        });
    }

    /// Prints the text from `offset` on once more.
    pub(crate) fn replay(&self, offset: u64) {
        self.change(|plan| plan.replay = Some(offset));
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        let mut plan = self.plan();
        change(&mut plan);
        plan.idle = false;
        self.changed.notify_all();
    }

    /// Waits until all there is has been printed, but not longer than `most`.
    pub(crate) fn settle(&self, most: Duration) {
        let plan = self.changed.wait_timeout_while(self.plan(), most, |plan| !plan.idle);
        drop(plan); // a reader that stands still, or a broken stdout: enough of waiting
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let (mut seq, mut printed) = (0, 0);
        let mut buffer = vec![0; BATCH];
        let mut frames = Vec::new();
        loop {
            frames.clear();
            match self.next(&mut printed) {
                Step::Frame { offset, body } => {
                    frames.extend(Frame { seq, offset, body }.encode());
                    seq += 1;
                }
                Step::Text { offset, end } => {
                    let most = BATCH.min(usize::try_from(end - offset).unwrap_or(BATCH));
                    let n = self.spool.read(offset, &mut buffer[..most])?;
                    // The spool holds whole characters; only the end of the buffer, or a replay from within one, can cut one.
                    let mut rest = whole_characters(&buffer[..n]);
                    if rest.is_empty() {
                        printed += 1;
                        continue;
                    }
                    while !rest.is_empty() {
                        let taken = encode_log(&mut frames, seq, printed, rest);
                        seq += 1;
                        printed += taken as u64;
                        rest = &rest[taken..];
                    }
                }
            }
            out.write_all(&frames)?;
            out.flush()?;
        }
    }

    /// Waits for what comes next, given how much text has been printed.
    fn next(&self, printed: &mut u64) -> Step {
        let mut plan = self.plan();
        loop {
            if let Some(offset) = plan.replay.take() {
                *printed = offset.min(plan.len);
                if let (Some(result), true) = (plan.result.clone(), plan.frames.is_empty()) {
                    let len = plan.len;
                    plan.frames.push_back((len, result));
                }
            }
            let end = plan.frames.front().map_or(plan.len, |(offset, _)| *offset);
            if *printed < end {
                return Step::Text { offset: *printed, end };
            }
            if let Some((offset, body)) = plan.frames.pop_front() {
                return Step::Frame { offset, body };
            }
            if *printed < plan.len {
                return Step::Text { offset: *printed, end: plan.len };
            }
            plan.idle = true;
            self.changed.notify_all();
            plan = self.changed.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The text at the start of `bytes` without a character that is cut at the end.
fn whole_characters(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(err) => std::str::from_utf8(&bytes[..err.valid_up_to()]).unwrap_or_default(),
    }
}

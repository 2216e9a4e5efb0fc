//! The job's log: masked, made UTF-8, stamped, limited, kept in the spool and printed as frames.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use runner_core::frame::{Body, Outcome};
use runner_core::mask::Masker;
use runner_core::stamp::{STREAM_RUNNER, STREAM_WORK, Stamper};
use runner_core::text;

use super::printer::Printer;
use super::spool::Spool;

/// How far the text may go past the job's log limit. The limit itself, and its notice, are runner-trace's.
const PAST_LIMIT: u64 = 64 * 1024;

/// Whether lines carry timestamps (`FF_TIMESTAMPS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// Each line has a header.
    On,
    /// Bytes as they come.
    Off,
}

/// The log of one job. Clones are the same log.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// The runner's own lines.
    runner: Stream,
    /// What scripts, Git and uploads say.
    work: Stream,
    len: u64,
    most: u64,
    full: bool,
    spool: Arc<Spool>,
    printer: Arc<Printer>,
}

impl Log {
    /// An empty log with its spool in the folder `spool`, for a job whose log limit is `limit` bytes.
    pub(crate) fn create(spool: &Path, limit: u64, masker: &Masker, stamps: Stamps) -> io::Result<Self> {
        let spool = Arc::new(Spool::create(&spool.join("log"))?);
        let printer = Printer::start(Arc::clone(&spool));
        Ok(Self(Arc::new(Mutex::new(Inner {
            runner: Stream::new(masker, stamps, STREAM_RUNNER),
            work: Stream::new(masker, stamps, STREAM_WORK),
            len: 0,
            most: limit.saturating_add(PAST_LIMIT),
            full: false,
            spool,
            printer,
        }))))
    }

    /// Hides from here on what `masker` hides.
    pub(crate) fn mask(&self, masker: &Masker) {
        let mut inner = self.inner();
        let mut out = Vec::new();
        let Inner { runner, work, .. } = &mut *inner;
        for stream in [runner, work] {
            stream.mask(masker, &mut out);
        }
        inner.append(&out);
    }

    /// Writes text of the runner, e.g. of [`runner_core::text`].
    pub(crate) fn runner(&self, text: &str) {
        self.inner().runner(text);
    }

    /// Writes a section's marker. Its name is the contract's: it stays as it is, even if a secret is part of it.
    pub(crate) fn marker(&self, marker: &str) {
        let mut inner = self.inner();
        let mut out = Vec::new();
        inner.runner.write_as_is(marker.as_bytes(), &mut out);
        inner.append(&out);
    }

    /// Writes a yellow line of the runner.
    pub(crate) fn warn(&self, message: &str) {
        self.runner(&text::warning(message));
    }

    /// Writes output of a script or a program.
    pub(crate) fn work(&self, bytes: &[u8]) {
        let mut inner = self.inner();
        let Inner { work, full, .. } = &mut *inner;
        if !*full {
            let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
            work.write(bytes, &mut out);
            inner.append(&out);
        }
    }

    /// A green line where scripts write: what a stage is about to do.
    pub(crate) fn notice(&self, message: &str) {
        self.work(text::info(message).as_bytes());
    }

    /// A yellow line where scripts write.
    pub(crate) fn caution(&self, message: &str) {
        self.work(format!("{}{message}{}\n", text::YELLOW, text::RESET).as_bytes());
    }

    /// Puts out what scripts have written without a newline at its end.
    pub(crate) fn flush_work(&self) {
        let mut inner = self.inner();
        let mut out = Vec::new();
        inner.work.finish(&mut out);
        inner.append(&out);
    }

    /// Says that a stage begins, on the side channel.
    pub(crate) fn stage(&self, name: &str) {
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.inner().printer.frame(Body::Stage { name: name.to_owned(), at });
    }

    /// Says that the job begins, on the side channel.
    pub(crate) fn started(&self) {
        self.inner().printer.frame(Body::Started { version: env!("CARGO_PKG_VERSION").to_owned() });
    }

    /// Puts out all text; returns its length, which is final.
    pub(crate) fn close(&self) -> u64 {
        let mut inner = self.inner();
        let mut out = Vec::new();
        inner.work.finish(&mut out);
        inner.runner.finish(&mut out);
        inner.append(&out);
        inner.full = true;
        inner.len
    }

    /// Waits until what there is has been printed, but not longer than `most`.
    pub(crate) fn settle(&self, most: Duration) {
        let printer = Arc::clone(&self.inner().printer);
        printer.settle(most);
    }

    /// Prints the result behind all text.
    pub(crate) fn result(&self, outcome: Outcome) {
        self.inner().printer.frame(Body::Result(outcome));
    }

    /// Prints the text from `offset` on once more.
    pub(crate) fn replay(&self, offset: u64) {
        self.inner().printer.replay(offset);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn runner(&mut self, text: &str) {
        let mut out = Vec::new();
        self.runner.write(text.as_bytes(), &mut out);
        self.append(&out);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.full || bytes.is_empty() {
            return;
        }
        let room = usize::try_from(self.most - self.len).unwrap_or(usize::MAX);
        let mut end = bytes.len();
        if end > room {
            end = room;
            while end > 0 && bytes[end] & 0xc0 == 0x80 {
                end -= 1; // not within a character
            }
            self.full = true;
        }
        self.spool.append(self.len, &bytes[..end]);
        self.len += end as u64;
        self.printer.text(self.len);
    }
}

/// One stream of text on its way into the log.
#[derive(Debug)]
struct Stream {
    masker: Masker,
    characters: Characters,
    stamper: Option<Stamper>,
}

impl Stream {
    fn new(masker: &Masker, stamps: Stamps, number: u8) -> Self {
        let stamper = (stamps == Stamps::On).then(|| Stamper::new(number, 'O'));
        Self { masker: masker.for_stream(), characters: Characters::default(), stamper }
    }

    /// Puts out what is held back for the secrets so far and looks for those of `masker` from here on.
    fn mask(&mut self, masker: &Masker, out: &mut Vec<u8>) {
        let mut masked = Vec::new();
        self.masker.finish(&mut masked);
        self.masker = masker.for_stream();
        self.pass(&masked, out);
    }

    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut masked = Vec::with_capacity(bytes.len());
        self.masker.write(bytes, &mut masked);
        self.pass(&masked, out);
    }

    /// Passes `bytes` on behind what came before, without looking for secrets in them.
    fn write_as_is(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut held = Vec::new();
        self.masker.finish(&mut held);
        held.extend_from_slice(bytes);
        self.pass(&held, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let mut masked = Vec::new();
        self.masker.finish(&mut masked);
        self.pass(&masked, out);
        let mut rest = Vec::new();
        self.characters.finish(&mut rest);
        self.stamp(&rest, out);
        if let Some(stamper) = &mut self.stamper {
            stamper.flush(out);
        }
    }

    fn pass(&mut self, masked: &[u8], out: &mut Vec<u8>) {
        let mut clean = Vec::with_capacity(masked.len());
        self.characters.write(masked, &mut clean);
        self.stamp(&clean, out);
    }

    fn stamp(&mut self, clean: &[u8], out: &mut Vec<u8>) {
        match &mut self.stamper {
            Some(stamper) => stamper.write(SystemTime::now(), clean, out),
            None => out.extend_from_slice(clean),
        }
    }
}

/// Joins characters that are split over writes and replaces each byte that is part of none by U+FFFD.
#[derive(Debug, Default)]
struct Characters {
    held: Vec<u8>,
}

impl Characters {
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let joined;
        let mut rest = if self.held.is_empty() {
            bytes
        } else {
            joined = [self.held.as_slice(), bytes].concat();
            self.held.clear();
            &joined
        };
        loop {
            let Err(err) = std::str::from_utf8(rest) else { return out.extend_from_slice(rest) };
            let (valid, invalid) = rest.split_at(err.valid_up_to());
            out.extend_from_slice(valid);
            let Some(len) = err.error_len() else { return self.held.extend_from_slice(invalid) };
            replace(len, out);
            rest = &invalid[len..];
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        replace(self.held.len(), out);
        self.held.clear();
    }
}

fn replace(bytes: usize, out: &mut Vec<u8>) {
    for _ in 0..bytes {
        out.extend_from_slice("\u{fffd}".as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j214_characters_are_joined_over_writes_and_bad_bytes_replaced_one_by_one() {
        for (writes, expected) in [
            (&[&b"a\xc3"[..], b"\xa9b"][..], "aéb"),
            (&[b"\xf0\x9f", b"\x98", b"\x80"], "😀"),
            (&[b"\xff\xfe"], "\u{fffd}\u{fffd}"),
            (&[b"\xe2\x82a"], "\u{fffd}\u{fffd}a"),
            (&[b"\xe2\x82"], "\u{fffd}\u{fffd}"),
            (&[b"\xc3", b"\xc3\xa9"], "\u{fffd}é"),
            (&[b"\0\x1b[0K\r\n"], "\0\u{1b}[0K\r\n"),
        ] {
            let mut characters = Characters::default();
            let mut out = Vec::new();
            for bytes in writes {
                characters.write(bytes, &mut out);
            }
            characters.finish(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{writes:?}");
        }
    }
}

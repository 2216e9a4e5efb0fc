//! Reads a container's log the way the kubelet serves `pods/log`: stamps and stream names are taken
//! off, parts are joined, and only the current file is read from its beginning.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use memchr::{memchr, memrchr_iter};
use tokio::sync::watch;

use super::log_file::{LogFile, Written};
use crate::clock::Stamper;

const BLOCK: usize = 128 * 1024;

/// What a log request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    /// Lines before this stamp are left out; in the form of [`Stamper`], so it compares as text.
    pub(crate) since: Option<String>,
    /// The answer ends after so many bytes.
    pub(crate) limit: Option<u64>,
    /// Begin so many lines of the file before its end.
    pub(crate) tail: Option<usize>,
}

/// One log request in progress.
pub(crate) struct LogReader {
    log: Arc<LogFile>,
    /// Wakes the reader; that is how following works without polling.
    written: watch::Receiver<Written>,
    file: File,
    generation: u64,
    options: Options,
    remain: u64,
    /// The beginning of a line of the file whose end was not read yet.
    carry: Vec<u8>,
    /// The next text begins a line, so it gets a stamp.
    at_line_start: bool,
    block: Vec<u8>,
}

impl LogReader {
    pub(crate) fn open(log: &Arc<LogFile>, options: Options) -> io::Result<Self> {
        let written = log.watch();
        let generation = written.borrow().generation;
        let mut file = File::open(log.path())?;
        if let Some(lines) = options.tail {
            let start = tail_start(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(Self {
            log: Arc::clone(log),
            written,
            file,
            generation,
            remain: options.limit.unwrap_or(u64::MAX),
            options,
            carry: Vec::new(),
            at_line_start: true,
            block: vec![0; BLOCK],
        })
    }

    /// The next piece of the answer, or `None` at its end. Waits when following.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.remain > 0 && self.options.tail != Some(0) || self.waits() {
            // Taken before reading: what is true now is in the file now.
            let at = *self.written.borrow_and_update();
            let n = self.file.read(&mut self.block)?; // from the page cache: too short to hand to a thread
            if n > 0 {
                let text = self.take(n);
                if !text.is_empty() {
                    return Ok(Some(text.into()));
                }
            } else if !self.options.follow || (at.closed && at.generation == self.generation) {
                return Ok(None);
            } else if at.generation != self.generation {
                // What was rotated twice meanwhile is lost to this reader, as with the kubelet.
                self.file = File::open(self.log.path())?;
                self.generation = at.generation;
                self.carry.clear();
            } else if self.written.changed().await.is_err() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Following with `tailLines=0` shows what comes from now on.
    fn waits(&self) -> bool {
        self.remain > 0 && self.options.follow
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let block = std::mem::take(&mut self.block);
        let mut out = Vec::with_capacity(n);
        let mut rest = &block[..n];
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if self.carry.is_empty() {
                self.line(line, &mut out);
            } else {
                let mut whole = std::mem::take(&mut self.carry);
                whole.extend_from_slice(line);
                self.line(&whole, &mut out);
            }
        }
        self.carry.extend_from_slice(rest);
        self.block = block;
        out
    }

    /// One line of the file, without its end.
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        // "<stamp> stdout F " and "<stamp> stderr F " are equally long.
        const TAG: usize = Stamper::LEN + 1 + 6 + 1;
        let (Some(stamp), Some(tag), Some(text)) = (line.get(..Stamper::LEN), line.get(TAG), line.get(TAG + 2..))
        else {
            return;
        };
        if let Some(since) = &self.options.since
            && stamp < since.as_bytes()
        {
            return;
        }
        let full = *tag == b'F';
        if self.options.timestamps && self.at_line_start {
            self.put(stamp, out);
            self.put(b" ", out);
        }
        self.put(text, out);
        if full {
            self.put(b"\n", out);
        }
        self.at_line_start = full;
    }

    fn put(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let n = usize::try_from(self.remain).unwrap_or(usize::MAX).min(text.len());
        out.extend_from_slice(&text[..n]);
        self.remain -= n as u64;
    }
}

/// Where the last `lines` lines of the file begin. Parts count as lines, as with the kubelet.
fn tail_start(file: &mut File, lines: usize) -> io::Result<u64> {
    let len = file.seek(SeekFrom::End(0))?;
    let (mut end, mut found, mut block) = (len, 0, vec![0; BLOCK]);
    let mut positions = VecDeque::new();
    while end > 0 && found <= lines {
        let n = (BLOCK as u64).min(end);
        let start = end - n;
        file.seek(SeekFrom::Start(start))?;
        let part = &mut block[..usize::try_from(n).unwrap_or(BLOCK)];
        file.read_exact(part)?;
        for at in memrchr_iter(b'\n', part) {
            found += 1;
            positions.push_back(start + at as u64 + 1);
            if found > lines {
                break;
            }
        }
        end = start;
    }
    // The newline before the first wanted line; with fewer lines than asked for, the beginning.
    Ok(positions.get(lines).copied().unwrap_or(0))
}

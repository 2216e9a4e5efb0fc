//! A container's log on disk, in the form the container runtime interface prescribes:
//! `<stamp> stdout|stderr P|F <text>`, where `P` marks a part whose line goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memchr;
use tokio::sync::watch;

use crate::clock::{self, Stamper};

/// The runtime cuts longer lines into parts of this many bytes.
pub(crate) const MAX_PART: usize = 16 * 1024;

/// How many files the kubelet keeps, the current one included.
const KEPT: usize = 5;

/// Where writing stands; a reader waits for it to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    /// How often the log was rotated.
    pub(crate) generation: u64,
    /// Bytes in the current file.
    pub(crate) len: u64,
    /// The container ended and everything it said is in the file.
    pub(crate) closed: bool,
}

/// The log of one run of one container.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// Rotated beyond this many bytes.
    max_size: u64,
    writer: Mutex<Writer>,
    written: watch::Sender<Written>,
}

struct Writer {
    file: File,
    stamper: Stamper,
    /// Lines of one chunk, written in one call.
    out: Vec<u8>,
    at: Written,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.at)
    }
}

impl LogFile {
    /// Begins the file.
    pub(crate) fn create(path: PathBuf, max_size: u64) -> io::Result<Arc<Self>> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(Arc::new(Self {
            writer: Mutex::new(Writer {
                file: append_to(&path)?,
                stamper: Stamper::new(),
                out: Vec::new(),
                at: Written::default(),
            }),
            path,
            max_size,
            written: watch::Sender::new(Written::default()),
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A receiver that has not yet seen the present state.
    pub(crate) fn watch(&self) -> watch::Receiver<Written> {
        let mut receiver = self.written.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// A stream of this container.
    pub(crate) fn stream(self: &Arc<Self>, name: &'static str) -> LogStream {
        LogStream { log: Arc::clone(self), name, pending: Vec::new() }
    }

    /// Nothing will be written any more.
    pub(crate) fn close(&self) {
        self.with(|writer| {
            writer.at.closed = true;
            Ok(())
        });
    }

    /// Moves the file aside and begins a new one, as the kubelet does with a log that is too large.
    pub(crate) fn rotate(&self) {
        self.with(|writer| self.rotate_locked(writer));
    }

    fn rotate_locked(&self, writer: &mut Writer) -> io::Result<()> {
        let stamp = clock::now_nanos().replace([':', '-', 'T', 'Z'], "");
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{name}.");
        fs::rename(&self.path, self.path.with_file_name(format!("{prefix}{stamp}")))?;
        writer.file = append_to(&self.path)?;
        writer.at.generation += 1;
        writer.at.len = 0;
        let mut old = Vec::new();
        for entry in fs::read_dir(self.path.parent().unwrap_or(Path::new(".")))? {
            let path = entry?.path();
            if path.file_name().is_some_and(|f| f.to_string_lossy().starts_with(&prefix)) {
                old.push(path);
            }
        }
        old.sort();
        for path in old.iter().rev().skip(KEPT - 1) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Works on the file and tells the readers. A failing disk costs log lines, as on a real node,
    /// and is reported in our own log.
    fn with(&self, work: impl FnOnce(&mut Writer) -> io::Result<()>) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = work(&mut writer) {
            tracing::error!("write {}: {error}", self.path.display());
        }
        self.written.send_replace(writer.at);
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// One of a container's two output streams: bytes in, stamped lines out.
pub(crate) struct LogStream {
    log: Arc<LogFile>,
    name: &'static str,
    /// A line that has not ended yet; at most [`MAX_PART`] bytes between calls. The runtime does not
    /// show it before it ends or is too long.
    pending: Vec<u8>,
}

impl LogStream {
    /// Appends what the container wrote.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        let log = Arc::clone(&self.log);
        log.with(|writer| {
            writer.stamper.sync();
            while let Some(end) = memchr(b'\n', bytes) {
                let (line, rest) = bytes.split_at(end);
                bytes = &rest[1..];
                if self.pending.is_empty() {
                    writer.line(self.name, line);
                } else {
                    self.pending.extend_from_slice(line);
                    writer.line(self.name, &self.pending);
                    self.pending.clear();
                }
            }
            self.pending.extend_from_slice(bytes);
            while self.pending.len() > MAX_PART {
                writer.put(self.name, b"P", &self.pending[..MAX_PART]);
                self.pending.drain(..MAX_PART);
            }
            writer.flush()?;
            if writer.at.len > log.max_size {
                log.rotate_locked(writer)?;
            }
            Ok(())
        });
    }

    /// The container closed the stream: a line without its end is a part that nothing follows.
    pub(crate) fn end(self) {
        if !self.pending.is_empty() {
            self.log.with(|writer| {
                writer.stamper.sync();
                writer.put(self.name, b"P", &self.pending);
                writer.flush()
            });
        }
    }
}

impl Writer {
    fn line(&mut self, stream: &str, mut line: &[u8]) {
        while line.len() > MAX_PART {
            self.put(stream, b"P", &line[..MAX_PART]);
            line = &line[MAX_PART..];
        }
        self.put(stream, b"F", line);
    }

    fn put(&mut self, stream: &str, tag: &[u8], text: &[u8]) {
        self.stamper.stamp(&mut self.out);
        self.out.push(b' ');
        self.out.extend_from_slice(stream.as_bytes());
        self.out.push(b' ');
        self.out.extend_from_slice(tag);
        self.out.push(b' ');
        self.out.extend_from_slice(text);
        self.out.push(b'\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.out)?;
        self.at.len += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}

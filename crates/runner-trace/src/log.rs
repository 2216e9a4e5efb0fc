//! The log as a stream of bytes from any offset, read and rendered from the journal.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use runner_core::event::{Close, Open, Source};
use runner_core::line::Line;
use runner_gitlab::LogOutput;
use tokio::sync::watch;

use crate::error::Error;
use crate::journal::{Journal, Written};
use crate::render::Renderer;

/// Reads behind the writer. Between two chunks it holds no text but what follows the last chunk in its journal block.
#[derive(Debug)]
pub(crate) struct LogStream {
    journal: Arc<Journal>,
    written: watch::Receiver<Written>,
    /// The first `open` decides how the log is rendered.
    renderer: Option<Renderer>,
    /// Where the next line begins in the journal.
    read_to: u64,
    /// Rendered and not yet taken.
    ready: BytesMut,
    /// Bytes before this offset are rendered and not handed out.
    skip_to: u64,
    /// Bytes handed out or skipped, and their checksum.
    position: u64,
    crc: crc32fast::Hasher,
    /// The latest `open`: whom to deliver to.
    open: Option<Box<Open>>,
    close: Option<Close>,
    /// All that `close` announced was rendered; nothing more follows.
    complete: bool,
    malformed: u64,
}

impl LogStream {
    /// From the first byte.
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self {
            written: journal.written(),
            journal,
            renderer: None,
            read_to: 0,
            ready: BytesMut::new(),
            skip_to: 0,
            position: 0,
            crc: crc32fast::Hasher::new(),
            open: None,
            close: None,
            complete: false,
            malformed: 0,
        }
    }

    /// Goes to `offset`: the next chunk begins there, once the log is that long.
    pub(crate) fn seek(&mut self, offset: u64) {
        // not `close`: known before its line is read again, it could end the log earlier than the first time
        let (open, malformed) = (self.open.take(), self.malformed);
        *self = Self { open, malformed, skip_to: offset, ..Self::new(Arc::clone(&self.journal)) };
    }

    /// The next bytes, at most `max`; empty if there are no more yet. Lets other jobs run in between.
    pub(crate) async fn take(&mut self, max: usize) -> Result<Bytes, Error> {
        if self.ready.is_empty() && self.waiting() > 0 {
            // once, and not much more than is needed: doubling would hold twice the chunk
            let wanted = usize::try_from(self.waiting()).unwrap_or(usize::MAX).min(max);
            self.ready.reserve(wanted + 16 * 1024);
        }
        loop {
            self.skip();
            let len = self.written.borrow().len;
            if self.ready.len() >= max || self.complete || self.read_to >= len {
                break;
            }
            self.read(len)?;
            tokio::task::yield_now().await;
        }
        let chunk = self.ready.split_to(max.min(self.ready.len())).freeze();
        self.ready = BytesMut::from(&self.ready[..]); // a small rest must not keep the chunk's memory
        self.pass(&chunk);
        Ok(chunk)
    }

    /// Bytes of journal and text that were not taken yet; 0 if there are none.
    pub(crate) fn waiting(&self) -> u64 {
        match self.complete {
            true => self.ready.len() as u64,
            false => self.written.borrow().len - self.read_to + self.ready.len() as u64,
        }
    }

    /// Whether something up to `len` of the journal was not taken yet.
    pub(crate) fn is_behind(&self, len: u64) -> bool {
        !self.ready.is_empty() || (!self.complete && self.read_to < len)
    }

    /// By how many bytes the place that was sought lies behind the end of what there is.
    pub(crate) fn ahead(&self) -> Option<u64> {
        self.skip_to.checked_sub(self.position).filter(|ahead| *ahead > 0)
    }

    /// Length and checksum of what was taken or skipped so far.
    pub(crate) fn output(&self) -> LogOutput {
        LogOutput { crc32: self.crc.clone().finalize(), bytes: self.position }
    }

    /// Whom to deliver to, as far as the journal was read.
    pub(crate) fn open(&self) -> Option<&Open> {
        self.open.as_deref()
    }

    /// The result, if all the text it announces was read.
    pub(crate) fn result(&self) -> Option<&Close> {
        self.close.as_ref().filter(|_| self.complete)
    }

    /// The result, if it was read, though text may be missing.
    pub(crate) fn close(&self) -> Option<&Close> {
        self.close.as_ref()
    }

    fn skip(&mut self) {
        let skip = usize::try_from(self.skip_to.saturating_sub(self.position)).unwrap_or(usize::MAX);
        if skip > 0 && !self.ready.is_empty() {
            let skipped = self.ready.split_to(skip.min(self.ready.len()));
            self.pass(&skipped);
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.position += bytes.len() as u64;
        self.crc.update(bytes);
    }

    /// Renders one block of the journal.
    fn read(&mut self, len: u64) -> Result<(), Error> {
        let mut rendered = Vec::new();
        let journal = Arc::clone(&self.journal);
        self.read_to = journal.read(self.read_to, len, |line| self.line(line, &mut rendered))?;
        self.ready.extend_from_slice(&rendered);
        Ok(())
    }

    fn line(&mut self, line: &str, out: &mut Vec<u8>) {
        if self.complete {
            return;
        }
        match (Line::decode(line), &mut self.renderer) {
            (Ok(Line::Open(open)), renderer) => {
                renderer.get_or_insert_with(|| Renderer::new(&open));
                self.open = Some(open);
            }
            (Ok(Line::Log(log)), Some(renderer)) => match log.bytes() {
                Ok(bytes) => renderer.push(log.source, log.offset, &bytes, log.last, out),
                Err(_) => self.malformed += 1,
            },
            (Ok(Line::Close(close)), _) => self.close = Some(close),
            (Ok(_), _) => {}
            (Err(_), _) => {
                self.malformed += 1;
                if self.malformed == 1 {
                    tracing::warn!("{}: holds a line that cannot be read; it is left out", self.journal.name());
                }
            }
        }
        if let (Some(close), Some(renderer)) = (&self.close, &mut self.renderer)
            && has_all(close, renderer)
        {
            renderer.finish(out);
            self.complete = true;
        }
    }
}

fn has_all(close: &Close, renderer: &Renderer) -> bool {
    [Source::Executor, Source::Pod]
        .iter()
        .all(|source| renderer.offsets().of(*source) >= close.sources.get(source.as_str()).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use runner_core::event::JobKey;

    use super::*;

    /// A journal with text of both sources, and the log it makes.
    fn journal() -> (Arc<Journal>, Vec<u8>) {
        let journal = Journal::temporary(&JobKey { id: 1, host: "h".into() }).unwrap();
        let mut lines =
            format!("{}\n", r#"{"v":1,"type":"open","job":1,"url":"http://h","token":"t","limit":9999999}"#);
        let (mut text, mut offsets) = (String::new(), [0; 2]);
        for n in 0..500 {
            let (source, name) = if n < 20 { (0, "executor") } else { (1, "pod") };
            let piece = format!("{n} é {}", "x".repeat(n));
            let offset = offsets[source];
            lines += &format!(
                "{{\"v\":1,\"type\":\"log\",\"job\":1,\"source\":\"{name}\",\"offset\":{offset},\"text\":\"{piece}\"}}\n"
            );
            offsets[source] += piece.len();
            text += &piece;
        }
        let [executor, pod] = offsets;
        lines += &format!(
            "{{\"v\":1,\"type\":\"close\",\"job\":1,\"state\":\"success\",\"sources\":{{\"executor\":{executor},\"pod\":{pod}}}}}\n"
        );
        journal.append(lines.as_bytes(), true).unwrap();
        (Arc::new(journal), text.into_bytes())
    }

    async fn rest(log: &mut LogStream, max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let chunk = log.take(max).await.unwrap();
            assert!(chunk.len() <= max);
            if chunk.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    #[tokio::test]
    async fn from_any_offset_in_any_chunks_it_is_the_same_log_with_the_same_checksum() {
        let (journal, text) = journal();
        let whole = LogOutput { crc32: crc32fast::hash(&text), bytes: text.len() as u64 };
        let mut log = LogStream::new(journal);
        for offset in [0, 1, 17, 40_000, text.len() - 1, text.len()] {
            for max in [100, 4096, 1 << 20] {
                log.seek(offset as u64);
                assert!(rest(&mut log, max).await == text[offset..], "{offset} {max}");
                assert_eq!((log.output(), log.waiting(), log.ahead()), (whole, 0, None));
                assert!(log.result().is_some());
            }
        }
    }

    #[tokio::test]
    async fn an_offset_behind_the_end_gives_nothing_and_says_how_far() {
        let (journal, text) = journal();
        let mut log = LogStream::new(journal);
        log.seek(text.len() as u64 + 7);
        assert_eq!(rest(&mut log, 1000).await, b"");
        assert_eq!((log.ahead(), log.output().bytes), (Some(7), text.len() as u64));
    }
}

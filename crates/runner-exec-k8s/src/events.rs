//! What the executor prints about one job, and the executor's own part of its log.

use std::collections::BTreeMap;
use std::time::SystemTime;

use runner_cli::stdout::{Closed, Output};
use runner_core::event::{Close, Head, JobKey, Log, Open, Pod, Source, Stage};
use runner_core::line::{LineType, encode};
use runner_core::mask::Masker;
use runner_core::stamp::{STREAM_RUNNER, Stamper};

use crate::acknowledge::Journal;
use crate::cli::Format;
use crate::job::Job;
use crate::plain::Unstamp;
use crate::verdict::Verdict;

/// The events of one job. Counts the bytes of both sources, so that a piece is printed once.
pub(crate) struct Events {
    key: JobKey,
    to: Sink,
    timestamps: bool,
    executor: u64,
    pod: u64,
    /// The pod's last piece ended with a line.
    at_line_end: bool,
}

enum Sink {
    Ndjson(Output),
    Text { output: Output, masker: Masker, unstamp: Unstamp },
}

/// Text of the executor, piece by piece as the log shows it.
pub(crate) struct Lines {
    stamper: Option<Stamper>,
    text: Vec<u8>,
}

impl Events {
    /// For `job`, whose journal tells what was printed before a restart.
    pub(crate) fn new(job: &Job, journal: &Journal, output: Output, format: Format) -> Self {
        let to = match format {
            Format::Ndjson => Sink::Ndjson(output),
            Format::Text => Sink::Text { output, masker: job.masker(), unstamp: Unstamp::default() },
        };
        let (executor, pod) = (journal.executor, journal.pod_text);
        Self { key: job.key.clone(), to, timestamps: job.has_timestamps(), executor, pod, at_line_end: true }
    }

    /// Bytes of the pod's text that were printed.
    pub(crate) fn pod_offset(&self) -> u64 {
        self.pod
    }

    /// Whether the executor has printed nothing of its own yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.executor == 0
    }

    /// Whether a line of the executor would not stand inside one of the pod's.
    pub(crate) fn is_at_line_end(&self) -> bool {
        self.at_line_end
    }

    /// Begins a text of the executor.
    pub(crate) fn lines(&self) -> Lines {
        self.lines_of(STREAM_RUNNER)
    }

    /// Begins a text of another stream.
    pub(crate) fn lines_of(&self, stream: u8) -> Lines {
        Lines { stamper: self.timestamps.then(|| Stamper::new(stream, 'O')), text: Vec::new() }
    }

    pub(crate) async fn open(&self, open: &Open) -> Result<(), Closed> {
        self.event(open).await
    }

    pub(crate) async fn pod(&self, namespace: &str, name: &str, uid: &str, abandoned: bool) -> Result<(), Closed> {
        let head = Head::new(LineType::Pod);
        let (namespace, name, uid) = (namespace.to_owned(), name.to_owned(), uid.to_owned());
        self.event(&Pod { head, key: self.key.clone(), namespace, name, uid, abandoned }).await
    }

    pub(crate) async fn stage(&self, stage: String, at: String) -> Result<(), Closed> {
        self.event(&Stage { head: Head::new(LineType::Stage), key: self.key.clone(), stage, at }).await
    }

    /// Prints `lines`; `last` marks the log's last line, for which room is kept.
    pub(crate) async fn executor_text(&mut self, lines: Lines, last: bool) -> Result<(), Closed> {
        let text = lines.finish();
        if text.is_empty() {
            return Ok(());
        }
        let (offset, len) = (self.executor, text.len() as u64);
        self.text(Source::Executor, offset, text, last).await?;
        self.executor += len;
        Ok(())
    }

    /// Prints the pod's text; it must begin where the last piece ended.
    pub(crate) async fn pod_text(&mut self, text: String) -> Result<(), Closed> {
        let (offset, len) = (self.pod, text.len() as u64);
        self.at_line_end = text.ends_with('\n');
        self.text(Source::Pod, offset, text, false).await?;
        self.pod += len;
        Ok(())
    }

    /// Prints the result, and waits until it is written.
    pub(crate) async fn close(&mut self, verdict: &Verdict) -> Result<(), Closed> {
        if let Sink::Text { output, unstamp, .. } = &mut self.to {
            let rest = unstamp.finish();
            output.write(rest.into_bytes()).await?;
        }
        let lengths = [(Source::Executor, self.executor), (Source::Pod, self.pod)];
        let sources: BTreeMap<_, _> = lengths.into_iter().map(|(source, n)| (source.as_str().to_owned(), n)).collect();
        let close = Close {
            head: Head::new(LineType::Close),
            key: self.key.clone(),
            state: verdict.state,
            exit_code: verdict.exit_code,
            failure_reason: verdict.reason,
            sources,
        };
        self.event(&close).await?;
        self.flush().await
    }

    /// Waits until everything is written.
    pub(crate) async fn flush(&self) -> Result<(), Closed> {
        match &self.to {
            Sink::Ndjson(output) | Sink::Text { output, .. } => output.flush().await,
        }
    }

    async fn event(&self, event: &impl serde::Serialize) -> Result<(), Closed> {
        match &self.to {
            Sink::Ndjson(output) => output.write(encode(event)).await,
            Sink::Text { .. } => Ok(()),
        }
    }

    async fn text(&mut self, source: Source, offset: u64, text: String, last: bool) -> Result<(), Closed> {
        match &mut self.to {
            Sink::Ndjson(output) => {
                let head = Head::new(LineType::Log);
                let log = Log { head, key: self.key.clone(), source, offset, text: Some(text), base64: None, last };
                output.write(encode(&log)).await
            }
            Sink::Text { output, masker, unstamp } => {
                let text = match source {
                    Source::Pod => text, // masked where it was made
                    Source::Executor => masked(masker, &text),
                };
                output.write(unstamp.push(&text).into_bytes()).await
            }
        }
    }
}

fn masked(masker: &mut Masker, text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    masker.write(text.as_bytes(), &mut out);
    masker.finish(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

impl Lines {
    /// Adds one piece as it is: a line of [`runner_core::text`], or a section marker.
    pub(crate) fn push(&mut self, piece: impl AsRef<str>) {
        let bytes = piece.as_ref().as_bytes();
        match &mut self.stamper {
            Some(stamper) => stamper.write(SystemTime::now(), bytes, &mut self.text),
            None => self.text.extend_from_slice(bytes),
        }
    }

    fn finish(mut self) -> String {
        if let Some(stamper) = &mut self.stamper {
            stamper.flush(&mut self.text);
        }
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

//! What is durable: the job's journal, which runner-trace writes and the executor only reads.
//!
//! The last whole line of the journal is what has arrived for good. A job without a folder has no journal; for it, written is
//! acknowledged.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use runner_cli::state::JobDir;
use runner_cli::watch::Watch;
use runner_core::event::{Pod, Source, State};
use runner_core::line::Line;

/// After this time without an acknowledgement somebody is told what is waited for, once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the journal held when it was read.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Bytes of the executor's text.
    pub(crate) executor: u64,
    /// Bytes of the pod's text.
    pub(crate) pod_text: u64,
    /// The last `pod` line.
    pub(crate) pod: Option<Pod>,
    /// How many pods were given up before they began the job.
    pub(crate) abandoned: u32,
    /// The log's last line is there, so only `close` is missing.
    pub(crate) said_last: bool,
    /// The result, if it is there.
    pub(crate) closed: Option<State>,
    /// When it was last written.
    pub(crate) written: Option<Timestamp>,
}

impl Journal {
    /// Reads the whole journal once; a job that has none yet has an empty one. A torn last line does not count.
    pub(crate) fn read(path: &Path) -> std::io::Result<Self> {
        let mut journal = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(journal),
            Err(err) => return Err(err),
        };
        journal.written = file.metadata()?.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let mut lines = BufReader::with_capacity(256 * 1024, file);
        let mut bytes = Vec::new();
        while lines.read_until(b'\n', &mut bytes)? > 0 {
            if let Some(line) = whole_line(&bytes) {
                journal.add(line);
            }
            bytes.clear();
        }
        Ok(journal)
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::Log(log) => {
                let end = log.offset + log.bytes().map_or(0, |bytes| bytes.len() as u64);
                let known = match log.source {
                    Source::Executor => &mut self.executor,
                    Source::Pod => &mut self.pod_text,
                };
                *known = end.max(*known);
                self.said_last |= log.last;
            }
            Line::Pod(pod) => {
                self.abandoned += u32::from(pod.abandoned);
                self.pod = Some(pod);
            }
            Line::Close(close) => self.closed = Some(close.state),
            _ => {}
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Milestone<'a> {
    /// The `pod` line of this uid.
    Pod { uid: &'a str, abandoned: bool },
    /// The `close` line.
    Close,
}

impl Milestone<'_> {
    fn is(self, line: &Line) -> bool {
        match (self, line) {
            (Self::Pod { uid, abandoned }, Line::Pod(pod)) => pod.uid == uid && pod.abandoned == abandoned,
            (Self::Close, Line::Close(_)) => true,
            _ => false,
        }
    }
}

/// Waits until `milestone` is the journal's last line, or the folder is gone, which says that the job is finished.
pub(crate) async fn wait(dir: &JobDir, watch: &Watch, milestone: Milestone<'_>) -> std::io::Result<()> {
    let mut patience = Some(PATIENCE);
    while dir.exists() {
        if last_line(&dir.journal_path())?.is_some_and(|line| milestone.is(&line)) {
            return Ok(());
        }
        let Some(time) = patience else {
            watch.changed().await;
            continue;
        };
        if tokio::time::timeout(time, watch.changed()).await.is_err() {
            tracing::warn!("job {}: waiting for runner-trace to write {}", dir.key(), dir.journal_path().display());
            patience = None;
        }
    }
    Ok(())
}

/// The last whole line, if it is short enough to be a milestone.
fn last_line(path: &Path) -> std::io::Result<Option<Line>> {
    const LONGEST: u64 = 8 * 1024;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LONGEST)))?;
    let mut tail = Vec::new();
    file.take(LONGEST).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|&b| b == b'\n') else { return Ok(None) };
    let start = tail[..end].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    Ok(whole_line(&tail[start..=end]))
}

fn whole_line(bytes: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(bytes.strip_suffix(b"\n")?).ok()?;
    Line::decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"v":1,"type":"pod","job":1,"host":"h","namespace":"ci","name":"p","uid":"u1"}"#;

    fn journal(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_journal_tells_what_is_missing() {
        let text = [
            r#"{"v":1,"type":"log","job":1,"source":"executor","offset":0,"text":"abc"}"#,
            POD,
            r#"{ "type":"log", "v":1, "job":1,"source":"pod","offset":0,"text":"é\n"}"#,
            r#"{"v":1,"type":"log","job":1,"source":"pod","offset":3,"text":"to"#,
        ];
        let (_dir, path) = journal(&text.join("\n"));
        let journal = Journal::read(&path).unwrap();
        assert_eq!((journal.executor, journal.pod_text, journal.closed), (3, 3, None));
        assert_eq!(journal.pod.unwrap().uid, "u1");
    }

    #[test]
    fn only_the_last_whole_line_counts() {
        let milestone = Milestone::Pod { uid: "u1", abandoned: false };
        for (text, reached) in [
            (format!("{POD}\n"), true),
            (format!("{{}}\n{POD}\n"), true),
            (POD.to_owned(), false),
            (format!("{POD}\n{{\"v\":1,\"type\":\"clo"), true),
            (String::new(), false),
        ] {
            let (_dir, path) = journal(&text);
            assert_eq!(last_line(&path).unwrap().is_some_and(|line| milestone.is(&line)), reached, "{text}");
        }
    }
}

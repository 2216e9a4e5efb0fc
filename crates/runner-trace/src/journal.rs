//! A job's journal: the very lines received for it. Everything that is sent to GitLab is computed from it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use runner_cli::state::JobDir;
use runner_core::event::{JobKey, Open};
use runner_core::line::Line;
use rustix::fs::OFlags;
use tokio::sync::watch;

use crate::error::Error;
use crate::render::Offsets;

/// Bytes that are read at once.
const BLOCK: usize = 64 * 1024;

/// How far a journal has been written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes: whole lines, durable.
    pub(crate) len: u64,
    /// Whether a `close` is among them.
    pub(crate) closed: bool,
}

/// One open journal. The writer thread appends, the job's delivery reads behind it; both through the same descriptor.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// For messages: its path, or whose it is.
    name: String,
    /// Sent by the writer thread alone.
    written: watch::Sender<Written>,
}

/// What a journal holds when it is opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Its latest `open`; without one the job cannot be delivered.
    pub(crate) open: Option<Box<Open>>,
    /// Log text of each source.
    pub(crate) offsets: Offsets,
}

impl Journal {
    /// Opens or makes the journal in a job's folder, and cuts off a torn last line.
    ///
    /// Writes return when they are durable. An inotify event follows its write, so whoever looks when told sees durable lines.
    pub(crate) fn in_folder(folder: &JobDir) -> Result<(Self, Contents), Error> {
        let path = folder.journal_path();
        let name = path.display().to_string();
        let failed = |doing| {
            let name = name.clone();
            move |source| Error::Journal { doing, name, source }
        };
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(0o600).custom_flags(OFlags::DSYNC.bits().cast_signed());
        let file = options.open(&path).map_err(failed("opening"))?;
        // the name of a new file is durable only with its folder
        File::open(folder.path()).and_then(|dir| dir.sync_all()).map_err(failed("opening"))?;
        let (written, contents) = scan(&file).map_err(failed("reading"))?;
        if file.metadata().map_err(failed("opening"))?.len() > written.len {
            file.set_len(written.len).map_err(failed("opening"))?;
        }
        Ok((Self { file, name, written: watch::Sender::new(written) }, contents))
    }

    /// A journal without a name, for a job that has no folder. It is gone with the process.
    pub(crate) fn temporary(key: &JobKey) -> Result<Self, Error> {
        let name = format!("the temporary journal of job {key}");
        match tempfile::tempfile() {
            Ok(file) => Ok(Self { file, name, written: watch::Sender::default() }),
            Err(source) => Err(Error::Journal { doing: "making", name, source }),
        }
    }

    /// How far it has been written, now and at every change.
    pub(crate) fn written(&self) -> watch::Receiver<Written> {
        self.written.subscribe()
    }

    /// Whose journal it is, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Appends whole lines, then tells the reader. If that fails nothing has been appended.
    pub(crate) fn append(&self, lines: &[u8], closes: bool) -> io::Result<()> {
        let Written { len, closed } = *self.written.borrow();
        let mut file = &self.file;
        // a temporary file has no append mode; in append mode the position does not matter
        if let Err(err) = file.seek(io::SeekFrom::Start(len)).and_then(|_| file.write_all(lines)) {
            // if even that fails the next start cuts the torn line off
            let _ = self.file.set_len(len);
            return Err(err);
        }
        self.written.send_replace(Written { len: len + lines.len() as u64, closed: closed || closes });
        Ok(())
    }

    /// Hands the whole lines from `at` on to `take`, about [`BLOCK`] bytes of them or one longer line, and returns where the next
    /// begins. Does not read beyond `len`, which must be the end of a line.
    pub(crate) fn read(&self, at: u64, len: u64, take: impl FnMut(&str)) -> Result<u64, Error> {
        let read = read_lines(&self.file, at, len, take);
        read.map_err(|source| Error::Journal { doing: "reading", name: self.name.clone(), source })
    }
}

fn read_lines(file: &File, at: u64, len: u64, mut take: impl FnMut(&str)) -> io::Result<u64> {
    let mut block = Vec::new();
    let end = loop {
        let have = block.len();
        let left = usize::try_from(len - at).unwrap_or(usize::MAX);
        if have == left {
            break have; // the rest has no newline: it was not written by us, and is read as a line
        }
        block.resize(left.min((have * 2).max(BLOCK)), 0);
        file.read_exact_at(&mut block[have..], at + have as u64)?;
        if let Some(newline) = memchr::memrchr(b'\n', &block[have..]) {
            break have + newline + 1;
        }
    };
    for line in block[..end].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line) {
            Ok(line) => take(line),
            Err(_) => take("\u{fffd}"), // no line of ours: counted as malformed
        }
    }
    Ok(at + end as u64)
}

/// Finds the end of the last whole line and what the lines hold.
fn scan(file: &File) -> io::Result<(Written, Contents)> {
    let (mut written, mut contents) = (Written::default(), Contents::default());
    let len = whole_lines(file)?;
    while written.len < len {
        written.len = read_lines(file, written.len, len, |line| match Line::decode(line) {
            Ok(Line::Open(open)) => contents.open = Some(open),
            Ok(Line::Log(log)) => {
                if let Ok(bytes) = log.bytes() {
                    contents.offsets.cover(log.source, log.offset, bytes.len());
                }
            }
            Ok(Line::Close(_)) => written.closed = true,
            _ => {}
        })?;
    }
    Ok((written, contents))
}

/// Length of the file up to and with its last newline.
fn whole_lines(mut file: &File) -> io::Result<u64> {
    let mut end = file.seek(io::SeekFrom::End(0))?;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(BLOCK)];
        file.seek(io::SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(newline) = memchr::memrchr(b'\n', block) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use runner_core::event::Source;

    use super::*;

    fn folder() -> (tempfile::TempDir, JobDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = runner_cli::state::StateDir::open(&dir.path().join("state"), "test").unwrap();
        let job = state.create_job(&JobKey { id: 1, host: "h".into() }, b"{}\n").unwrap();
        (dir, job)
    }

    fn lines(journal: &Journal) -> Vec<String> {
        let (mut lines, mut at) = (Vec::new(), 0);
        let len = journal.written().borrow().len;
        while at < len {
            at = journal.read(at, len, |line| lines.push(line.to_owned())).unwrap();
        }
        lines
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_next_is_appended_after_the_whole_ones() {
        for torn in [String::new(), "{\"v\":1".to_owned(), "x".repeat(3 * BLOCK), "\0\0".to_owned()] {
            let (_dir, job) = folder();
            std::fs::write(job.journal_path(), format!("a\n{}\n{torn}", "b".repeat(2 * BLOCK))).unwrap();
            let (journal, _) = Journal::in_folder(&job).unwrap();
            journal.append(b"c\n", false).unwrap();
            assert_eq!(lines(&journal), ["a", &"b".repeat(2 * BLOCK), "c"]);
            assert!(std::fs::read(job.journal_path()).unwrap().ends_with(b"b\nc\n"));
        }
    }

    #[test]
    fn a_journal_that_is_only_a_torn_line_is_empty() {
        let (_dir, job) = folder();
        std::fs::write(job.journal_path(), "{\"v\":1,").unwrap();
        let (journal, contents) = Journal::in_folder(&job).unwrap();
        assert_eq!(*journal.written().borrow(), Written::default());
        assert!(contents.open.is_none());
    }

    #[test]
    fn what_a_journal_holds_is_found_again() {
        let (_dir, job) = folder();
        let text = concat!(
            r#"{"v":1,"type":"open","job":1,"host":"h","url":"http://h","token":"t","limit":100}"#,
            "\nnonsense\n",
            r#"{"v":1,"type":"log","job":1,"host":"h","source":"pod","offset":0,"text":"abc"}"#,
            "\n",
            r#"{"v":1,"type":"log","job":1,"host":"h","source":"pod","offset":2,"text":"cd"}"#,
            "\n",
            r#"{"v":1,"type":"close","job":1,"host":"h","state":"success","sources":{"pod":4}}"#,
            "\n",
        );
        std::fs::write(job.journal_path(), text).unwrap();
        let (journal, contents) = Journal::in_folder(&job).unwrap();
        assert_eq!(*journal.written().borrow(), Written { len: text.len() as u64, closed: true });
        assert_eq!((contents.open.unwrap().limit, contents.offsets.of(Source::Pod)), (100, 4));
    }

    #[test]
    fn a_job_without_folder_has_a_journal_too() {
        let journal = Journal::temporary(&JobKey { id: 1, host: "h".into() }).unwrap();
        journal.append(b"a\nb\n", false).unwrap();
        journal.append(b"c\n", true).unwrap();
        assert_eq!(lines(&journal), ["a", "b", "c"]);
        assert!(journal.written().borrow().closed);
    }
}

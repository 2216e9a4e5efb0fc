//! What `run --follow` prints: each job's log line by line as it comes, then a table.

use std::collections::BTreeMap;
use std::io::Write;

use fake_gitlab::{Error, FakeGitlab, JobReport};

/// What runners put around a section's marks: carriage return and "erase line".
const SECTION_END: &str = "\r\u{1b}[0K";

/// Prints logs as they grow.
pub(crate) struct Follower<'a> {
    gitlab: &'a FakeGitlab,
    /// Bytes of each job's log that were seen.
    seen: BTreeMap<u64, usize>,
    /// The begun last line of each job.
    begun: BTreeMap<u64, String>,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(gitlab: &'a FakeGitlab) -> Self {
        Self { gitlab, seen: BTreeMap::new(), begun: BTreeMap::new() }
    }

    /// Prints what comes; ends only with an error.
    pub(crate) async fn follow(&mut self) -> Result<std::convert::Infallible, Error> {
        loop {
            let grown = self.gitlab.wait_logs(&mut self.seen).await;
            for (job, bytes) in grown {
                self.print(&job, &bytes)?;
            }
        }
    }

    /// Prints what is still there, unfinished lines too, and then the table of all jobs.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        for (job, bytes) in self.gitlab.new_logs(&mut self.seen) {
            self.print(&job, &bytes)?;
        }
        for job in self.gitlab.jobs() {
            if let Some(rest) = self.begun.remove(&job.id).filter(|rest| !rest.is_empty()) {
                write_out(&shown(&job.name, &rest))?;
            }
        }
        write_out(&table(&self.gitlab.jobs()))
    }

    fn print(&mut self, job: &JobReport, bytes: &[u8]) -> Result<(), Error> {
        let begun = self.begun.entry(job.id).or_default();
        begun.push_str(&String::from_utf8_lossy(bytes));
        let Some(end) = begun.rfind('\n') else { return Ok(()) };
        let rest = begun.split_off(end + 1);
        let whole = std::mem::replace(begun, rest);
        let text: String = whole.lines().map(|line| shown(&job.name, line)).collect();
        write_out(&text)
    }
}

/// A line as people read it: the job's name in front, marks and times of the runner left out.
fn shown(name: &str, line: &str) -> String {
    let line = without_time(line);
    let mut rest = line;
    while let Some((marks, after)) = rest.split_once(SECTION_END) {
        if !marks.starts_with("section_") {
            break;
        }
        rest = after;
    }
    if rest.trim_end_matches('\r').is_empty() && rest.len() < line.len() {
        return String::new(); // nothing but marks
    }
    format!("{name} | {rest}\n")
}

/// Cuts off `2026-08-22T00:44:03.123456Z 01O ` and its likes.
fn without_time(line: &str) -> &str {
    let is_time = line.get(..11).is_some_and(|day| {
        day.ends_with('T') && day[..10].chars().all(|letter| letter.is_ascii_digit() || letter == '-')
    });
    match line.get(27..32).map(str::as_bytes) {
        Some([b' ', _, _, b'O' | b'E', b' ' | b'+']) if is_time => &line[32..],
        _ => line,
    }
}

/// Job, state, exit code, seconds and length of the log, one line a job.
fn table(jobs: &[JobReport]) -> String {
    let rows: Vec<[String; 5]> =
        std::iter::once(["job", "state", "exit code", "seconds", "log bytes"].map(str::to_owned))
            .chain(jobs.iter().map(|job| {
                let is_forgiven = job.allow_failure && job.status == fake_gitlab::JobStatus::Failed;
                [
                    job.name.clone(),
                    format!("{}{}", job.status.as_str(), if is_forgiven { " (allowed)" } else { "" }),
                    job.exit_code.map_or("-".to_owned(), |code| code.to_string()),
                    job.duration.map_or("-".to_owned(), |seconds| format!("{seconds:.1}")),
                    job.trace_bytes.to_string(),
                ]
            }))
            .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    let mut text = String::from("\n");
    for [name, state, code, seconds, bytes] in &rows {
        text.push_str(&format!(
            "{name:<0$}  {state:<1$}  {code:>2$}  {seconds:>3$}  {bytes:>4$}\n",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        ));
    }
    text
}

fn write_out(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|source| Error::File {
        action: "write",
        path: "stdout".into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_without_the_runners_marks() {
        for (line, expected) in [
            ("plain", "a | plain\n"),
            ("2026-08-22T00:44:03.123456Z 01O text", "a | text\n"),
            ("2026-08-22T00:44:03.123456Z 01E+more", "a | more\n"),
            ("2026-08-22T00:44:03.123456Z no stream", "a | 2026-08-22T00:44:03.123456Z no stream\n"),
            ("section_start:1:x\r\u{1b}[0Ktitle", "a | title\n"),
            ("section_end:1:x\r\u{1b}[0Ksection_start:1:y\r\u{1b}[0Ktitle", "a | title\n"),
            ("section_end:1:x\r\u{1b}[0K", ""),
            ("2026-08-22T00:44:03.123456Z 00O section_end:1:x\r\u{1b}[0K", ""),
            ("", "a | \n"),
            ("é", "a | é\n"),
        ] {
            assert_eq!(shown("a", line), expected, "{line:?}");
        }
    }
}

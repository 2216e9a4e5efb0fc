//! How a container ended: exit code, reason, termination message.

use std::io::{Read, Seek, SeekFrom};
use std::time::SystemTime;

use super::container::{State, Terminated};
use super::launch::Home;
use super::worker::Worker;
use crate::json::text;

/// A longer termination message is cut.
const MAX_MESSAGE: u64 = 4096;
/// The same for a message taken from the log.
const MAX_LOG_MESSAGE: u64 = 2048;

impl Worker {
    /// A main process ended: keep how.
    pub(super) fn note_end(&mut self, index: usize, id: &str, code: i32) {
        let home = Home::new(self.folder.join("c").join(self.containers[index].name()));
        let container = &mut self.containers[index];
        let State::Running(running) = &container.actual else { return };
        if running.id != id {
            return;
        }
        let reason = match (container.killed_as, code) {
            (Some(reason), _) => reason,
            (None, 0) => "Completed",
            (None, _) => "Error",
        };
        let mut message = tail(&home.termination_message(), MAX_MESSAGE, false);
        let from_log = text(&container.spec, "/terminationMessagePolicy") == "FallbackToLogsOnError";
        if message.is_empty()
            && code != 0
            && from_log
            && let Some(log) = &container.log
        {
            message = tail(log.path(), MAX_LOG_MESSAGE, true);
        }
        container.actual = State::Terminated(Terminated {
            id: id.to_owned(),
            code,
            reason: reason.to_owned(),
            message,
            started: running.started,
            finished: SystemTime::now(),
        });
    }
}

/// The end of a file as text; of a log, without stamps and tags.
fn tail(path: &std::path::Path, max: u64, is_log: bool) -> String {
    let read = || {
        let mut file = std::fs::File::open(path)?;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(len.saturating_sub(max)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    // No file, no message: a container may remove it.
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    if !is_log {
        return text;
    }
    let content = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
    let lines: Vec<_> = text.lines().filter_map(content).collect();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

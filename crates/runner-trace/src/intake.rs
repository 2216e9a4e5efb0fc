//! Which line belongs to which journal, and which lines are refused.

use std::collections::HashMap;
use std::sync::Arc;

use runner_cli::state::{JobDir, StateDir};
use runner_cli::stdin::Received;
use runner_core::event::{JobKey, Log, Open};
use runner_core::line::Line;

use crate::error::Error;
use crate::journal::Journal;
use crate::render::Offsets;
use crate::writer::Append;

/// The open jobs.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    jobs: HashMap<JobKey, Job>,
}

#[derive(Debug)]
struct Job {
    journal: Arc<Journal>,
    /// Log text that is in the journal or on its way there.
    offsets: Offsets,
    /// Whether a line of it was read from the input; a job that was only found at the start is not missed at its end.
    seen: bool,
}

/// A job to be delivered from now on.
#[derive(Debug)]
pub(crate) struct NewJob {
    /// Which.
    pub(crate) key: JobKey,
    /// Its journal.
    pub(crate) journal: Arc<Journal>,
    /// Its folder, if it has one.
    pub(crate) folder: Option<JobDir>,
}

/// What is to be done with a line.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// To the output, as it is.
    PassOn(String),
    /// Into a journal; first begin to deliver the job, if it is new.
    Append(Append, Option<NewJob>),
}

impl Intake {
    /// Takes up a job whose journal was found at the start; `None` if there is nothing to deliver in it yet.
    pub(crate) fn found(&mut self, folder: JobDir) -> Result<Option<NewJob>, Error> {
        let (journal, contents) = Journal::in_folder(&folder)?;
        if contents.open.is_none() {
            return Ok(None);
        }
        let (key, journal) = (folder.key().clone(), Arc::new(journal));
        let job = Job { journal: Arc::clone(&journal), offsets: contents.offsets, seen: false };
        self.jobs.insert(key.clone(), job);
        Ok(Some(NewJob { key, journal, folder: Some(folder) }))
    }

    /// Sorts a line in. One that cannot be used is told on stderr and left out.
    pub(crate) fn take(&mut self, received: Received, state: &StateDir) -> Result<Action, Error> {
        let Received { number, text, line } = received;
        let refused = match line {
            Ok(Line::Hello(_) | Line::End) => return Ok(Action::None),
            Ok(Line::Open(open)) => match key_of(&open) {
                Ok(key) => return self.open(key, text, state),
                Err(why) => why,
            },
            Ok(Line::Pod(pod)) => match self.find(&pod.key) {
                Ok(job) => return Ok(job.append(text, false)),
                Err(why) => why,
            },
            Ok(Line::Stage(stage)) => match self.find(&stage.key) {
                Ok(job) => return Ok(job.append(text, false)),
                Err(why) => why,
            },
            Ok(Line::Close(close)) => match self.find(&close.key) {
                Ok(job) => return Ok(job.append(text, true)),
                Err(why) => why,
            },
            Ok(Line::Log(log)) => match self.find(&log.key).and_then(|job| job.cover(&log).map(|()| job)) {
                Ok(job) => return Ok(job.append(text, false)),
                Err(why) => why,
            },
            Ok(Line::Job(_) | Line::Payload(_) | Line::Done(_) | Line::Unknown) => return Ok(Action::PassOn(text)),
            Err(err) => err.to_string(),
        };
        tracing::error!("line {number}: {refused}");
        Ok(Action::None)
    }

    fn open(&mut self, key: JobKey, text: String, state: &StateDir) -> Result<Action, Error> {
        if let Some(job) = self.jobs.get_mut(&key) {
            return Ok(job.append(text, false));
        }
        let folder = Some(state.job(&key)).filter(JobDir::exists);
        let (journal, offsets) = match &folder {
            Some(folder) => {
                let (journal, contents) = Journal::in_folder(folder)?;
                (journal, contents.offsets)
            }
            None => (Journal::temporary(&key)?, Offsets::default()),
        };
        let journal = Arc::new(journal);
        let mut job = Job { journal: Arc::clone(&journal), offsets, seen: true };
        let Action::Append(line, _) = job.append(text, false) else { return Ok(Action::None) };
        self.jobs.insert(key.clone(), job);
        Ok(Action::Append(line, Some(NewJob { key, journal, folder })))
    }

    /// The open job of `key`; without a host, the one of that id.
    fn find(&mut self, key: &JobKey) -> Result<&mut Job, String> {
        let full = match key.host.is_empty() {
            false => key.clone(),
            true => {
                let mut fits = self.jobs.keys().filter(|open| open.id == key.id);
                match (fits.next(), fits.next()) {
                    (Some(one), None) => one.clone(),
                    (Some(_), Some(_)) => return Err(format!("job {}: open on several hosts, none named", key.id)),
                    (None, _) => key.clone(),
                }
            }
        };
        self.jobs.get_mut(&full).ok_or_else(|| format!("job {key}: no `open` before this line"))
    }

    /// The job was delivered or given up.
    pub(crate) fn forget(&mut self, key: &JobKey) {
        self.jobs.remove(key);
    }

    /// Whether a line of the job was read from the input.
    pub(crate) fn was_seen(&self, key: &JobKey) -> bool {
        self.jobs.get(key).is_some_and(|job| job.seen)
    }
}

impl Job {
    fn append(&mut self, line: String, closes: bool) -> Action {
        self.seen = true;
        Action::Append(Append { journal: Arc::clone(&self.journal), line, closes }, None)
    }

    /// A piece behind a gap is refused: the producer has to send what is missing first.
    fn cover(&mut self, log: &Log) -> Result<(), String> {
        let bytes = log.bytes()?;
        match self.offsets.cover(log.source, log.offset, bytes.len()) {
            Some(_) => Ok(()),
            None => {
                let (source, have) = (log.source.as_str(), self.offsets.of(log.source));
                let gap = log.offset - have;
                Err(format!("job {}: {gap} bytes of `{source}` are missing before offset {}", log.key, log.offset))
            }
        }
    }
}

/// The key of an `open`, its host from the URL if it names none. It becomes a folder's name, so it is looked at.
fn key_of(open: &Open) -> Result<JobKey, String> {
    let url_host = runner_core::host_of(&open.url);
    if url_host.is_empty() || !open.url.starts_with("http") {
        return Err(format!("job {}: `url` is no http or https address", open.key.id));
    }
    let host = if open.key.host.is_empty() { url_host } else { open.key.host.clone() };
    match host.contains(['/', '\0']) {
        true => Err(format!("job {}: `host` is no host", open.key.id)),
        false => Ok(JobKey { id: open.key.id, host }),
    }
}

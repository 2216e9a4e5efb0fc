//! Delivers one job: its log while it grows, then its result. One task per job; jobs wait for each other nowhere.
//!
//! ```text
//! text waits, interval over ─▶ PATCH, one chunk after the other while a whole one waits
//! silence for 30 s          ─▶ PUT running, with checksum and length
//! `close` in the journal    ─▶ finish.rs
//! end of the input          ─▶ what there is, then stop; the journal stays
//! ```
//! Source: GitLab runner API, "incremental loop"; unlike there, chunks follow each other without pause, so that a fast log is not
//! held to one chunk per interval.

use std::sync::Arc;
use std::time::Duration;

use runner_cli::state::JobDir;
use runner_core::control::Cancel;
use runner_core::event::{Done, JobKey, Open};
use runner_gitlab::retry::{retry, retry_within};
use runner_gitlab::{
    Answer, Error as GitlabError, JobStatus, JobUpdate, LogOutput, Patch, Patched, UpdateState, Updated,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cancel::CancelFile;
use crate::error::Error;
use crate::journal::{Journal, Written};
use crate::log::LogStream;
use crate::pause::Pauses;
use crate::shared::Shared;

/// Time between two PATCHes until the server says otherwise; also between two final PUTs.
pub(crate) const INTERVAL: Duration = Duration::from_secs(3);
/// Silence after which a PUT says that the job is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Most bytes of a PATCH.
const MAX_CHUNK: usize = 1024 * 1024;
/// Chunks are not made smaller than this when a proxy finds them too large.
const MIN_CHUNK: usize = 16 * 1024;
/// How long a chunk is held because the server asked to wait; after that it is rendered again.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first chunk after a restart only finds out where to go on.
const PROBE: usize = 4 * 1024;

/// How a delivery ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// GitLab has the result, or has refused it for good.
    Done(Done),
    /// The input ended and there was no result, or text before it was missing.
    Unfinished,
}

/// What GitLab still wants of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Log and result.
    All,
    /// The result only (404 on the log).
    Result,
    /// Nothing: the job is not, or no longer, ours.
    Nothing,
}

/// What became of one chunk.
pub(crate) enum Sent {
    /// There was nothing to send.
    Nothing,
    /// It is settled; there may be more.
    Settled,
    /// It is to be sent again.
    Failed(GitlabError),
    /// GitLab's offsets changed twice without progress.
    Lost,
}

enum Step {
    Send,
    KeepAlive,
    Finish,
    Ended,
}

/// One job's delivery.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) key: JobKey,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: LogStream,
    pub(crate) wanted: Wanted,
    pub(crate) pauses: Pauses,
    /// What GitLab has taken of the log.
    pub(crate) taken: LogOutput,
    written: watch::Receiver<Written>,
    input_ended: CancellationToken,
    cancel: CancelFile,
    interval: Duration,
    last_patch: Option<Instant>,
    last_contact: Instant,
    max_chunk: usize,
    /// Whether it is known where GitLab's log ends.
    placed: bool,
    /// How often in a row GitLab named another offset.
    moved: u32,
    /// Length of the journal with `close` at which text was missing.
    incomplete_at: Option<u64>,
}

impl Delivery {
    /// Delivers what `journal` holds and will hold. `folder`: where the job's `cancel` file goes.
    pub(crate) fn new(
        key: JobKey,
        journal: Arc<Journal>,
        folder: Option<JobDir>,
        shared: Arc<Shared>,
        input_ended: CancellationToken,
    ) -> Self {
        let written = journal.written();
        let fresh = written.borrow().len == 0;
        Self {
            key,
            shared,
            log: LogStream::new(journal),
            wanted: Wanted::All,
            pauses: Pauses::new(),
            taken: LogOutput { crc32: 0, bytes: 0 },
            written,
            input_ended,
            cancel: CancelFile::new(folder),
            interval: INTERVAL,
            last_patch: None,
            last_contact: Instant::now(),
            max_chunk: MAX_CHUNK,
            placed: fresh,
            moved: 0,
            incomplete_at: None,
        }
    }

    /// Runs until the job is delivered or the input has ended without its result.
    pub(crate) async fn run(mut self) -> Result<Outcome, Error> {
        loop {
            match self.step().await {
                Step::Send => self.send().await?,
                Step::KeepAlive => self.keep_alive().await,
                Step::Finish => {
                    if let Some(done) = self.finish().await? {
                        return Ok(Outcome::Done(done));
                    }
                    self.incomplete_at = Some(self.written.borrow().len);
                }
                Step::Ended => {
                    self.flush().await?;
                    return Ok(Outcome::Unfinished);
                }
            }
        }
    }

    /// Waits for the next thing to do.
    async fn step(&mut self) -> Step {
        loop {
            // asked before the journal is looked at: the end is told after the last line is written
            let ended = self.input_ended.is_cancelled();
            let written = *self.written.borrow_and_update();
            if written.closed && self.incomplete_at != Some(written.len) {
                return Step::Finish;
            }
            if ended {
                return Step::Ended;
            }
            let waits = self.wanted == Wanted::All && self.log.waiting() > 0;
            let now = Instant::now();
            let send_at = waits.then(|| self.last_patch.map_or(now, |last| last + self.interval));
            if send_at.is_some_and(|at| at <= now) {
                return Step::Send;
            }
            let alive_at = (self.wanted != Wanted::Nothing && !waits).then(|| self.last_contact + KEEP_ALIVE);
            tokio::select! {
                // its sender lives as long as the journal, which `log` holds
                _ = self.written.changed() => {}
                () = self.input_ended.cancelled() => {}
                () = at(send_at) => return Step::Send,
                () = at(alive_at) => return Step::KeepAlive,
            }
        }
    }

    /// Sends what waits now, and what comes meanwhile if it fills a chunk; the rest waits for the next interval. After a failure it
    /// pauses and leaves everything to the next step.
    async fn send(&mut self) -> Result<(), Error> {
        let due = self.written.borrow().len;
        while self.wanted == Wanted::All && (self.log.is_behind(due) || self.log.waiting() >= self.max_chunk as u64) {
            match self.send_chunk().await? {
                Sent::Settled => {}
                Sent::Nothing => break,
                Sent::Failed(err) => {
                    self.pause(&err).await;
                    break;
                }
                Sent::Lost => {
                    sleep(self.pauses.next()).await;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends one chunk. If that fails its memory is given back: it is rendered again for the next attempt.
    pub(crate) async fn send_chunk(&mut self) -> Result<Sent, Error> {
        let shared = Arc::clone(&self.shared);
        let most = if self.placed { self.max_chunk } else { PROBE };
        let waiting = usize::try_from(self.log.waiting()).unwrap_or(usize::MAX);
        let (most, _room) = shared.room(waiting.min(most)).await;
        let bytes = self.log.take(most).await?;
        let Some(open) = self.log.open().filter(|_| !bytes.is_empty()) else { return Ok(Sent::Nothing) };
        let start = self.log.output().bytes - bytes.len() as u64;
        let size = bytes.len();
        let patch = Patch { job: self.key.id, token: &open.token, start, bytes, debug_trace: open.debug_trace };
        let sent = match shared.client(open) {
            Ok(client) => retry_within(PATIENCE, || client.patch_trace(&patch)).await,
            Err(err) => Err(err),
        };
        drop(patch);
        self.last_patch = Some(Instant::now());
        let answer = match sent {
            Ok(answer) => answer,
            Err(err) => {
                if err.status() == Some(413) && size > MIN_CHUNK {
                    self.max_chunk = (size / 2).max(MIN_CHUNK);
                }
                self.log.seek(start);
                return Ok(Sent::Failed(err));
            }
        };
        self.heard(&answer);
        match answer.outcome {
            Patched::Accepted => {
                self.taken = self.log.output();
                self.placed = true;
                self.moved = 0;
                self.pauses = Pauses::new();
            }
            Patched::ResumeAt(offset) => {
                tracing::debug!("job {}: GitLab's log ends at {offset}, not at {start}", self.key);
                self.log.seek(offset);
                self.placed = true;
                self.moved += 1;
                if self.moved > 1 {
                    return Ok(Sent::Lost);
                }
            }
            Patched::NotFound => self.wanted = Wanted::Result,
            Patched::Gone => self.gone(),
        }
        Ok(Sent::Settled)
    }

    async fn keep_alive(&mut self) {
        let output = self.log.output();
        match self.put(UpdateState::Running, None, None, output).await {
            Ok(answer) if answer.outcome == Updated::Gone => self.gone(),
            Ok(_) => self.pauses = Pauses::new(),
            Err(err) => {
                self.pause(&err).await;
                // the next attempt is due at once: the pause was the wait
                self.last_contact = Instant::now().checked_sub(KEEP_ALIVE).unwrap_or(self.last_contact);
            }
        }
    }

    /// Reports a state of the job.
    pub(crate) async fn put(
        &mut self,
        state: UpdateState,
        failure_reason: Option<runner_core::failure::FailureReason>,
        exit_code: Option<i32>,
        output: LogOutput,
    ) -> Result<Answer<Updated>, GitlabError> {
        let shared = Arc::clone(&self.shared);
        let open = self.opened();
        let update = JobUpdate {
            job: self.key.id,
            token: &open.token,
            info: &shared.info,
            state,
            failure_reason,
            exit_code,
            output: Some(output),
        };
        let client = shared.client(open)?;
        let answer = retry(|| client.update_job(&update)).await?;
        self.heard(&answer);
        Ok(answer)
    }

    /// The job's `open`. It is the first line of every journal that is delivered, and something was read before this is asked.
    pub(crate) fn opened(&self) -> &Open {
        self.log.open().unwrap_or_else(|| unreachable!("job {} is delivered from a journal without `open`", self.key))
    }

    /// Takes over what stands on every answer.
    fn heard<T>(&mut self, answer: &Answer<T>) {
        self.last_contact = Instant::now();
        self.interval = answer.interval.unwrap_or(self.interval);
        if answer.job_status == Some(JobStatus::Canceling) {
            self.cancel.raise(Cancel::Canceling);
        }
    }

    fn gone(&mut self) {
        tracing::info!("job {}: GitLab takes nothing more of it", self.key);
        self.wanted = Wanted::Nothing;
        self.cancel.raise(Cancel::Canceled);
    }

    /// Waits after a failure.
    pub(crate) async fn pause(&mut self, err: &GitlabError) {
        let pause = self.pauses.after(err);
        tracing::warn!("job {}: {err}; trying again in {:.1} s", self.key, pause.as_secs_f32());
        sleep(pause).await;
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

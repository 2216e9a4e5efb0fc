//! The end of a job: the rest of its log, then its result, until GitLab has accepted or refused both for good.
//!
//! Source: GitLab runner API, "completion". Unlike there, what passes (network, 5xx, 429, a lock) is tried again without end: the
//! journal keeps everything.

use std::time::Duration;

use runner_core::event::{Close, Done, Head, State};
use runner_core::failure::FailureReason;
use runner_core::line::LineType;
use runner_gitlab::{JobStatus, UpdateState, Updated};
use tokio::time::sleep;

use crate::error::Error;
use crate::pause::is_lasting;
use crate::upload::{Delivery, INTERVAL, Sent, Wanted};

/// How often a refusal that will hardly change is believed to be a mistake.
const TRIES: u32 = 10;
/// Bytes rendered at once where nothing is sent.
const DRAIN: usize = 256 * 1024;

impl Delivery {
    /// Delivers the rest and the result. `None` if text that `close` announces is missing.
    pub(crate) async fn finish(&mut self) -> Result<Option<Done>, Error> {
        let (mut refusals, mut asked_again) = (0, false);
        loop {
            self.flush().await?;
            let Some(close) = self.result() else { return Ok(None) };
            let output = if self.wanted == Wanted::Nothing { self.taken } else { self.log.output() };
            if let Some(ahead) = self.log.ahead() {
                if !asked_again {
                    // it may have been mistaken: offer it the text again that it was not seen to take
                    asked_again = true;
                    self.log.seek(self.taken.bytes);
                    continue;
                }
                tracing::warn!("job {}: GitLab's log has {ahead} bytes more than its journal", self.key);
            }
            let state = match close.state {
                State::Success => UpdateState::Success,
                State::Failed => UpdateState::Failed,
            };
            let reason = self.reason(&close);
            let wait = match self.put(state, reason, close.exit_code, output).await {
                Ok(answer) => match answer.outcome {
                    Updated::Accepted => return Ok(Some(self.done(&close, true))),
                    // a result that was accepted before a crash is refused the second time
                    Updated::Gone => return Ok(Some(self.done(&close, ended_as(answer.job_status, close.state)))),
                    Updated::Later => answer.interval.unwrap_or(INTERVAL),
                    Updated::Resend => {
                        self.log.seek(0);
                        self.pauses.next()
                    }
                },
                Err(err) => {
                    refusals += u32::from(is_lasting(&err));
                    if refusals == TRIES {
                        tracing::error!("job {}: {err}; given up after {TRIES} tries", self.key);
                        return Ok(Some(self.done(&close, false)));
                    }
                    self.pause(&err).await;
                    Duration::ZERO
                }
            };
            sleep(wait).await;
        }
    }

    /// Sends all the text there is; what passes is tried again until it is settled.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        let mut refusals = 0;
        while self.wanted == Wanted::All {
            match self.send_chunk().await? {
                Sent::Settled => {}
                Sent::Nothing => return Ok(()),
                Sent::Lost => sleep(self.pauses.next()).await,
                Sent::Failed(err) => {
                    refusals += u32::from(is_lasting(&err));
                    if refusals == TRIES {
                        tracing::error!("job {}: {err}; its log is given up after {TRIES} tries", self.key);
                        self.wanted = Wanted::Result;
                    } else {
                        self.pause(&err).await;
                    }
                }
            }
        }
        // nobody wants the text, but `close` stands behind it
        while !self.log.take(DRAIN).await?.is_empty() {}
        Ok(())
    }

    /// The job's result, once its text is there; a job that GitLab does not want any more waits for no text.
    fn result(&self) -> Option<Close> {
        match self.wanted {
            Wanted::Nothing => self.log.close().cloned(),
            _ => self.log.result().cloned(),
        }
    }

    /// Why the job failed, in a word this GitLab knows.
    fn reason(&self, close: &Close) -> Option<FailureReason> {
        let reason = close.failure_reason.unwrap_or(FailureReason::ScriptFailure);
        (close.state == State::Failed).then(|| reason.for_gitlab(&self.opened().features.failure_reasons))
    }

    fn done(&self, close: &Close, accepted: bool) -> Done {
        // a job that was reported before has its whole log there; `log` is at its end, sent or not
        let output = if accepted { self.log.output() } else { self.taken };
        Done {
            head: Head::new(LineType::Done),
            key: self.key.clone(),
            state: close.state,
            exit_code: close.exit_code,
            failure_reason: self.reason(close),
            bytes: output.bytes,
            checksum: output.checksum(),
            accepted,
        }
    }
}

/// Whether the job already stands as it was to be reported.
fn ended_as(status: Option<JobStatus>, state: State) -> bool {
    matches!((status, state), (Some(JobStatus::Success), State::Success) | (Some(JobStatus::Failed), State::Failed))
}

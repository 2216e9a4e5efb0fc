//! How a job ended, and what the last line of its log says.

use runner_core::event::State;
use runner_core::failure::FailureReason;
use runner_core::frame::Outcome;
use runner_core::text;

/// A job's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: Option<FailureReason>,
    /// What went wrong; empty on success.
    pub(crate) message: String,
    pub(crate) last_words: LastWords,
}

/// What the last line of a failed job's log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWords {
    /// `ERROR: Job failed: …`
    FinalLine,
    /// The message and nothing else.
    Bare,
}

impl Verdict {
    /// The job did not succeed, for a reason outside its script.
    pub(crate) fn failed(reason: FailureReason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { state: State::Failed, exit_code: None, reason: Some(reason), message, last_words: LastWords::FinalLine }
    }

    /// Infrastructure failed.
    pub(crate) fn system(message: impl Into<String>) -> Self {
        Self::failed(FailureReason::RunnerSystemFailure, message)
    }

    /// Somebody stopped it.
    pub(crate) fn canceled() -> Self {
        Self::failed(FailureReason::JobCanceled, "canceled")
    }

    /// Before the first stage had run: in the words GitLab Runner uses for it.
    pub(crate) fn while_preparing(mut self) -> Self {
        self.message = format!(
            "prepare environment: {}. Check https://docs.gitlab.com/runner/shells/#shell-profile-loading for more information",
            self.message
        );
        self
    }

    /// The last line of the job's log.
    pub(crate) fn final_line(&self) -> String {
        match (self.state, self.reason) {
            (State::Success, _) => text::info("Job succeeded"),
            _ if self.last_words == LastWords::Bare => format!("{}\n", self.message),
            (State::Failed, None | Some(FailureReason::RunnerSystemFailure)) => {
                text::error(&format!("Job failed (system failure): {}", self.message))
            }
            (State::Failed, Some(_)) => text::error(&format!("Job failed: {}", self.message)),
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self {
            state: outcome.state,
            exit_code: outcome.exit_code,
            reason: outcome.failure_reason,
            message: outcome.message,
            last_words: LastWords::FinalLine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j148_the_last_line_tells_how_the_job_ended() {
        let success = Outcome {
            state: State::Success,
            exit_code: None,
            failure_reason: None,
            message: String::new(),
            length: 0,
            container_lost: false,
        };
        let script = Verdict::failed(FailureReason::ScriptFailure, "command terminated with exit code 3");
        let unclassified = Verdict { reason: None, ..Verdict::system("odd") };
        let bare = Verdict { last_words: LastWords::Bare, ..Verdict::system("text") };
        for (verdict, line) in [
            (Verdict::from(success), "\u{1b}[32;1mJob succeeded\u{1b}[0;m\n"),
            (script, "\u{1b}[31;1mERROR: Job failed: command terminated with exit code 3\u{1b}[0;m\n"),
            (Verdict::canceled(), "\u{1b}[31;1mERROR: Job failed: canceled\u{1b}[0;m\n"),
            (Verdict::system("lost"), "\u{1b}[31;1mERROR: Job failed (system failure): lost\u{1b}[0;m\n"),
            (unclassified, "\u{1b}[31;1mERROR: Job failed (system failure): odd\u{1b}[0;m\n"),
            (bare, "text\n"),
        ] {
            assert_eq!(verdict.final_line(), line);
        }
    }

    #[test]
    fn j115_a_failure_while_preparing_carries_the_hint() {
        let hint = ". Check https://docs.gitlab.com/runner/shells/#shell-profile-loading for more information";
        let verdict = Verdict::failed(FailureReason::ImagePullFailure, "no image").while_preparing();
        assert_eq!(verdict.message, format!("prepare environment: no image{hint}"));
        assert_eq!(verdict.reason, Some(FailureReason::ImagePullFailure));
    }
}

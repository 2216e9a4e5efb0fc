//! What a plan has to say to the people who read the job's log: lines, and why there is no pod.

use runner_core::failure::FailureReason;
use runner_core::text;

/// Why there can be no pod for this job.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: FailureReason,
    /// For the job's last line.
    pub(crate) message: String,
    /// Lines for the log that come before it, with colours and line ends.
    pub(crate) notes: Vec<String>,
}

impl Refusal {
    /// The runner's or the job's settings cannot work.
    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Self { reason: FailureReason::RunnerConfigurationError, message: message.into(), notes: Vec::new() }
    }

    /// What GitLab Runner reports as its own failure although settings are the cause.
    pub(super) fn system(message: impl Into<String>) -> Self {
        Self { reason: FailureReason::RunnerSystemFailure, ..Self::configuration(message) }
    }
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    Plain(String),
    Warning(String),
    Error(String),
}

impl Note {
    /// Without colours.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Warning(text) | Self::Error(text) => text,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Plain(text) => text::plain(text),
            Self::Warning(text) => text::warning(text),
            Self::Error(text) => text::error(text),
        }
    }
}

/// As they go into the log.
pub(super) fn lines(notes: &[Note]) -> Vec<String> {
    notes.iter().map(Note::line).collect()
}

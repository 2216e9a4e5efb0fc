//! How a stage, and with it the job, fails.

use runner_core::failure::FailureReason;

use crate::wire::End;

/// A failure as the job's final line and result tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the final line says after `Job failed: `.
    pub(crate) message: String,
    /// Why, as GitLab names it.
    pub(crate) reason: FailureReason,
    /// Of the script or program that failed.
    pub(crate) exit_code: Option<i32>,
    /// The build container is gone; only the executor can see why.
    pub(crate) container_lost: bool,
}

impl Failure {
    /// A failure without exit code.
    pub(crate) fn new(message: impl Into<String>, reason: FailureReason) -> Self {
        Self { message: message.into(), reason, exit_code: None, container_lost: false }
    }

    /// The runner's own fault, or its surroundings'.
    pub(crate) fn system(message: impl Into<String>) -> Self {
        Self::new(message, FailureReason::RunnerSystemFailure)
    }

    /// A script or program that ended with this code.
    pub(crate) fn exit(code: i32) -> Self {
        Self {
            exit_code: Some(code),
            ..Self::new(format!("command terminated with exit code {code}"), FailureReason::ScriptFailure)
        }
    }

    /// The build container went away.
    pub(crate) fn lost() -> Self {
        Self { container_lost: true, ..Self::system("the build container ended while the job ran") }
    }
}

/// A program's end as a stage's outcome.
pub(crate) fn check(end: End) -> Result<(), Failure> {
    match end.exit_code() {
        0 => Ok(()),
        code => Err(Failure::exit(code)),
    }
}

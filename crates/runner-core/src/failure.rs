//! Failure reasons and how one becomes a reason that GitLab knows.

use serde::{Deserialize, Serialize};

/// Why a job failed, as GitLab names it.
///
/// Source: GitLab runner contract, "failure reasons".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// A stage's script ended with a non-zero code, in the build container or in the helper.
    ScriptFailure,
    /// Infrastructure failed, or the runner did.
    RunnerSystemFailure,
    /// The job's, the script's or a stage's time was over.
    JobExecutionTimeout,
    /// An image could not be pulled and the cause is unclear.
    ImagePullFailure,
    /// The runner's or the job's settings cannot work.
    RunnerConfigurationError,
    /// A registry or another service the job needs could not be reached.
    RunnerExternalDependencyFailure,
    /// The runner was told to stop.
    RunnerInterrupted,
    /// The job was canceled.
    JobCanceled,
    /// Anything else; also what a reason becomes that this GitLab does not know.
    #[serde(other)]
    UnknownFailure,
}

impl FailureReason {
    /// The name on the wire, e.g. `script_failure`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScriptFailure => "script_failure",
            Self::RunnerSystemFailure => "runner_system_failure",
            Self::JobExecutionTimeout => "job_execution_timeout",
            Self::ImagePullFailure => "image_pull_failure",
            Self::RunnerConfigurationError => "runner_configuration_error",
            Self::RunnerExternalDependencyFailure => "runner_external_dependency_failure",
            Self::RunnerInterrupted => "runner_interrupted",
            Self::JobCanceled => "job_canceled",
            Self::UnknownFailure => "unknown_failure",
        }
    }

    /// The reason to report to a GitLab that announced `supported` in `features.failure_reasons`.
    ///
    /// Script failure, system failure and timeout are always understood; the rest falls back to the nearest of them.
    pub fn for_gitlab<S: AsRef<str>>(self, supported: &[S]) -> Self {
        let known = |reason: Self| {
            matches!(reason, Self::ScriptFailure | Self::RunnerSystemFailure | Self::JobExecutionTimeout)
                || supported.iter().any(|s| s.as_ref() == reason.as_str())
        };
        if known(self) {
            return self;
        }
        match self {
            Self::ImagePullFailure | Self::RunnerExternalDependencyFailure => Self::RunnerSystemFailure,
            Self::RunnerConfigurationError => Self::ScriptFailure,
            _ => Self::UnknownFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FailureReason::*;

    #[test]
    fn a_reason_gitlab_does_not_know_falls_back() {
        for (reason, expected) in [
            (ScriptFailure, ScriptFailure),
            (ImagePullFailure, RunnerSystemFailure),
            (RunnerExternalDependencyFailure, RunnerSystemFailure),
            (RunnerConfigurationError, ScriptFailure),
            (RunnerInterrupted, UnknownFailure),
            (JobCanceled, UnknownFailure),
        ] {
            assert_eq!(reason.for_gitlab::<&str>(&[]), expected);
        }
    }

    #[test]
    fn a_reason_gitlab_announced_is_kept() {
        assert_eq!(RunnerInterrupted.for_gitlab(&["runner_interrupted"]), RunnerInterrupted);
        assert_eq!(ImagePullFailure.for_gitlab(&["image_pull_failure"]), ImagePullFailure);
    }
}

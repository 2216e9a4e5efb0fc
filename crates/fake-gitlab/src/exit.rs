//! Exit statuses, and which failure becomes which.

use std::process::ExitCode;

use fake_gitlab::Error;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Told to stop, or the pipeline succeeded.
    Done = 0,
    /// The pipeline did not succeed.
    NoSuccess = 1,
    /// A file, a repository or the address could not be used.
    InputOutput = 74,
    /// A definition or a name is wrong.
    Configuration = 78,
}

impl Exit {
    /// The status that stands for a failure.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Definition(_) | Error::Project { .. } | Error::NoReference { .. } | Error::Runner(_) => {
                Self::Configuration
            }
            _ => Self::InputOutput,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

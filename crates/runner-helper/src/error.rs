//! What can go wrong with the helper itself. A job that fails is no error, it is a result.

use std::io::{self, Write};

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;
/// Exit code for a mistake in this program.
const BUG: i32 = 70;
/// Exit code for input or output that failed.
const IO: u8 = 74;
/// Exit code for a job file that cannot be read.
const CONFIG: u8 = 78;

/// An error of the helper itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// An operation on a file, socket or process failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The job file holds no job.
    #[error("read the job file: {0}")]
    Job(#[from] runner_core::line::LineError),
}

impl HelperError {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } => IO,
            Self::Job(_) => CONFIG,
        }
    }
}

/// For `map_err`: names what was being done.
pub(crate) fn doing<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> HelperError {
    move |source| HelperError::Io { doing: doing.into(), source: source.into() }
}

/// One line on stderr, `runner-helper: what: why`.
pub(crate) fn report(err: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "runner-helper: {err}"); // nowhere left to report a closed stderr
}

/// Ends the process: a task that is gone would be waited for in vain. The panic's text may quote a secret, its place does not.
#[expect(clippy::exit, reason = "a panic hook has no caller to return to")]
pub(crate) fn bug(at: Option<&std::panic::Location<'_>>) {
    match at {
        Some(at) => report(&format_args!("bug at {at}")),
        None => report(&"bug"),
    }
    std::process::exit(BUG);
}

//! The exit codes of all tools, and how an error gets one.

use std::fmt;
use std::process::ExitCode;

/// What a tool's exit tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: done, every job succeeded.
    Done,
    /// 1: done, some job did not succeed.
    JobFailed,
    /// 2: wrong usage.
    Usage,
    /// 69: a service cannot be reached and retrying was given up.
    Unavailable,
    /// 70: a bug.
    Bug,
    /// 74: input or output error.
    Io,
    /// 75: a neighbour in the pipe was lost; start the pipe again.
    NeighbourLost,
    /// 77: refused (token, RBAC).
    Refused,
    /// 78: wrong configuration.
    Config,
    /// 128 + n: stopped by signal n; running jobs go on and are found again at the next start.
    Signal(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::JobFailed => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Io => 74,
            Self::NeighbourLost => 75,
            Self::Refused => 77,
            Self::Config => 78,
            Self::Signal(n) => 128_u8.saturating_add(n),
        }
    }

    /// The exit that `err` was given with [`Fail::exit`]; else 74 for an I/O error, else 70.
    pub fn of(err: &anyhow::Error) -> Self {
        if let Some(with) = err.chain().find_map(|e| e.downcast_ref::<WithExit>()) {
            return with.exit;
        }
        if err.chain().any(|e| e.is::<std::io::Error>()) { Self::Io } else { Self::Bug }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Gives an error its exit code.
pub trait Fail<T> {
    /// Keeps the error's text and makes the tool exit with `exit` if it reaches `main`.
    fn exit(self, exit: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Fail<T> for Result<T, E> {
    fn exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|err| failure(exit, err))
    }
}

/// An error that makes the tool exit with `exit`.
pub fn failure(exit: Exit, err: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(WithExit { exit, err: err.into() })
}

/// Carries the exit through the chain. Shows the whole inner chain itself and has no source, so that no text appears twice.
#[derive(Debug)]
struct WithExit {
    exit: Exit,
    err: anyhow::Error,
}

impl fmt::Display for WithExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&told(&self.err))
    }
}

impl std::error::Error for WithExit {}

/// The error and its causes as `what: why`. A cause is left out if the text before it ends with its words: many errors name their
/// cause themselves, for loggers that print only them.
fn told(err: &anyhow::Error) -> String {
    err.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.is_empty() {
        true => cause,
        false if text.ends_with(&cause) => text,
        false => format!("{text}: {cause}"),
    })
}

/// Prints `tool: what: why` on stderr, in one line without control characters.
pub fn report(tool: &str, err: &anyhow::Error) {
    let text: String = told(err).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // A closed stderr leaves no place to complain.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{tool}: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_codes_are_those_of_the_manual() {
        let codes = [
            (Exit::Done, 0),
            (Exit::JobFailed, 1),
            (Exit::Usage, 2),
            (Exit::Unavailable, 69),
            (Exit::Bug, 70),
            (Exit::Io, 74),
            (Exit::NeighbourLost, 75),
            (Exit::Refused, 77),
            (Exit::Config, 78),
            (Exit::Signal(15), 143),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn an_error_keeps_its_exit_through_added_context() {
        let err = Err::<(), _>(anyhow!("no such key").context("`x`")).exit(Exit::Config).context("reading a.toml");
        let err = err.unwrap_err();
        assert_eq!(Exit::of(&err), Exit::Config);
        assert_eq!(format!("{err:#}"), "reading a.toml: `x`: no such key");
    }

    #[test]
    fn a_cause_that_was_named_is_not_named_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("opening x: {source}")]
        struct Opening {
            source: std::io::Error,
        }
        let err = anyhow::Error::new(Opening { source: std::io::Error::other("denied") });
        assert_eq!(told(&err), "opening x: denied");
        assert_eq!(told(&failure(Exit::Io, err).context("starting")), "starting: opening x: denied");
    }

    #[test]
    fn an_error_without_exit_is_io_or_a_bug() {
        assert_eq!(Exit::of(&std::io::Error::other("x").into()), Exit::Io);
        assert_eq!(Exit::of(&anyhow!("x")), Exit::Bug);
    }
}

//! Lines about artifacts and caches: a message, padded, and fields behind it.

use runner_core::text::{BOLD_RED, RESET, YELLOW};

use super::log::Log;

/// Width to which a message, with its prefix, is padded.
const WIDTH: usize = 50;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// For information.
    Info,
    /// Something is odd; things go on.
    Warning,
    /// Something failed; things may go on.
    Error,
    /// Something failed for good.
    Fatal,
}

impl Level {
    fn look(self) -> (&'static str, &'static str) {
        match self {
            Self::Info => ("", ""),
            Self::Warning => (YELLOW, "WARNING: "),
            Self::Error => (BOLD_RED, "ERROR: "),
            Self::Fatal => (BOLD_RED, "FATAL: "),
        }
    }
}

/// Writes one line.
pub(crate) fn line(log: &Log, level: Level, message: &str, fields: &[(&str, &str)]) {
    log.work(text(level, message, fields).as_bytes());
}

fn text(level: Level, message: &str, fields: &[(&str, &str)]) -> String {
    let (color, prefix) = level.look();
    let width = WIDTH - prefix.len();
    let mut line = format!("{color}{prefix}{message:width$}{RESET} ");
    let mut fields = fields.to_vec();
    fields.sort_unstable();
    for (key, value) in fields {
        line.push_str(&format!(" {color}{key}{RESET}={value}"));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_those_of_the_original() {
        for (level, message, fields, expected) in [
            (
                Level::Info,
                "x: excluded 1 files",
                &[][..],
                "x: excluded 1 files                               \u{1b}[0;m \n",
            ),
            (
                Level::Fatal,
                "too large",
                &[],
                "\u{1b}[31;1mFATAL: too large                                  \u{1b}[0;m \n",
            ),
            (
                Level::Warning,
                "Retrying...",
                &[("id", "5"), ("error", "e")],
                "\u{1b}[0;33mWARNING: Retrying...                              \u{1b}[0;m  \u{1b}[0;33merror\u{1b}[0;m=e \u{1b}[0;33mid\u{1b}[0;m=5\n",
            ),
        ] {
            assert_eq!(text(level, message, fields), expected);
        }
    }
}

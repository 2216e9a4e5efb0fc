//! The bytes of runner lines in a job log: colours, headings, section markers.
//!
//! Tools and people read these, so they are GitLab Runner's to the byte (`ESC[31;1m`, not `ESC[1;31m`).

use std::time::{SystemTime, UNIX_EPOCH};

/// `ESC[31;1m`, errors.
pub const BOLD_RED: &str = "\u{1b}[31;1m";
/// `ESC[32;1m`, notices and echoed commands.
pub const BOLD_GREEN: &str = "\u{1b}[32;1m";
/// `ESC[33;1m`, the limit notice.
pub const BOLD_YELLOW: &str = "\u{1b}[33;1m";
/// `ESC[36;1m`, headings.
pub const BOLD_CYAN: &str = "\u{1b}[36;1m";
/// `ESC[0;33m`, warnings.
pub const YELLOW: &str = "\u{1b}[0;33m";
/// `ESC[0;m`.
pub const RESET: &str = "\u{1b}[0;m";
/// `ESC[0K`, clear to the end of the line.
pub const CLEAR: &str = "\u{1b}[0K";

/// A plain line of the runner.
pub fn plain(text: &str) -> String {
    format!("{CLEAR}{text}{RESET}\n")
}

/// A line of the runner in bold green.
pub fn info(text: &str) -> String {
    format!("{BOLD_GREEN}{text}{RESET}\n")
}

/// A yellow line that begins with `WARNING: `.
pub fn warning(text: &str) -> String {
    format!("{YELLOW}WARNING: {text}{RESET}\n")
}

/// A bold red line that begins with `ERROR: `.
pub fn error(text: &str) -> String {
    format!("{BOLD_RED}ERROR: {text}{RESET}\n")
}

/// The heading of a stage.
pub fn heading(text: &str) -> String {
    plain(&format!("{BOLD_CYAN}{text}{RESET}"))
}

/// Marker before a stage. No newline: the text that follows overwrites it on a terminal.
pub fn section_start(at: SystemTime, name: &str) -> String {
    format!("section_start:{}:{name}\r{CLEAR}", unix_seconds(at))
}

/// Marker after a stage.
pub fn section_end(at: SystemTime, name: &str) -> String {
    format!("section_end:{}:{name}\r{CLEAR}", unix_seconds(at))
}

/// What the log says where it was cut at `limit` bytes.
pub fn limit_notice(limit: u64) -> String {
    format!(
        "\n{BOLD_YELLOW}Job's log exceeded limit of {limit} bytes.\nJob execution will continue but no more output will be collected.{RESET}\n"
    )
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j201_a_line_is_prefix_text_reset_and_newline() {
        for (line, expected) in [
            (plain("a"), "\u{1b}[0Ka\u{1b}[0;m\n"),
            (info("a"), "\u{1b}[32;1ma\u{1b}[0;m\n"),
            (warning("a"), "\u{1b}[0;33mWARNING: a\u{1b}[0;m\n"),
            (error("a"), "\u{1b}[31;1mERROR: a\u{1b}[0;m\n"),
            (heading("a"), "\u{1b}[0K\u{1b}[36;1ma\u{1b}[0;m\u{1b}[0;m\n"),
        ] {
            assert_eq!(line, expected);
        }
    }
}

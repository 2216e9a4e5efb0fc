//! What a person or a program reads on stdout: one line for each runner.

use std::io::Write;

use runner_cli::exit::{Exit, Fail};

/// Writes one line.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let text: String = line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).exit(Exit::Io)
}

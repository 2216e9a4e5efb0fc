//! The command line.

use clap::Parser;
use runner_cli::args::{Common, State};

/// Deliver job logs and results to GitLab.
///
/// Reads events, one JSON object a line, on the standard input, keeps them in a journal per job below the state directory, and
/// sends log and result to GitLab until it has accepted or finally refused them. Prints one `done` line per job. Jobs whose journal
/// is found at the start are continued.
///
/// Exit codes: 0 every job succeeded, 1 some job did not, 74 input or output error, 75 a neighbour in the pipe was lost (start the
/// pipe again), 78 wrong configuration.
#[derive(Debug, Parser)]
#[command(name = "runner-trace", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    pub(crate) state: State,

    /// Exit with 0 even if jobs did not succeed
    #[arg(long)]
    pub(crate) ignore_job_result: bool,
}

impl AsRef<Common> for Cli {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

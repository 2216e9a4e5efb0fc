//! The command line.

use clap::Parser;
use runner_cli::args::{Common, State};
use runner_cli::config::ConfigFile;

const EXIT_STATUS: &str = "\
Exit status:
  0      ended: after QUIT, or with --once after its job
  2      wrong usage
  74     the state directory cannot be used, or is in use
  75     whoever read standard output is gone; start the pipe again
  78     config.toml is wrong or has no runner that can be run
  128+n  stopped by signal n; the jobs go on and are printed again at the next start";

/// Asks GitLab for jobs and prints each as one line of JSON on stdout.
///
/// A job is asked for only while there is a free slot (`concurrent`, `limit`), and is stored in the state directory before it is
/// printed. After a restart the unfinished jobs are printed again.
///
/// Signals: QUIT takes no further job, prints `end` and exits; TERM and INT stop at once; HUP reads the configuration again.
#[derive(Debug, Parser)]
#[command(name = "runner-poll", version, after_long_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    pub(crate) config: ConfigFile,

    #[command(flatten)]
    pub(crate) state: State,

    /// Take one new job, print it and `end`, and exit
    #[arg(long)]
    pub(crate) once: bool,
}

impl AsRef<Common> for Cli {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

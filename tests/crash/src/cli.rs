//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Kill anything at random moments and check that nothing is lost
///
/// Each trial starts a GitLab, a cluster and the pipe, runs jobs of many shapes, and kills, freezes and cuts what its seed says.
/// The same seed makes the same jobs and faults. A trial that finds a violation prints it with its seed and keeps its folder.
#[derive(Debug, Parser)]
#[command(
    name = "crash",
    version,
    after_help = "Exit status:\n  0   no violation\n  1   some trial found a violation\n  2   wrong usage\n  74  a trial could not be set up"
)]
pub(crate) struct Cli {
    /// How many trials
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) trials: u64,

    /// Seed of the first trial; the next ones count up
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,

    /// What the jobs run on
    #[arg(long, value_enum, default_value_t = Place::Fakes)]
    pub(crate) on: Place,

    /// Jobs of each trial [default: 3 to 8, as the seed says]
    #[arg(long, value_name = "J")]
    pub(crate) jobs: Option<usize>,

    /// Trials at the same time
    #[arg(long, value_name = "P", default_value_t = 2)]
    pub(crate) parallel: usize,

    /// Keep the folders of all trials, not only of those that failed
    #[arg(long)]
    pub(crate) keep: bool,

    /// Where trials have their folders [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Print what the seeds say and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// fake-gitlab and fake-kube.
    Fakes,
}

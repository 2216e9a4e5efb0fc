//! The command line.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use runner_cli::args::{Common, State};

/// Run each job in a Kubernetes pod of its own
///
/// Reads `job` lines from standard input (from runner-poll, or a file) and prints what happens as events, for runner-trace.
/// A bare GitLab job payload is accepted as well, so that a captured job can be run again: `runner-exec-k8s < job.json`.
#[derive(Debug, Clone, Parser)]
#[command(name = "runner-exec-k8s", version, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    pub(crate) state: State,

    /// How to print [default: text if standard output is a terminal, else ndjson]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Print the manifests of each job as a YAML stream and contact no cluster
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// With --dry-run: print the Secrets' values too
    #[arg(long, requires = "dry_run")]
    pub(crate) show_secrets: bool,

    /// Exit with 0 even if a job did not succeed
    #[arg(long)]
    pub(crate) ignore_job_result: bool,

    /// Cluster to use, where not running inside one [default: as kubectl]
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: the runner's `context`, else the current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Namespace of all pods, in place of the runner's
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    #[command(flatten)]
    pub(crate) pods: PodArgs,

    #[command(flatten)]
    pub(crate) bare: Bare,
}

/// What a bare payload lacks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "For a bare job payload")]
pub(crate) struct Bare {
    /// config.toml to take the runner's settings from
    #[arg(short, long, env = "CONFIG_FILE", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Which `[[runners]]` entry, if there are several
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) runner: Option<String>,

    /// GitLab's URL [default: the runner's, else the job's CI_SERVER_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Image of jobs that name none [default: the runner's]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
}

/// What the tool says of every pod, whatever the runner's configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PodArgs {
    /// Image of the helper container, in place of the runner's
    #[arg(long, env = "RUNNER_HELPER_IMAGE", value_name = "IMAGE")]
    pub(crate) helper_image: Option<String>,

    /// How the helper's program comes into the build container
    #[arg(long, env = "RUNNER_INJECT", value_enum, value_name = "HOW", default_value_t)]
    pub(crate) inject: Inject,
}

/// How the helper's program comes into the build container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Inject {
    /// The image's own shell waits for it
    #[default]
    Shell,
    /// An init container brings it: for images whose shell is not `sh`; a second slower
    InitContainer,
}

/// What standard output carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The jobs' logs as plain text, for people.
    Text,
    /// Events, one JSON object per line, for runner-trace.
    Ndjson,
}

impl Cli {
    /// The format that was asked for, or the one that fits standard output.
    pub(crate) fn format(&self) -> Format {
        self.format.unwrap_or(if std::io::stdout().is_terminal() { Format::Text } else { Format::Ndjson })
    }
}

impl AsRef<Common> for Cli {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

const EXIT_STATUS: &str = "Exit status:
  0   done, every job succeeded
  1   done, some job did not succeed
  2   wrong usage
  69  the cluster cannot be reached and retrying was given up
  70  bug
  74  input or output error
  75  a neighbour in the pipe was lost; start the pipe again
  77  the cluster refused us
  78  wrong configuration
  128+n  stopped by signal n; jobs of the state directory go on";

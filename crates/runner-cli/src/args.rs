//! The flags all tools have, and those of the tools that share the state directory.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::exit::{Exit, Fail};
use crate::state::{self, StateDir};

/// Flags of every tool; flatten into its `Cli` and give it `AsRef<Common>`.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// What to log on stderr: error, warn, info, debug, trace, or per target as in `info,kube=debug`
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// How to log
    #[arg(long, global = true, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line each, for people.
    #[value(alias = "runner")]
    Text,
    /// One JSON object each.
    Json,
}

/// Flag of the tools that share the state directory.
#[derive(Debug, Clone, Args)]
pub struct State {
    /// Folder with one folder per running job [default: /var/lib/runner-tools for root, else below $XDG_STATE_HOME]
    #[arg(long, env = "RUNNER_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl State {
    /// Opens the state directory for `tool`, which no other process of that tool may have open.
    pub fn open(&self, tool: &str) -> anyhow::Result<StateDir> {
        let path = match &self.state_dir {
            Some(path) => path.clone(),
            None => state::default_path().exit(Exit::Config)?,
        };
        StateDir::open(&path, tool).exit(Exit::Io)
    }
}

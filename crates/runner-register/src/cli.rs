//! The command line. Flags and environment variables are named as GitLab Runner names them.

mod parse;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use runner_cli::args::Common;
use runner_cli::config::ConfigFile;
use runner_core::flags::parse_bool;
use runner_core::secret::Secret;

use crate::settings::Settings;

const EXIT_STATUS: &str = "\
Exit status:
  0   done
  2   wrong usage, or something that must be given is missing
  69  GitLab cannot be reached or fails; try again later
  74  config.toml cannot be read or written
  77  GitLab refused the token
  78  config.toml, the template or a setting is wrong";

/// Registers runners with GitLab and keeps config.toml.
///
/// Without a command it registers: `runner-register --url URL --token glrt-…`. On a terminal it asks for what is missing.
#[derive(Debug, Parser)]
#[command(name = "runner-register", version, after_long_help = EXIT_STATUS)]
struct Flags {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    config: ConfigFile,

    #[command(subcommand)]
    command: Command,
}

/// The parsed command line.
#[derive(Debug)]
pub(crate) struct Cli {
    common: Common,
    pub(crate) config: ConfigFile,
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a runner and add it to config.toml
    Register(Box<Register>),
    /// Ask GitLab whether the runners of config.toml are known
    Verify(Verify),
    /// Remove runners from GitLab and from config.toml
    Unregister(Unregister),
    /// Exchange the tokens of runners for new ones
    ResetToken(ResetToken),
    /// Show the runners of config.toml
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// File with one [[runners]] entry whose keys are taken where no flag sets them
    #[arg(long, env = "TEMPLATE_CONFIG_FILE", value_name = "FILE")]
    pub(crate) template_config: Option<PathBuf>,

    /// Never ask, not even on a terminal; what is missing is an error
    #[arg(short = 'n', long, env = "REGISTER_NON_INTERACTIVE", value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) non_interactive: Option<bool>,

    /// GitLab's address
    #[arg(short = 'u', long, env = "CI_SERVER_URL", value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Runner authentication token, glrt-…
    #[arg(short = 't', long, env = "CI_SERVER_TOKEN", hide_env_values = true, value_parser = secret, value_name = "TOKEN")]
    pub(crate) token: Option<Secret>,

    /// Registration token (deprecated by GitLab)
    #[arg(short = 'r', long, env = "REGISTRATION_TOKEN", hide_env_values = true, value_parser = secret, value_name = "TOKEN")]
    pub(crate) registration_token: Option<Secret>,

    /// Name of the runner [default: host name]
    #[arg(long, alias = "description", env = "RUNNER_NAME")]
    pub(crate) name: Option<String>,

    /// Executor; only kubernetes can be run
    #[arg(long, env = "RUNNER_EXECUTOR")]
    pub(crate) executor: Option<String>,

    /// Do not unregister the runner again if it cannot be saved
    #[arg(long, env = "REGISTER_LEAVE_RUNNER", value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) leave_runner: Option<bool>,

    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, env = "CI_SERVER_TLS_CA_FILE", value_name = "FILE")]
    pub(crate) tls_ca_file: Option<String>,

    /// PEM file of the client certificate
    #[arg(long, env = "CI_SERVER_TLS_CERT_FILE", value_name = "FILE")]
    pub(crate) tls_cert_file: Option<String>,

    /// PEM file of its key
    #[arg(long, env = "CI_SERVER_TLS_KEY_FILE", value_name = "FILE")]
    pub(crate) tls_key_file: Option<String>,

    #[command(flatten)]
    pub(crate) server: ServerSide,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What GitLab keeps, not config.toml; with a glrt- token it is set in GitLab.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kept by GitLab (registration token only)")]
pub(crate) struct ServerSide {
    /// Tags, divided by commas
    #[arg(long, env = "RUNNER_TAG_LIST", value_name = "TAGS")]
    pub(crate) tag_list: Option<String>,

    /// Take jobs without tags [default: true if there are no tags]
    #[arg(long, env = "REGISTER_RUN_UNTAGGED", value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) run_untagged: Option<bool>,

    /// Stay with this project [default: true]
    #[arg(long, env = "REGISTER_LOCKED", value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) locked: Option<bool>,

    /// Jobs of which refs it takes
    #[arg(long, env = "REGISTER_ACCESS_LEVEL", value_parser = ["not_protected", "ref_protected"], hide_possible_values = true, value_name = "not_protected|ref_protected")]
    pub(crate) access_level: Option<String>,

    /// Longest job in seconds
    #[arg(long, env = "REGISTER_MAXIMUM_TIMEOUT", value_name = "SECONDS")]
    pub(crate) maximum_timeout: Option<u64>,

    /// Begin paused
    #[arg(long, env = "REGISTER_PAUSED", value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) paused: Option<bool>,

    /// Note for administrators
    #[arg(long, env = "REGISTER_MAINTENANCE_NOTE", value_name = "TEXT")]
    pub(crate) maintenance_note: Option<String>,
}

/// Which entries of config.toml are meant; all that are given must fit.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only runners of that name
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Only runners of that GitLab
    #[arg(short = 'u', long)]
    pub(crate) url: Option<String>,

    /// Only the runner with that token
    #[arg(short = 't', long, value_parser = secret)]
    pub(crate) token: Option<Secret>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) filter: Filter,

    /// Remove the runners from config.toml that GitLab does not know
    #[arg(long)]
    pub(crate) delete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unregister {
    #[command(flatten)]
    pub(crate) filter: Filter,

    /// All runners of config.toml
    #[arg(long, conflicts_with_all = ["name", "url", "token"])]
    pub(crate) all_runners: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResetToken {
    /// Runners of that name
    #[arg(long, required_unless_present_any = ["id", "all_runners"])]
    pub(crate) name: Option<String>,

    /// The runner of that GitLab, with --id
    #[arg(short = 'u', long)]
    pub(crate) url: Option<String>,

    /// The runner with that id in GitLab
    #[arg(long, requires = "url", conflicts_with = "name")]
    pub(crate) id: Option<u64>,

    /// All runners of config.toml
    #[arg(long, conflicts_with_all = ["name", "url", "id"])]
    pub(crate) all_runners: bool,

    /// Personal access token with which GitLab is asked, instead of the runner's own token
    #[arg(long, value_parser = secret, value_name = "TOKEN")]
    pub(crate) pat: Option<Secret>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

fn truth(text: &str) -> Result<bool, String> {
    parse_bool(text).ok_or_else(|| "expected true or false".to_owned())
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl AsRef<Common> for Cli {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

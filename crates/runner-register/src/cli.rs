//! The command line. Flags and environment variables are named as GitLab Runner names them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand};
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

impl CommandFactory for Cli {
    fn command() -> ClapCommand {
        Flags::command()
    }

    fn command_for_update() -> ClapCommand {
        Flags::command_for_update()
    }
}

impl FromArgMatches for Cli {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Flags { common, config, command } = Flags::from_arg_matches(matches)?;
        Ok(Self { common, config, command })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Parser for Cli {
    fn try_parse() -> Result<Self, clap::Error> {
        Self::try_parse_from(std::env::args_os())
    }

    fn try_parse_from<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args = with_command(args.into_iter().map(Into::into).collect());
        let matches = without_empty_variables(Self::command()).try_get_matches_from(args).map_err(foreign_flag)?;
        let cli = Self::from_arg_matches(&matches).map_err(|err| err.format(&mut Self::command()))?;
        match &cli.command {
            Command::Unregister(Unregister { filter, all_runners: false })
                if filter.name.is_none() && filter.token.is_none() =>
            {
                let message = "which runner? give --name or --token, or --all-runners";
                Err(Self::command().error(ErrorKind::MissingRequiredArgument, message))
            }
            _ => Ok(cli),
        }
    }
}

/// GitLab Runner's flags for what cannot be run here get an error that says so.
fn foreign_flag(err: clap::Error) -> clap::Error {
    const EXECUTORS: [&str; 8] = [
        "--autoscaler-",
        "--custom-",
        "--docker-",
        "--instance-",
        "--machine-",
        "--parallels-",
        "--ssh-",
        "--virtualbox-",
    ];
    match err.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if EXECUTORS.iter().any(|prefix| flag.starts_with(prefix)) => {
            let message = format!("{flag} is for another executor, only `kubernetes` can be run");
            Cli::command().error(ErrorKind::UnknownArgument, message)
        }
        _ => err,
    }
}

/// An empty variable is one that is not set.
fn without_empty_variables(command: ClapCommand) -> ClapCommand {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// Puts `register` in front of flags that come without a command. Flags of all commands may stand before the command.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let mut at = 1;
    while let Some(arg) = args.get(at).and_then(|arg| arg.to_str()) {
        match arg {
            "-c" | "--config" | "--log-level" | "--log-format" => at += 2,
            _ if ["--config=", "--log-level=", "--log-format="].iter().any(|flag| arg.starts_with(flag)) => at += 1,
            "-h" | "--help" | "-V" | "--version" | "help" => return args,
            _ if command.find_subcommand(arg).is_some() || !arg.starts_with('-') => return args,
            _ => break,
        }
    }
    args.insert(1.min(args.len()), "register".into());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_without_a_command_register() {
        for (args, expected) in [
            ("--url u", "register --url u"),
            ("-c list --url u", "register -c list --url u"),
            ("--config=x -n", "register --config=x -n"),
            ("-c x list --json", "-c x list --json"),
            ("verify --delete", "verify --delete"),
            ("--help", "--help"),
            ("", "register"),
            ("-c x", "register -c x"),
            ("remove", "remove"),
        ] {
            let split = |text: &str| -> Vec<OsString> {
                ["runner-register"].into_iter().chain(text.split_whitespace()).map(OsString::from).collect()
            };
            assert_eq!(with_command(split(args)), split(expected), "{args}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

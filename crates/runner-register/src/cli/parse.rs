//! From the words of the command line to a [`Cli`]: `register` may be left out, an empty variable is one that is not set.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command as ClapCommand, CommandFactory, FromArgMatches, Parser};

use super::{Cli, Command, Flags, Unregister};

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

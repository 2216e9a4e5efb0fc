//! The keys of a new entry that can be given by flag or environment, as a table.

mod table;

use clap::builder::TypedValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use runner_core::duration::GoDuration;
use runner_core::flags::parse_bool;
use toml_edit::{Array, Value};

pub(crate) use table::TABLE;

/// One key that a flag can set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Where it stands in the entry, e.g. `kubernetes.image`.
    pub(crate) path: &'static str,
    flag: &'static str,
    env: &'static str,
    kind: Kind,
    secret: bool,
    help: &'static str,
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Number,
    /// A bool; the flag alone means true.
    Switch,
    /// A Go duration.
    Time,
    /// Strings; the flag can be repeated, the variable is split at commas.
    List,
    /// A table of strings, `KEY=VALUE`.
    Pairs,
    /// The table of tolerations, `KEY=VALUE:EFFECT`.
    Tolerations,
}

/// The keys that were given, in the order of the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings(pub(crate) Vec<(Vec<String>, Value)>);

impl Setting {
    const fn new(path: &'static str, flag: &'static str, env: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { path, flag, env, kind, secret: false, help }
    }

    const fn secret(path: &'static str, flag: &'static str, env: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { path, flag, env, kind, secret: true, help }
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.path)
            .long(self.flag)
            .env(self.env)
            .help(self.help)
            .help_heading(match self.path.split('.').next() {
                Some("kubernetes") => "Kubernetes",
                Some("cache") => "Cache",
                _ => "Runner",
            })
            .hide_env_values(self.secret)
            .hide_short_help(true);
        match self.kind {
            Kind::Switch => switch(arg),
            Kind::Number => arg.value_name("N").allow_hyphen_values(true).value_parser(clap::value_parser!(i64)),
            Kind::Time => {
                arg.value_name("DURATION").value_parser(clap::builder::StringValueParser::new().try_map(time))
            }
            Kind::List => arg.action(ArgAction::Append).value_name("TEXT"),
            Kind::Pairs => arg.action(ArgAction::Append).value_name("KEY=VALUE"),
            Kind::Tolerations => arg.action(ArgAction::Append).value_name("KEY=VALUE:EFFECT"),
            Kind::Text => arg.value_name("TEXT"),
        }
    }

    /// What was given, as it stands in the file. An empty text counts as not given.
    fn values(&self, matches: &ArgMatches) -> Result<Vec<(Vec<String>, Value)>, clap::Error> {
        let path: Vec<String> = self.path.split('.').map(str::to_owned).collect();
        let one = |value: Value| vec![(path.clone(), value)];
        Ok(match self.kind {
            Kind::Switch => matches.get_one::<bool>(self.path).map(|on| one((*on).into())).unwrap_or_default(),
            Kind::Number => matches.get_one::<i64>(self.path).map(|number| one((*number).into())).unwrap_or_default(),
            Kind::Text | Kind::Time => match matches.get_one::<String>(self.path) {
                Some(text) if !text.is_empty() => one(text.into()),
                _ => Vec::new(),
            },
            Kind::List => match self.texts(matches) {
                texts if texts.is_empty() => Vec::new(),
                texts => one(Value::Array(Array::from_iter(texts))),
            },
            Kind::Pairs | Kind::Tolerations => {
                let divider = if self.kind == Kind::Pairs { '=' } else { ':' };
                let mut pairs = Vec::new();
                for text in self.texts(matches) {
                    let Some((key, value)) = text.rsplit_once(divider).filter(|(key, _)| !key.is_empty()) else {
                        return Err(self.malformed(&text));
                    };
                    let (key, value) = if self.kind == Kind::Pairs { first_split(&text) } else { (key, value) };
                    let path = path.iter().cloned().chain([key.to_owned()]).collect();
                    pairs.push((path, value.into()));
                }
                pairs
            }
        })
    }

    fn texts(&self, matches: &ArgMatches) -> Vec<String> {
        let given = matches.get_many::<String>(self.path).unwrap_or_default().cloned();
        match matches.value_source(self.path) {
            Some(ValueSource::EnvVariable) => {
                given.flat_map(|list| list.split(',').map(|text| text.trim().to_owned()).collect::<Vec<_>>()).collect()
            }
            _ => given.collect::<Vec<String>>(),
        }
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect()
    }

    fn malformed(&self, text: &str) -> clap::Error {
        let expected = if self.kind == Kind::Pairs { "KEY=VALUE" } else { "KEY=VALUE:EFFECT" };
        let message = format!("invalid value '{text}' for '--{}': expected {expected}\n", self.flag);
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, message)
    }
}

/// `KEY=VALUE` at the first `=`.
fn first_split(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

/// A flag that can be given alone, as `--flag=false`, or by a variable.
pub(crate) fn switch(arg: Arg) -> Arg {
    let parser = clap::builder::StringValueParser::new()
        .try_map(|text| parse_bool(&text).ok_or_else(|| "expected true or false".to_owned()));
    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL").value_parser(parser)
}

fn time(text: String) -> Result<String, runner_core::duration::DurationError> {
    text.parse::<GoDuration>().map(|_| text)
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        TABLE.iter().fold(command, |command, setting| command.arg(setting.arg()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Self::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.clear();
        for setting in TABLE {
            self.0.extend(setting.values(matches)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_flag_variable_or_key_stands_twice() {
        for names in [|s: &Setting| s.flag, |s: &Setting| s.env, |s: &Setting| s.path] {
            assert_eq!(TABLE.iter().map(names).collect::<BTreeSet<_>>().len(), TABLE.len());
        }
    }

    #[test]
    fn g17_every_key_of_the_table_is_one_the_runner_reads() {
        for setting in TABLE {
            let value = match setting.kind {
                Kind::Text if setting.path.ends_with("dns_policy") => "\"none\"",
                Kind::Text => "\"x\"",
                Kind::Number => "1",
                Kind::Switch => "true",
                Kind::Time => "\"1h\"",
                Kind::List if setting.path.ends_with("polic") || setting.path.contains("pull_polic") => "[\"always\"]",
                Kind::List => "[\"x\"]",
                Kind::Pairs | Kind::Tolerations => "{ a = \"b\" }",
            };
            let (tables, key) = setting.path.rsplit_once('.').map_or(("", setting.path), |(tables, key)| (tables, key));
            let header = if tables.is_empty() { String::new() } else { format!("[runners.{tables}]\n") };
            let text = format!("[[runners]]\nexecutor = \"kubernetes\"\n{header}{key} = {value}\n");
            let (_, unused) = runner_core::config::Config::parse(&text, |_| None)
                .unwrap_or_else(|err| panic!("{}: {err}", setting.path));
            assert!(unused.iter().all(|key| key.reason.is_some()), "{}: {unused:?}", setting.path);
        }
    }
}

//! `config.toml` as read; defaults in one place.
//!
//! Source: GitLab Runner's `config.toml`. Keys that this program does not know are kept (a job line carries the whole table) and
//! reported. Nothing here reads a file or the environment: the text and the look-up of variables are arguments.

pub mod cache;
pub mod kubernetes;
mod runner;
mod unused;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::secret::Secret;
pub use cache::Cache;
pub use kubernetes::Kubernetes;
pub use runner::{ArtifactLimits, CustomBuildDir, Runner};
pub use unused::UnusedKey;
pub use values::Timestamp;

/// The executor these tools have.
pub const EXECUTOR: &str = "kubernetes";

/// What is wrong with a `config.toml`. The texts leave the file's name to the caller and quote no line of it: one may hold a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A value of the wrong type or out of range.
    #[error("{}`{key}`: {message}", line.map(|n| format!("line {n}: ")).unwrap_or_default())]
    Value {
        /// From 1; none if the source was JSON.
        line: Option<usize>,
        /// Path of the key, e.g. `runners[0].kubernetes.cpu_limit`.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// `concurrent = 0`.
    #[error("`concurrent` is 0, so no job could ever run; set it to 1 or more")]
    ConcurrentZero,
    /// No `[[runners]]`.
    #[error("there are no [[runners]]; add one with runner-register")]
    NoRunners,
    /// None of the `[[runners]]` can be run.
    #[error("none of the [[runners]] can be run: {0}")]
    NoneRunnable(String),
    /// `url` cannot be used.
    #[error("runner `{runner}`: `url`: {why}")]
    Url {
        /// `name` of the entry, or its number.
        runner: String,
        /// What is wrong with the URL.
        why: String,
    },
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Jobs of all runners together at one time.
    #[serde(deserialize_with = "values::count")]
    pub concurrent: u32,
    /// Seconds between requests for jobs; see [`Config::check_interval`].
    #[serde(deserialize_with = "values::count")]
    pub check_interval: u32,
    /// `debug`, `info`, …; empty means `info`.
    pub log_level: String,
    /// `runner`, `text` or `json`; empty means `runner`.
    pub log_format: String,
    /// Address of the metrics.
    pub listen_address: String,
    /// How long a connection to GitLab is used.
    pub connection_max_age: Option<GoDuration>,
    /// Seconds that jobs get when the service is stopped.
    #[serde(deserialize_with = "values::count")]
    pub shutdown_timeout: u32,
    /// Labels of this machine, shown by GitLab.
    pub labels: BTreeMap<String, String>,
    /// The `[[runners]]` in the order of the file.
    pub runners: Vec<Runner>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrent: 1,
            check_interval: 0,
            log_level: String::new(),
            log_format: String::new(),
            listen_address: String::new(),
            connection_max_age: None,
            shutdown_timeout: 0,
            labels: BTreeMap::new(),
            runners: Vec::new(),
        }
    }
}

/// The runners of a file that can be run, and the others.
#[derive(Debug)]
pub struct Runnable<'a> {
    /// Kubernetes runners with a token and a URL.
    pub runners: Vec<&'a Runner>,
    /// The rest, each with one line that says why.
    pub skipped: Vec<String>,
}

impl Config {
    /// Reads a file's text; `lookup` gives the environment's variables for `$NAME` in `url` and `token`.
    ///
    /// Returns the keys that are set and have no effect, too, for the log.
    pub fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<(Self, Vec<UnusedKey>), ConfigError> {
        let table: toml::Table = text.parse().map_err(|err: toml::de::Error| syntax_error(text, &err))?;
        let source = toml::Deserializer::parse(text).map_err(|err| syntax_error(text, &err))?;
        let (mut config, unknown): (Self, _) = deserialize(source).map_err(|(key, err)| ConfigError::Value {
            line: err.span().map(|span| position(text, span.start).0),
            key,
            message: value_message(err.message()),
        })?;
        let tables = table.get("runners").and_then(toml::Value::as_array).into_iter().flatten();
        for (runner, table) in config.runners.iter_mut().zip(tables) {
            let expand = |text: &str| crate::variables::expand(text, |name| lookup(name).unwrap_or_default());
            runner.url = expand(&runner.url);
            runner.token = Secret::new(expand(runner.token.expose()));
            runner.table = runner::Table(to_json(table));
            if let Some(url) = runner.table.0.get_mut("url") {
                *url = runner.url.clone().into();
            }
        }
        let unused = unused::unused_keys(&config, &table, unknown);
        Ok((config, unused))
    }

    /// Time between two rounds of requests: `check_interval`, 3 s if it is not set.
    pub fn check_interval(&self) -> Duration {
        Duration::from_secs(if self.check_interval == 0 { 3 } else { self.check_interval.into() })
    }

    /// Which runners can be run. An error if the file as a whole cannot work.
    pub fn runnable(&self) -> Result<Runnable<'_>, ConfigError> {
        if self.concurrent == 0 {
            return Err(ConfigError::ConcurrentZero);
        }
        if self.runners.is_empty() {
            return Err(ConfigError::NoRunners);
        }
        let (mut runners, mut skipped) = (Vec::new(), Vec::new());
        for (index, runner) in self.runners.iter().enumerate() {
            let title = runner.title(index);
            if runner.executor != EXECUTOR {
                let executor = if runner.executor.is_empty() { "is not set" } else { "is not supported" };
                skipped.push(format!(
                    "runner `{title}`: executor `{}` {executor}, only `{EXECUTOR}` can be run",
                    runner.executor
                ));
            } else if runner.token.is_empty() {
                skipped.push(format!("runner `{title}`: `token` is empty"));
            } else {
                let checked = check_url(&runner.url);
                checked.map_err(|why| ConfigError::Url { runner: title, why })?;
                runners.push(runner);
            }
        }
        if runners.is_empty() {
            return Err(ConfigError::NoneRunnable(skipped.join("; ")));
        }
        Ok(Runnable { runners, skipped })
    }
}

/// Whether GitLab can be asked there: an `http` or `https` URL with a host.
pub fn check_url(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err("is missing".to_owned());
    }
    let parsed = url::Url::parse(url).map_err(|err| format!("`{url}`: {err}"))?;
    match (parsed.scheme(), parsed.host_str()) {
        ("http" | "https", Some(_)) => Ok(()),
        (scheme, _) => Err(format!("`{url}`: scheme `{scheme}` is not supported, only http and https are")),
    }
}

/// Reads `T`; returns the paths of keys that it has no field for, or the path of the key that is wrong.
fn deserialize<'de, T, D>(source: D) -> Result<(T, Vec<String>), (String, D::Error)>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(unused::path_text(&path));
    let source = serde_ignored::Deserializer::new(source, &mut note);
    let value = serde_path_to_error::deserialize(source).map_err(|err| (err.path().to_string(), err.into_inner()))?;
    Ok((value, unknown))
}

fn syntax_error(text: &str, err: &toml::de::Error) -> ConfigError {
    let (line, column) = position(text, err.span().map_or(0, |span| span.start));
    ConfigError::Syntax { line, column, message: err.message().replace('\n', ", ") }
}

/// Line and column, both from 1, of a byte of `text`.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The values are taken out of the parser's text; what is left must still be a sentence.
fn value_message(text: &str) -> String {
    crate::line::redact(text).replace("string ,", "a string,")
}

fn to_json(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(list) => list.iter().map(to_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

//! The runners that are in `config.toml` already: which are meant, their clients, taking them out.

use std::path::Path;

use anyhow::Context;
use runner_cli::exit::{Exit, Fail};
use runner_config::edit;
use runner_config::file::{self, Locked};
use runner_core::config::{Config, Runner};
use runner_core::secret::Secret;
use runner_gitlab::{Client, Error, Trust};

use crate::cli::Filter;

/// The configuration; an empty one where there is no file.
pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    let text = file::read(path).exit(Exit::Io)?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> anyhow::Result<Config> {
    let parsed = Config::parse(text, |name| std::env::var(name).ok());
    Ok(parsed.with_context(|| path.display().to_string()).exit(Exit::Config)?.0)
}

impl Filter {
    /// Whether `runner` is meant.
    pub(crate) fn fits(&self, runner: &Runner) -> bool {
        self.name.as_ref().is_none_or(|name| *name == runner.name)
            && self.url.as_ref().is_none_or(|url| same_url(url, &runner.url))
            && self.token.as_ref().is_none_or(|token| *token == runner.token)
    }
}

/// Whether both lead to the same GitLab.
pub(crate) fn same_url(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// One entry of each runner: several may have its token, and GitLab is told once.
pub(crate) fn distinct(runners: impl Iterator<Item = Runner>) -> Vec<Runner> {
    let mut distinct: Vec<Runner> = Vec::new();
    for runner in runners {
        if !distinct.iter().any(|known| known.url == runner.url && known.token == runner.token) {
            distinct.push(runner);
        }
    }
    distinct
}

/// By what the lines on stdout name a runner.
pub(crate) fn title(runner: &Runner) -> String {
    let name = if runner.name.is_empty() { "(no name)" } else { &runner.name };
    format!("{name} ({})", runner.short_token())
}

/// A client for the runner's GitLab.
pub(crate) fn client(runner: &Runner) -> Result<Client, Error> {
    Client::new(&runner.url, Trust::System(&runner.tls()))
}

/// Locks the file at `path` for an edit. Waits on a thread of its own, so that a signal is heard meanwhile.
pub(crate) async fn lock(path: &Path) -> anyhow::Result<Locked> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Locked::open(&path)).await.context("locking the file")?.exit(Exit::Io)
}

/// Takes every entry out of the file at `path` that has one of these addresses and tokens.
pub(crate) async fn take_out(path: &Path, gone: &[(String, Secret)]) -> anyhow::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let file = lock(path).await?;
    let text = file.read().exit(Exit::Io)?;
    let runners = parse(path, &text)?.runners;
    let is_gone = |runner: &Runner| gone.iter().any(|(url, token)| *url == runner.url && *token == runner.token);
    let entries: Vec<usize> = (0..runners.len()).filter(|index| is_gone(&runners[*index])).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let text = edit::remove(&text, &entries).with_context(|| path.display().to_string()).exit(Exit::Config)?;
    file.write(&text).exit(Exit::Io)
}

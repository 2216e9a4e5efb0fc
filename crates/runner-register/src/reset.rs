//! `reset-token`: exchanges the tokens of runners for new ones.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use runner_cli::exit::{Exit, Fail, failure};
use runner_config::renewal::{self, Renewal, RenewalError};
use runner_core::config::Runner;
use runner_core::secret::{Secret, short_token};
use runner_gitlab::retry::retry;
use runner_gitlab::{Credentials, Error};

use crate::cli::ResetToken;
use crate::gitlab::exit_of;
use crate::listed::{client, distinct, load, same_url, title};
use crate::report::say;

/// Exchanges the token of each runner that is meant; one line each. Those that failed keep what they have.
pub(crate) async fn reset(args: ResetToken, path: &Path) -> anyhow::Result<Exit> {
    let meant = distinct(load(path)?.runners.into_iter().filter(|runner| args.means(runner)));
    if meant.is_empty() && !args.all_runners {
        return Err(failure(Exit::Config, anyhow!("{}: no such runner", path.display())));
    }
    let mut exit = Exit::Done;
    for runner in meant {
        let outcome = match exchange(&runner, args.pat.as_ref(), path).await {
            Ok(new) => {
                let until = new.token_expires_at.as_deref().unwrap_or("never");
                format!("token reset to {}, expires {until}", short_token(new.token.expose()))
            }
            Err(err) => {
                tracing::error!("{}: {err:#}", title(&runner));
                if exit == Exit::Done {
                    exit = Exit::of(&err);
                }
                "failed".to_owned()
            }
        };
        say(&format!("{} at {}: {outcome}", title(&runner), runner.url))?;
    }
    Ok(exit)
}

impl ResetToken {
    fn means(&self, runner: &Runner) -> bool {
        self.name.as_ref().is_none_or(|name| *name == runner.name)
            && self.url.as_ref().is_none_or(|url| same_url(url, &runner.url))
            && self.id.is_none_or(|id| id == runner.id)
    }
}

async fn exchange(runner: &Runner, pat: Option<&Secret>, path: &Path) -> anyhow::Result<Credentials> {
    if pat.is_some() && runner.id == 0 {
        return Err(failure(Exit::Config, anyhow!("{}: the runner's `id` is not there", path.display())));
    }
    let (path, url, token) = (path.to_owned(), runner.url.clone(), runner.token.clone());
    // On a thread of its own, because it waits for other edits.
    let prepared = tokio::task::spawn_blocking(move || Renewal::prepare(&path, &url, &token)).await;
    let renewal = prepared.context("preparing the file")?.map_err(|err| failure(exit_of_file(&err), err))?;
    let new = ask(runner, pat).await.map_err(|err| failure(exit_of(&err), err))?;
    let keys = renewal::keys(&new.token, SystemTime::now(), new.token_expires_at.as_deref());
    renewal
        .finish(&keys)
        .map_err(|err| anyhow!("{err}; the new token is lost, reset it once more in GitLab"))
        .exit(Exit::Io)?;
    Ok(new)
}

async fn ask(runner: &Runner, pat: Option<&Secret>) -> Result<Credentials, Error> {
    let client = client(runner)?;
    match pat {
        Some(pat) => retry(|| client.reset_token_as_user(runner.id, pat)).await,
        None => retry(|| client.reset_token(&runner.token)).await,
    }
}

fn exit_of_file(err: &RenewalError) -> Exit {
    match err {
        RenewalError::File(_) => Exit::Io,
        RenewalError::Config { .. }
        | RenewalError::Edit { .. }
        | RenewalError::Gone { .. }
        | RenewalError::Variable { .. } => Exit::Config,
    }
}

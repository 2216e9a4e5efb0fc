//! `unregister`: removes runners from GitLab, and from the file those that are gone.

use std::path::Path;

use anyhow::anyhow;
use runner_cli::exit::{Exit, failure};
use runner_cli::system_id;
use runner_core::config::Runner;
use runner_gitlab::Error;
use runner_gitlab::retry::retry;

use crate::cli::Unregister;
use crate::gitlab::exit_of;
use crate::listed::{client, distinct, load, take_out, title};
use crate::report::say;

/// Unregisters each runner that fits; one line each. Those that failed stay in the file.
pub(crate) async fn unregister(args: Unregister, path: &Path) -> anyhow::Result<Exit> {
    let config = load(path)?;
    let mut meant = distinct(config.runners.into_iter().filter(|runner| args.filter.fits(runner)));
    if meant.is_empty() {
        meant.extend(unlisted(&args));
    }
    if meant.is_empty() && !args.all_runners {
        return Err(failure(Exit::Config, anyhow!("{}: no such runner", path.display())));
    }
    let system_id = system_id::load_or_create(path, None);
    let (mut gone, mut exit) = (Vec::new(), Exit::Done);
    for runner in meant {
        match remove(&runner, &system_id).await {
            Ok(()) => {
                say(&format!("{} at {}: unregistered", title(&runner), runner.url))?;
                gone.push((runner.url, runner.token));
            }
            Err(err) => {
                say(&format!("{} at {}: failed", title(&runner), runner.url))?;
                tracing::error!("{}: {err}", title(&runner));
                if exit == Exit::Done {
                    exit = exit_of(&err);
                }
            }
        }
    }
    take_out(path, &gone).await?;
    Ok(exit)
}

/// A runner that is not in the file but was named in full, by address and token.
fn unlisted(args: &Unregister) -> Option<Runner> {
    match (&args.filter.url, &args.filter.token, &args.filter.name) {
        (Some(url), Some(token), None) => {
            let mut runner = Runner::default();
            (runner.url, runner.token) = (url.clone(), token.clone());
            Some(runner)
        }
        _ => None,
    }
}

async fn remove(runner: &Runner, system_id: &str) -> Result<(), Error> {
    let client = client(runner)?;
    retry(|| client.unregister(&runner.token, system_id)).await
}

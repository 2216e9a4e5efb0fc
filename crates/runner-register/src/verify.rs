//! `verify`: which runners of the file GitLab knows.

use std::path::Path;

use runner_cli::exit::Exit;
use runner_cli::system_id;
use runner_core::config::Runner;
use runner_gitlab::retry::retry;
use runner_gitlab::{Error, Info};

use crate::cli::Verify;
use crate::gitlab::exit_of;
use crate::listed::{client, load, take_out, title};
use crate::report::say;

/// Asks for each runner that fits; one line each. Exits with the worst of the outcomes.
pub(crate) async fn verify(args: Verify, path: &Path) -> anyhow::Result<Exit> {
    let config = load(path)?;
    let meant: Vec<_> = config.runners.iter().filter(|runner| args.filter.fits(runner)).collect();
    if meant.is_empty() {
        tracing::warn!("{}: no such runner", path.display());
    }
    let system_id = system_id::load_or_create(path, None);
    let (mut refused, mut exit) = (Vec::new(), Exit::Done);
    for runner in meant {
        match ask(runner, &system_id).await {
            Ok(()) => say(&format!("{} at {}: valid", title(runner), runner.url))?,
            Err(err) if err.is_refused() => {
                say(&format!("{} at {}: refused", title(runner), runner.url))?;
                tracing::error!("{}: {err}", title(runner));
                refused.push((runner.url.clone(), runner.token.clone()));
                if !args.delete {
                    exit = Exit::Refused;
                }
            }
            // It may be valid: it is kept in any case.
            Err(err) => {
                say(&format!("{} at {}: not known", title(runner), runner.url))?;
                tracing::error!("{}: {err}", title(runner));
                if exit == Exit::Done {
                    exit = exit_of(&err);
                }
            }
        }
    }
    if args.delete {
        take_out(path, &refused).await?;
    }
    Ok(exit)
}

async fn ask(runner: &Runner, system_id: &str) -> Result<(), Error> {
    let client = client(runner)?;
    let info = Info::default();
    retry(|| client.verify(&runner.token, system_id, &info)).await.map(drop)
}

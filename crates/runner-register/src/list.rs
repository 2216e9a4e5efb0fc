//! `list`: the runners of the file.

use std::path::Path;

use runner_cli::exit::Exit;
use serde_json::json;

use crate::cli::List;
use crate::listed::load;
use crate::report::say;

/// One line for each runner: name, executor, short token and address, divided by tabs; or a JSON object.
pub(crate) fn list(args: &List, path: &Path) -> anyhow::Result<Exit> {
    for runner in load(path)?.runners {
        let token = runner.short_token();
        say(&match args.json {
            true => json!({
                "name": runner.name,
                "id": runner.id,
                "url": runner.url,
                "executor": runner.executor,
                "limit": runner.limit,
                "short_token": token,
                "token_expires_at": runner.token_expires_at.as_ref().and_then(|time| time.text()),
            })
            .to_string(),
            false => format!("{}\t{}\t{token}\t{}", runner.name, runner.executor, runner.url),
        })?;
    }
    Ok(Exit::Done)
}

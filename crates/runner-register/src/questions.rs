//! What `register` asks a person for where no flag, variable or template gives it.

use anyhow::anyhow;
use runner_cli::exit::{Exit, failure};
use runner_core::config::check_url;
use runner_core::secret::Secret;

use crate::cli::Register;
use crate::entry::Entry;
use crate::plan::host_name;
use crate::terminal::Terminal;

const GITLAB_COM: &str = "https://gitlab.com";

/// Asks for each thing that is missing. A token without the prefix of runner tokens is taken for a registration token.
pub(crate) async fn ask_missing(terminal: &Terminal, args: &mut Register, entry: &mut Entry) -> anyhow::Result<()> {
    if entry.text("url").is_none() {
        let url = loop {
            let url = answer(terminal.ask("GitLab's address", GITLAB_COM).await?)?;
            match check_url(&url) {
                Ok(()) => break url,
                Err(why) => terminal.refuse(&why)?,
            }
        };
        entry.set(&["url"], url);
    }
    let given = |token: &Option<Secret>| token.as_ref().is_some_and(|token| !token.is_empty());
    if !given(&args.token) && !given(&args.registration_token) {
        let token = loop {
            let token = answer(terminal.ask_secret("Runner token (glrt-…) or registration token").await?)?;
            match token.is_empty() {
                false => break token,
                true => terminal.refuse("a token is needed: make a runner in GitLab, it shows one")?,
            }
        };
        args.registration_token = Some(Secret::new(token));
    }
    if entry.text("name").is_none() {
        entry.set(&["name"], answer(terminal.ask("Name of the runner", &host_name()).await?)?);
    }
    let registers = |token: &Secret| !token.is_empty() && !token.expose().starts_with("glrt-");
    if !given(&args.token) && args.registration_token.as_ref().is_some_and(registers) {
        let server = &mut args.server;
        for (question, value) in [
            ("Tags, divided by commas", &mut server.tag_list),
            ("Note for administrators", &mut server.maintenance_note),
        ] {
            if value.is_none() {
                *value = Some(answer(terminal.ask(question, "").await?)?);
            }
        }
    }
    if !entry.has(&["kubernetes", "image"]) {
        let image = answer(terminal.ask("Image of jobs that name none, empty for no such image", "").await?)?;
        if !image.is_empty() {
            entry.set(&["kubernetes", "image"], image);
        }
    }
    Ok(())
}

fn answer(answer: Option<String>) -> anyhow::Result<String> {
    answer.ok_or_else(|| failure(Exit::Usage, anyhow!("the terminal's input ended before the last answer")))
}

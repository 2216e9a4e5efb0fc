//! `register`: from flags and answers to an entry that GitLab knows.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::system_id;
use runner_config::file;
use runner_config::{edit, renewal};
use runner_core::secret::{Secret, short_token};
use runner_gitlab::retry::retry;
use runner_gitlab::{Client, Credentials, Info, Trust};

use crate::cli::Register;
use crate::entry::Entry;
use crate::gitlab::exit_of;
use crate::listed::lock;
use crate::plan::{Plan, Token, entry_of};
use crate::questions::ask_missing;
use crate::report::say;
use crate::terminal::Terminal;

/// What a new file begins with.
const NEW_FILE: &str = "concurrent = 1\ncheck_interval = 0\n";

/// Registers a runner and adds it to the file at `path`.
pub(crate) async fn register(mut args: Register, path: PathBuf) -> anyhow::Result<Exit> {
    let mut entry = entry_of(&args)?;
    if args.non_interactive != Some(true)
        && let Some(terminal) = Terminal::find()
    {
        ask_missing(&terminal, &mut args, &mut entry).await?;
    }
    let plan = Plan::new(args, entry, path)?;
    plan.rehearse()?;
    let client = Client::new(&plan.url, Trust::System(&plan.tls)).exit(Exit::Config)?;
    file::make_folder(&plan.path).exit(Exit::Io)?;
    let system_id = system_id::load_or_create(&plan.path, None);
    let credentials = plan.obtain(&client, &system_id).await?;
    match plan.save(&credentials).await {
        Ok(()) => {}
        Err(err) if plan.leave_runner => return Err(err),
        Err(err) => return Err(undo(&client, &credentials.token, &system_id, err).await),
    }
    say(&format!(
        "registered runner `{}` (id {}, token {}) at {} in {}",
        plan.entry.text("name").unwrap_or_default(),
        credentials.id,
        short_token(credentials.token.expose()),
        client.host(),
        plan.path.display()
    ))?;
    Ok(Exit::Done)
}

impl Plan {
    async fn obtain(&self, client: &Client, system_id: &str) -> anyhow::Result<Credentials> {
        let info = Info::default();
        let asked = match &self.token {
            Token::Runner(token) => retry(|| client.verify(token, system_id, &info)).await,
            Token::Registration(token, settings) => retry(|| client.register(token, settings, &info)).await,
        };
        let credentials = asked.map_err(|err| failure(exit_of(&err), err))?;
        if credentials.id == 0 {
            let host = client.host();
            return Err(failure(Exit::Unavailable, anyhow!("{host} did not say which runner this token belongs to")));
        }
        Ok(credentials)
    }

    async fn save(&self, credentials: &Credentials) -> anyhow::Result<()> {
        let entry = self.entry_with(credentials);
        let file = lock(&self.path).await?;
        let mut text = file.read().exit(Exit::Io)?;
        if text.is_empty() {
            text.push_str(NEW_FILE);
        }
        let named = || self.path.display().to_string();
        let text = edit::append(&text, &entry.render()).with_context(named).exit(Exit::Config)?;
        file.write(&text).exit(Exit::Io)
    }

    /// The entry with what GitLab gave, the keys that people look for first in front.
    fn entry_with(&self, credentials: &Credentials) -> Entry {
        let mut entry = Entry::default();
        entry.set(&["name"], self.entry.text("name").unwrap_or_default());
        entry.set(&["url"], &*self.url);
        entry.set(&["id"], i64::try_from(credentials.id).unwrap_or(i64::MAX));
        let expires = credentials.token_expires_at.as_deref();
        for (key, value) in renewal::keys(&credentials.token, SystemTime::now(), expires) {
            entry.set(&[key], value);
        }
        entry.take_missing(&self.entry);
        entry
    }
}

/// Takes the runner away again that could not be saved.
async fn undo(client: &Client, token: &Secret, system_id: &str, err: anyhow::Error) -> anyhow::Error {
    let exit = Exit::of(&err);
    let told = match retry(|| client.unregister(token, system_id)).await {
        Ok(()) => "the runner was unregistered again".to_owned(),
        Err(undo) => format!("the runner is still registered: {undo}"),
    };
    failure(exit, anyhow!("{err:#}; {told}"))
}

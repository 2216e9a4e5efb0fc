//! `register`: from flags to an entry that GitLab knows.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::system_id;
use runner_config::file::{self, Locked};
use runner_config::{edit, renewal};
use runner_core::config::{Config, EXECUTOR, check_url};
use runner_core::job::Tls;
use runner_core::secret::{Secret, short_token};
use runner_gitlab::retry::retry;
use runner_gitlab::{Client, Credentials, Info, Registration, Trust};

use crate::cli::{Register, ServerSide};
use crate::entry::Entry;
use crate::gitlab::exit_of;
use crate::report::say;

/// What a new file begins with.
const NEW_FILE: &str = "concurrent = 1\ncheck_interval = 0\n";

/// How GitLab is told of the runner.
enum Token {
    /// The runner exists; it is only verified.
    Runner(Secret),
    /// GitLab makes a runner of these settings.
    Registration(Secret, Box<Registration>),
}

/// A registration whose arguments have been checked.
struct Plan {
    path: PathBuf,
    entry: Entry,
    url: String,
    tls: Tls,
    token: Token,
    leave_runner: bool,
}

/// Registers a runner and adds it to the file at `path`.
pub(crate) async fn register(args: Register, path: PathBuf) -> anyhow::Result<Exit> {
    let plan = Plan::new(args, path)?;
    plan.rehearse()?;
    let client = Client::new(&plan.url, Trust::System(&plan.tls)).exit(Exit::Config)?;
    file::make_folder(&plan.path).exit(Exit::Io)?;
    let system_id = system_id::load_or_create(&plan.path, None);
    let credentials = plan.obtain(&client, &system_id).await?;
    match plan.save(&credentials) {
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
    fn new(args: Register, path: PathBuf) -> anyhow::Result<Self> {
        let mut entry = Entry::default();
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        for (key, text) in [
            ("name", args.name),
            ("url", args.url),
            ("tls-ca-file", args.tls_ca_file),
            ("tls-cert-file", args.tls_cert_file),
            ("tls-key-file", args.tls_key_file),
            ("executor", args.executor),
        ] {
            if let Some(text) = given(text) {
                entry.set(&[key], text);
            }
        }
        for (path, value) in args.settings.0 {
            entry.set(&path, value);
        }
        if let Some(template) = &args.template_config {
            let named = || template.display().to_string();
            let text = std::fs::read_to_string(template).with_context(named).exit(Exit::Config)?;
            entry.fill(&text).with_context(named).exit(Exit::Config)?;
        }
        if entry.text("name").is_none() {
            entry.set(&["name"], host_name());
        }
        if entry.text("executor").is_none() {
            entry.set(&["executor"], EXECUTOR);
        }
        let executor = entry.text("executor").unwrap_or_default();
        if executor != EXECUTOR {
            return Err(usage(anyhow!("executor `{executor}` is not supported, only `{EXECUTOR}` can be run")));
        }
        entry.ensure_table(EXECUTOR);
        let Some(url) = entry.text("url").map(str::to_owned) else {
            return Err(missing("GitLab's address", "--url", "CI_SERVER_URL", args.non_interactive));
        };
        check_url(&url).map_err(|why| usage(anyhow!("--url: {why}")))?;
        let set = |key: &str| entry.text(key).map(str::to_owned);
        let tls = Tls { ca_file: set("tls-ca-file"), cert_file: set("tls-cert-file"), key_file: set("tls-key-file") };
        let secret = |token: Option<Secret>| token.filter(|token| !token.is_empty());
        let name = entry.text("name").unwrap_or_default();
        let token = match (secret(args.token), secret(args.registration_token)) {
            (Some(token), _) => {
                refuse_server_side(&args.server, &token)?;
                Token::Runner(token)
            }
            (None, Some(token)) if token.expose().starts_with("glrt-") => {
                let flags = server_side_flags(&args.server);
                if !flags.is_empty() {
                    tracing::warn!("{} ignored: with this token they are set in GitLab", flags.join(", "));
                }
                Token::Runner(token)
            }
            (None, Some(token)) => Token::Registration(token, Box::new(registration(&args.server, name))),
            (None, None) => return Err(missing("a runner token", "--token", "CI_SERVER_TOKEN", args.non_interactive)),
        };
        Ok(Self { path, entry, url, tls, token, leave_runner: args.leave_runner.unwrap_or(false) })
    }

    /// Finds out before GitLab is asked whether the entry and the file are such that it can be saved.
    fn rehearse(&self) -> anyhow::Result<()> {
        let rendered = self.entry.render();
        Config::parse(&rendered, |_| None).context("the new entry").exit(Exit::Config)?;
        let text = file::read(&self.path).exit(Exit::Io)?;
        edit::append(&text, &rendered).with_context(|| self.path.display().to_string()).exit(Exit::Config)?;
        let (config, _) = Config::parse(&text, |name| std::env::var(name).ok())
            .with_context(|| self.path.display().to_string())
            .exit(Exit::Config)?;
        if let Token::Runner(token) = &self.token
            && config.runners.iter().any(|runner| runner.token == *token)
        {
            tracing::warn!("{}: a runner with this token is there already", self.path.display());
        }
        Ok(())
    }

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

    fn save(&self, credentials: &Credentials) -> anyhow::Result<()> {
        let entry = self.entry_with(credentials);
        let file = Locked::open(&self.path).exit(Exit::Io)?;
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

fn registration(server: &ServerSide, name: &str) -> Registration {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let tag_list = text(&server.tag_list);
    Registration {
        description: name.to_owned(),
        maintenance_note: text(&server.maintenance_note),
        // A runner without tags that takes no untagged jobs would take none at all.
        run_untagged: tag_list.trim().is_empty() || server.run_untagged.unwrap_or(false),
        tag_list,
        locked: server.locked.unwrap_or(true),
        paused: server.paused.unwrap_or(false),
        access_level: text(&server.access_level),
        maximum_timeout: server.maximum_timeout.unwrap_or(0),
    }
}

fn refuse_server_side(server: &ServerSide, token: &Secret) -> anyhow::Result<()> {
    let flags = server_side_flags(server);
    if flags.is_empty() || !token.expose().starts_with("glrt-") {
        return Ok(());
    }
    Err(usage(anyhow!("{} cannot be given with a glrt- token: set them in GitLab", flags.join(", "))))
}

/// The flags that were given of those that GitLab keeps.
fn server_side_flags(server: &ServerSide) -> Vec<&'static str> {
    let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    [
        ("--tag-list", text(&server.tag_list)),
        ("--run-untagged", server.run_untagged.is_some()),
        ("--locked", server.locked.is_some()),
        ("--access-level", text(&server.access_level)),
        ("--maximum-timeout", server.maximum_timeout.is_some_and(|secs| secs > 0)),
        ("--paused", server.paused.is_some()),
        ("--maintenance-note", text(&server.maintenance_note)),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect()
}

fn usage(err: anyhow::Error) -> anyhow::Error {
    failure(Exit::Usage, err)
}

fn missing(what: &str, flag: &str, variable: &str, non_interactive: Option<bool>) -> anyhow::Error {
    let asks = match non_interactive {
        Some(true) => "",
        _ => "; this program asks no questions",
    };
    usage(anyhow!("{what} is missing: give {flag} or set {variable}{asks}"))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
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

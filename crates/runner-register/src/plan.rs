//! What is to be registered: flags, variables, template and answers, checked before GitLab is asked.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use runner_cli::exit::{Exit, Fail, failure};
use runner_config::{edit, file};
use runner_core::config::{Config, EXECUTOR, check_url};
use runner_core::job::Tls;
use runner_core::secret::Secret;
use runner_gitlab::Registration;

use crate::cli::{Register, ServerSide};
use crate::entry::Entry;

/// How GitLab is told of the runner.
pub(crate) enum Token {
    /// The runner exists; it is only verified.
    Runner(Secret),
    /// GitLab makes a runner of these settings.
    Registration(Secret, Box<Registration>),
}

/// A registration whose arguments have been checked.
pub(crate) struct Plan {
    pub(crate) path: PathBuf,
    pub(crate) entry: Entry,
    pub(crate) url: String,
    pub(crate) tls: Tls,
    pub(crate) token: Token,
    pub(crate) leave_runner: bool,
}

/// The entry as far as flags, variables and the template give it.
pub(crate) fn entry_of(args: &Register) -> anyhow::Result<Entry> {
    let mut entry = Entry::default();
    for (key, text) in [
        ("name", &args.name),
        ("url", &args.url),
        ("tls-ca-file", &args.tls_ca_file),
        ("tls-cert-file", &args.tls_cert_file),
        ("tls-key-file", &args.tls_key_file),
        ("executor", &args.executor),
    ] {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            entry.set(&[key], text);
        }
    }
    for (path, value) in &args.settings.0 {
        entry.set(path, value.clone());
    }
    if let Some(template) = &args.template_config {
        let named = || template.display().to_string();
        let text = std::fs::read_to_string(template).with_context(named).exit(Exit::Config)?;
        entry.fill(&text).with_context(named).exit(Exit::Config)?;
    }
    if entry.text("executor").is_none() {
        entry.set(&["executor"], EXECUTOR);
    }
    let executor = entry.text("executor").unwrap_or_default();
    if executor != EXECUTOR {
        return Err(usage(anyhow!("executor `{executor}` is not supported, only `{EXECUTOR}` can be run")));
    }
    entry.ensure_table(EXECUTOR);
    Ok(entry)
}

impl Plan {
    /// Checks what was given. The entry's name is the host's if nobody gave one.
    pub(crate) fn new(args: Register, mut entry: Entry, path: PathBuf) -> anyhow::Result<Self> {
        if entry.text("name").is_none() {
            entry.set(&["name"], host_name());
        }
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
    pub(crate) fn rehearse(&self) -> anyhow::Result<()> {
        let rendered = self.entry.render();
        let (_, unused) = Config::parse(&rendered, |_| None).context("the new entry").exit(Exit::Config)?;
        for key in unused {
            let path = key.path.strip_prefix("runners[0].").unwrap_or(&key.path);
            match key.reason {
                Some(reason) => tracing::warn!("`{path}` has no effect: {reason}"),
                None => tracing::warn!("`{path}` is not known"),
            }
        }
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
        _ => "; it is not asked for, because standard input is no terminal",
    };
    usage(anyhow!("{what} is missing: give {flag} or set {variable}{asks}"))
}

/// What this machine calls itself.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

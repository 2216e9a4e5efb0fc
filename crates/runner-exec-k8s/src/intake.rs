//! From a line to a job: `job` lines as they are, bare payloads with what the command line adds.

use anyhow::{Context, anyhow};
use runner_cli::exit::{Exit, Fail, failure};
use runner_core::config::Config;
use runner_core::job::{JobLine, Payload, RunnerRef};
use runner_core::line::Line;
use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::{Bare, Cli};

/// Turns lines into job lines.
pub(crate) struct Intake {
    namespace: Option<String>,
    bare: Bare,
}

impl Intake {
    /// What the command line says about jobs.
    pub(crate) fn new(args: &Cli) -> Self {
        Self { namespace: args.namespace.clone(), bare: args.bare.clone() }
    }

    /// The job of `line`; `None` if the line is none. A line that cannot be used is an `Err` of its own; a config file that
    /// cannot be used ends the tool.
    pub(crate) fn job(&self, line: Line) -> anyhow::Result<Option<Result<JobLine, String>>> {
        let job = match line {
            Line::Job(job) => Ok(*job),
            // Only a bare payload needs the config file, so only it can fail for it.
            Line::Payload(payload) => self.complete(payload, self.configured()?),
            _ => return Ok(None),
        };
        Ok(Some(job.map(|mut job| {
            if let Some(namespace) = &self.namespace {
                set_kubernetes(&mut job.runner.config, "namespace", namespace);
            }
            job
        })))
    }

    /// The runner of the config file, if the command line names one.
    fn configured(&self) -> anyhow::Result<Option<RunnerRef>> {
        self.bare.config.as_deref().map(|path| from_config(path, self.bare.runner.as_deref())).transpose()
    }

    /// Adds to a bare payload the runner it lacks.
    fn complete(&self, raw: Box<RawValue>, runner: Option<RunnerRef>) -> Result<JobLine, String> {
        let payload = Payload::parse(&raw).map_err(|err| err.to_string())?;
        let server =
            || payload.variables.iter().rev().find(|v| v.key == "CI_SERVER_URL").map(|v| v.value.expose().to_owned());
        let mut runner = match runner {
            Some(runner) => runner,
            None => RunnerRef {
                name: "replay".to_owned(),
                config: json!({"executor": "kubernetes", "kubernetes": {}}),
                ..RunnerRef::default()
            },
        };
        if let Some(url) = self.bare.url.clone().or_else(|| runner.url.is_empty().then(server).flatten()) {
            runner.url = url;
        }
        if runner.url.is_empty() {
            return Err("a bare payload without CI_SERVER_URL needs --url or --config".to_owned());
        }
        if let Some(image) = &self.bare.image {
            set_kubernetes(&mut runner.config, "image", image);
        }
        Ok(JobLine::new(payload.id, runner, raw))
    }
}

fn set_kubernetes(config: &mut serde_json::Value, key: &str, value: &str) {
    if !config.is_object() {
        *config = json!({});
    }
    config["kubernetes"][key] = value.into();
}

/// The one `[[runners]]` entry of the file that the command line means.
fn from_config(path: &std::path::Path, name: Option<&str>) -> anyhow::Result<RunnerRef> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {shown}")).exit(Exit::Config)?;
    let (config, _) =
        Config::parse(&text, |name| std::env::var(name).ok()).with_context(|| shown.to_string()).exit(Exit::Config)?;
    let mut fitting = config.runners.iter().filter(|runner| name.is_none_or(|name| runner.name == name));
    let runner = fitting.next().ok_or_else(|| match name {
        Some(name) => failure(Exit::Config, anyhow!("{shown}: no runner is named `{name}`")),
        None => failure(Exit::Config, anyhow!("{shown}: no [[runners]]")),
    })?;
    if fitting.next().is_some() {
        return Err(failure(Exit::Config, anyhow!("{shown}: several runners; choose one with --runner")));
    }
    Ok(RunnerRef {
        name: runner.name.clone(),
        url: runner.url.clone(),
        short_token: runner.short_token().to_owned(),
        id: (runner.id > 0).then_some(runner.id),
        tls: runner.tls(),
        config: runner.to_line_config(),
        ..RunnerRef::default()
    })
}

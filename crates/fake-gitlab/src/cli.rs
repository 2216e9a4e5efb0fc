//! The command line, and how it sets the server up.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fake_gitlab::{Builder, FakeGitlab, Fault, Settings, Tls, Variable};
use serde_json::json;

/// A GitLab that is a program: the runner API, Git over HTTP, artifacts and the job API of users.
///
/// It serves Git repositories of this machine as GitLab projects. Pipelines are made from each
/// repository's own .gitlab-ci.yml, and any runner can take the jobs. Nothing is kept when it
/// ends, and the repositories are never written to.
#[derive(Debug, Parser)]
#[command(name = "fake-gitlab", version, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Serve the repository in the working directory, then make a pipeline with curl:
    fake-gitlab serve --project demo/app=. --private-token secret
    curl -X POST -H 'PRIVATE-TOKEN: secret' \"$URL/api/v4/projects/demo%2Fapp/pipeline?ref=main\"

  Run the repository's pipeline once, with a runner that has its token already:
    fake-gitlab run --project demo/app=. --listen 127.0.0.1:8080 --runner-token glrt-mine

Output:
  The first line of stdout is the server's address. Then follow the lines
  `registration-token: …`, `runner-token: …` and `private-token: …`, with --tls `tls-certificate: FILE` too.

Exit status:
  0   serve: told to stop; run: the pipeline succeeded
  1   run: the pipeline did not succeed, or was stopped before its end
  2   wrong usage
  74  a file, a repository or the address could not be used
  78  the definition of the pipeline or the name of a project is wrong

Beside GitLab's own paths there are, without a token:
  POST /-/fake/jobs      enqueue a job without a repository: {\"script\":[\"echo hi\"]}
  GET  /-/fake/events    every change of a job's state, one JSON object a line, without an end
  GET  /-/fake/requests  the record of all requests; ?secrets=1 shows tokens
  PUT  /-/fake/settings  change the instance's rules: {\"live_trace\":true}; GET shows them
  PUT  /-/fake/faults    answer wrongly, late or not at all:
                         [{\"method\":\"PATCH\",\"path\":\"/api/v4/jobs/*/trace\",\"nth\":1,\"count\":2,
                           \"action\":{\"status\":500}}]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until told to stop by SIGTERM or SIGINT
    #[command(after_long_help = EXAMPLES)]
    Serve {
        #[command(flatten)]
        server: Server,
    },
    /// Serve, make one pipeline of the first project, wait for its end
    #[command(after_long_help = EXAMPLES)]
    Run {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        run: RunOptions,
    },
}

/// What only `run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Branch or tag of the pipeline; HEAD stands for what is checked out
    #[arg(long = "ref", value_name = "NAME", default_value = "HEAD")]
    pub(crate) reference: String,
    /// Print the jobs' logs as they come, and a table at the end
    #[arg(long)]
    pub(crate) follow: bool,
    /// Serve on when the pipeline has ended, until SIGTERM or SIGINT
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What `serve` and `run` share.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Serve the Git repository at PATH as a project; may be repeated. Only commits count
    #[arg(long = "project", value_name = "GROUP/NAME=PATH", value_parser = project)]
    pub(crate) projects: Vec<(String, PathBuf)>,
    /// Token for registering runners the old way; made up if not given
    #[arg(long, value_name = "TOKEN", env = "FAKE_GITLAB_REGISTRATION_TOKEN", hide_env_values = true)]
    registration_token: Option<String>,
    /// Token of the runner that is there from the start; made up if not given
    #[arg(long, value_name = "glrt-TOKEN", env = "FAKE_GITLAB_RUNNER_TOKEN", hide_env_values = true)]
    runner_token: Option<String>,
    /// Token of the user-facing API; made up if not given
    #[arg(long, value_name = "TOKEN", env = "FAKE_GITLAB_PRIVATE_TOKEN", hide_env_values = true)]
    private_token: Option<String>,
    /// Keep the finished jobs in this file, rewritten atomically after each
    #[arg(long, value_name = "FILE.json")]
    pub(crate) state: Option<PathBuf>,
    /// Variable of every project; may be repeated
    #[arg(long = "variable", value_name = "KEY=VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// Variable whose value runners hide in logs; may be repeated
    #[arg(long = "masked-variable", value_name = "KEY=VALUE", value_parser = pair)]
    masked_variables: Vec<(String, String)>,
    /// Variable that jobs get as a file; may be repeated
    #[arg(long = "file-variable", value_name = "KEY=VALUE", value_parser = pair)]
    file_variables: Vec<(String, String)>,
    /// The server's address as jobs see it, if they reach it another way than it listens
    #[arg(long, value_name = "URL", value_parser = address)]
    external_url: Option<String>,
    /// Seconds between log patches that runners are asked to keep; 0 asks for nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=900))]
    trace_interval: u64,
    /// Largest log in MiB; a job that sends more fails
    #[arg(long, value_name = "MIB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_240))]
    trace_limit: u64,
    /// Largest artifact file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    artifact_limit: u64,
    /// Hold job requests for so long while there is nothing new; 0 answers at once
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3600))]
    long_poll: u64,
    /// Accept final states only at the second call, as while a log is being archived
    #[arg(long)]
    live_trace: bool,
    /// Any rule of the instance, as PUT /-/fake/settings takes it; may be repeated. VALUE is JSON,
    /// or a text
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, serde_json::Value)>,
    /// A fault that is in force from the start, as PUT /-/fake/faults takes it; may be repeated
    #[arg(long = "fault", value_name = "JSON", value_parser = fault)]
    faults: Vec<Fault>,
    /// Serve over TLS with a certificate that is wrong in this way; its file is told on stdout
    #[arg(long, value_name = "WHAT", value_parser = tls)]
    tls: Option<Tls>,
    /// Token of a user who may only read; made up if not given
    #[arg(long, value_name = "TOKEN", env = "FAKE_GITLAB_READ_ONLY_TOKEN", hide_env_values = true)]
    read_only_token: Option<String>,
    /// The object storage's address as jobs see it, if they reach it another way than it listens
    #[arg(long, value_name = "URL", value_parser = address)]
    storage_url: Option<String>,
    /// Timeout of jobs that set none, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    job_timeout: u64,
    /// Tell on stderr what happens
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl Server {
    /// The server as the options describe it.
    pub(crate) fn builder(&self) -> Builder {
        let mut builder = FakeGitlab::builder()
            .listen(&self.listen)
            .trace_interval(self.trace_interval)
            .trace_limit(self.trace_limit << 20)
            .artifact_limit(self.artifact_limit << 20)
            .live_trace(self.live_trace)
            .project_timeout(self.job_timeout);
        for (name, path) in &self.projects {
            builder = builder.project(name, path);
        }
        for (key, value) in &self.variables {
            builder = builder.variable(Variable::new(key, value));
        }
        for (key, value) in &self.masked_variables {
            builder = builder.variable(Variable::new(key, value).masked());
        }
        for (key, value) in &self.file_variables {
            builder = builder.variable(Variable::new(key, value).file());
        }
        if self.long_poll > 0 {
            builder = builder.long_poll(Duration::from_secs(self.long_poll));
        }
        if let Some(url) = &self.external_url {
            builder = builder.external_url(url);
        }
        if let Some(url) = &self.storage_url {
            builder = builder.storage_url(url);
        }
        if let Some(tls) = self.tls {
            builder = builder.tls(tls);
        }
        for fault in &self.faults {
            builder = builder.fault(fault.clone());
        }
        for (name, value) in &self.settings {
            builder = builder.settings(|settings| {
                // Checked alone when the option was read, and settings do not depend on each other.
                if let Ok(changed) = settings.with(&json!({ name: value })) {
                    *settings = changed;
                }
            });
        }
        if let Some(token) = &self.read_only_token {
            builder = builder.read_only_token(token);
        }
        if let Some(token) = &self.registration_token {
            builder = builder.registration_token(token);
        }
        if let Some(token) = &self.runner_token {
            builder = builder.runner_token(token);
        }
        if let Some(token) = &self.private_token {
            builder = builder.private_token(token);
        }
        builder
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if key.is_empty() || !key.chars().all(is_name) {
        return Err(format!("`{key}` is no name of letters, digits and `_`"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn setting(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    Settings::default().with(&json!({ name: value })).map_err(|problem| problem.to_string())?;
    Ok((name.to_owned(), value))
}

fn fault(text: &str) -> Result<Fault, String> {
    serde_json::from_str(text).map_err(|problem| problem.to_string())
}

fn tls(text: &str) -> Result<Tls, String> {
    match text {
        "self-signed" => Ok(Tls::SelfSigned),
        "wrong-host" => Ok(Tls::WrongHost),
        _ => Err("expected `self-signed` or `wrong-host`".to_owned()),
    }
}

fn project(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), PathBuf::from(path))),
        _ => Err("expected GROUP/NAME=PATH".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    match url::Url::parse(text) {
        Ok(url) if is_http && url.has_host() => Ok(text.to_owned()),
        _ => Err("expected http://HOST[:PORT] or https://HOST[:PORT]".to_owned()),
    }
}

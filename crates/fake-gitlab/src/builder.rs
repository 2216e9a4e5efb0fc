//! How a server is set up before it starts.

use std::path::PathBuf;
use std::time::Duration;

use crate::faults::Fault;
use crate::plan::Variable;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::{Error, FakeGitlab, start};

/// Collects what a server shall serve; `start` starts it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) listen: String,
    pub(crate) projects: Vec<(String, PathBuf)>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) registration_token: Option<String>,
    pub(crate) runner_token: Option<String>,
    pub(crate) private_token: Option<String>,
    pub(crate) read_only_token: Option<String>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) tls: Option<Tls>,
    /// What jobs are told the server's address is.
    pub(crate) external_url: Option<String>,
    /// What clients are told the object storage's address is.
    pub(crate) storage_url: Option<String>,
    /// Job timeout in seconds where a job sets none.
    pub(crate) project_timeout: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            listen: "127.0.0.1:0".to_owned(),
            projects: Vec::new(),
            variables: Vec::new(),
            registration_token: None,
            runner_token: None,
            private_token: None,
            read_only_token: None,
            faults: Vec::new(),
            tls: None,
            external_url: None,
            storage_url: None,
            project_timeout: 3600,
        }
    }
}

impl Builder {
    /// Address to listen on, `host:port`; port 0 takes a free one. Default `127.0.0.1:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Serves the Git repository at `path` (a working tree or a bare repository) as the project
    /// `group/name`. Only commits count; the repository is never written to.
    pub fn project(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.projects.push((name.into(), path.into()));
        self
    }

    /// A variable of every project.
    pub fn variable(mut self, variable: Variable) -> Self {
        self.variables.push(variable);
        self
    }

    /// The token for registering runners the old way. Made up by default.
    pub fn registration_token(mut self, token: impl Into<String>) -> Self {
        self.registration_token = Some(token.into());
        self
    }

    /// The token of the runner that is there from the start. Made up by default.
    pub fn runner_token(mut self, token: impl Into<String>) -> Self {
        self.runner_token = Some(token.into());
        self
    }

    /// The token of the user-facing API. Made up by default.
    pub fn private_token(mut self, token: impl Into<String>) -> Self {
        self.private_token = Some(token.into());
        self
    }

    /// The token of a user who may only read. Made up by default.
    pub fn read_only_token(mut self, token: impl Into<String>) -> Self {
        self.read_only_token = Some(token.into());
        self
    }

    /// A fault that is in force from the start.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Serves over TLS, with a certificate that something is wrong with.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Changes any of the instance's rules, see [`Settings`].
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Seconds between trace patches that the server asks for. Default 3; 0 leaves the header out.
    pub fn trace_interval(mut self, seconds: u64) -> Self {
        self.settings.trace_interval = seconds;
        self
    }

    /// Holds job requests for up to this long while the runner's queue is unchanged.
    pub fn long_poll(mut self, limit: Duration) -> Self {
        self.settings.long_poll_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Answers the first final state that carries a checksum with 202, as an instance with live
    /// traces does until the log is archived.
    pub fn live_trace(mut self, on: bool) -> Self {
        self.settings.live_trace = on;
        self
    }

    /// Largest artifact file in bytes. Default 1 GiB.
    pub fn artifact_limit(mut self, bytes: u64) -> Self {
        self.settings.artifact_limit = bytes;
        self
    }

    /// A patch that starts beyond this many bytes fails the job. Default 100 MiB.
    pub fn trace_limit(mut self, bytes: u64) -> Self {
        self.settings.trace_limit = bytes;
        self
    }

    /// The server's address as jobs see it (`repo_url`, `CI_SERVER_URL`), when it is not the one
    /// it listens on.
    pub fn external_url(mut self, url: impl Into<String>) -> Self {
        self.external_url = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// The object storage's address as jobs see it, when it is not the one it listens on.
    pub fn storage_url(mut self, url: impl Into<String>) -> Self {
        self.storage_url = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// Job timeout in seconds where a job sets none. Default 3600.
    pub fn project_timeout(mut self, seconds: u64) -> Self {
        self.project_timeout = seconds;
        self
    }

    /// Copies the repositories, binds the socket and serves until the result is dropped.
    pub async fn start(self) -> Result<FakeGitlab, Error> {
        start::start(self).await
    }
}

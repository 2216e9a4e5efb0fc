//! A runner that can be asked for jobs: one `[[runners]]` entry with its connection to GitLab.

use std::sync::Arc;

use runner_core::config::Runner;
use runner_core::job::RunnerRef;
use runner_gitlab::{Client, Error, Info, JobReply, Trust};

use crate::labels::{self, Labels};
use crate::metrics::Identity;

/// One runner.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) runner: Runner,
    pub(crate) client: Client,
    pub(crate) info: Info,
}

/// By what a job line names its runner.
#[derive(Debug, Clone)]
pub(crate) struct RunnerId {
    name: String,
    url: String,
    id: Option<u64>,
    short_token: String,
}

/// GitLab's id outlives a token; where one side does not know it, the token tells.
impl PartialEq for RunnerId {
    fn eq(&self, other: &Self) -> bool {
        let same_runner = match (self.id, other.id) {
            (Some(id), Some(other)) => id == other,
            _ => self.short_token == other.short_token,
        };
        same_runner && self.name == other.name && self.url == other.url
    }
}

impl Source {
    /// For `runner`. Connects to nothing yet. Takes the connections of the same GitLab and runner among `known`.
    pub(crate) fn new(runner: &Runner, labels: &Labels, known: &[Arc<Source>]) -> Result<Self, Error> {
        let tls = runner.tls();
        let same = known.iter().find(|source| source.is_same(runner) && source.runner.tls() == tls);
        let client = match same {
            Some(source) => source.client.clone(),
            None => Client::new(&runner.url, Trust::System(&tls))?,
        };
        let (labels, complaints) = labels::merge(labels, &runner.labels);
        for complaint in complaints {
            tracing::warn!("runner `{}`: {complaint}; it is left out", runner.name);
        }
        Ok(Self { runner: runner.clone(), client, info: Info::new(labels) })
    }

    /// Whether `runner` is the same one at the same GitLab.
    pub(crate) fn is_same(&self, runner: &Runner) -> bool {
        self.runner.url == runner.url && self.runner.token == runner.token
    }

    /// What stands in its job lines.
    pub(crate) fn id(&self) -> RunnerId {
        let runner = &self.runner;
        RunnerId {
            name: runner.name.clone(),
            url: runner.url.clone(),
            id: (runner.id > 0).then_some(runner.id),
            short_token: runner.short_token().to_owned(),
        }
    }

    /// What stands in its metrics.
    pub(crate) fn identity(&self) -> Identity {
        Identity { short_token: self.runner.short_token().to_owned(), name: self.runner.name.clone() }
    }

    /// Its name, for the log.
    pub(crate) fn title(&self) -> &str {
        if self.runner.name.is_empty() { self.runner.short_token() } else { &self.runner.name }
    }

    /// One request for a job.
    pub(crate) async fn ask(&self, system_id: &str, last_update: Option<&str>) -> Result<JobReply, Error> {
        self.client.request_job(&self.runner.token, system_id, last_update, &self.info).await
    }
}

impl From<&RunnerRef> for RunnerId {
    fn from(runner: &RunnerRef) -> Self {
        Self {
            name: runner.name.clone(),
            url: runner.url.clone(),
            id: runner.id,
            short_token: runner.short_token.clone(),
        }
    }
}

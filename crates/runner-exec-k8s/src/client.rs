//! Clients of the clusters that the jobs' runners name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use runner_cli::exit::{Exit, Fail};
use runner_core::config::Kubernetes;
use tower::limit::RateLimitLayer;

use crate::cli::Cli;

/// Requests per second to one API server, from all jobs together.
const RATE: u64 = 50;

/// Where one runner's pods run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterKey {
    host: String,
    context: String,
    ca_file: String,
    cert_file: String,
    key_file: String,
    bearer_token: String,
}

/// A cluster: what tells it from others, and its client.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) key: ClusterKey,
    pub(crate) client: Client,
}

/// One client per cluster; a client is a connection pool with one rate limit.
pub(crate) struct Clusters {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    clients: Mutex<HashMap<ClusterKey, Client>>,
}

impl Clusters {
    pub(crate) fn new(args: &Cli) -> Self {
        Self { kubeconfig: args.kubeconfig.clone(), context: args.context.clone(), clients: Mutex::default() }
    }

    /// The client for a runner's cluster.
    ///
    /// A cluster that is not described well enough to be asked is an error that ends the tool: every job would meet it.
    pub(crate) async fn client(&self, runner: &Kubernetes) -> anyhow::Result<Cluster> {
        let key = ClusterKey {
            host: runner.host.clone(),
            context: self.context.clone().unwrap_or_else(|| runner.context.clone()),
            ca_file: runner.ca_file.clone(),
            cert_file: runner.cert_file.clone(),
            key_file: runner.key_file.clone(),
            bearer_token: runner.bearer_token.expose().to_owned(),
        };
        if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Cluster { key, client: client.clone() });
        }
        let mut config = self.config(&key).await?;
        config.default_retry = false; // it would repeat a POST; our own retries know what is idempotent
        let client = ClientBuilder::try_from(config)
            .map(|builder| builder.with_layer(&RateLimitLayer::new(RATE, Duration::from_secs(1))).build())
            .context("setting up the cluster's client")
            .exit(Exit::Config)?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), client.clone());
        Ok(Cluster { key, client })
    }

    /// The runner's own settings first, then a kubeconfig that was named, then the cluster we run in, then the usual kubeconfig.
    async fn config(&self, key: &ClusterKey) -> anyhow::Result<Config> {
        if !key.host.is_empty() {
            return explicit(key);
        }
        let options = KubeConfigOptions {
            context: (!key.context.is_empty()).then(|| key.context.clone()),
            ..KubeConfigOptions::default()
        };
        if let Some(path) = &self.kubeconfig {
            let what = || format!("kubeconfig {}", path.display());
            let file = Kubeconfig::read_from(path).with_context(what).exit(Exit::Config)?;
            return Config::from_custom_kubeconfig(file, &options).await.with_context(what).exit(Exit::Config);
        }
        if let Ok(config) = Config::incluster() {
            return Ok(config);
        }
        Config::from_kubeconfig(&options)
            .await
            .context("no cluster: not running in one, and no kubeconfig")
            .exit(Exit::Config)
    }
}

/// `host` of the runner with its certificates or token.
fn explicit(key: &ClusterKey) -> anyhow::Result<Config> {
    let url = key.host.parse().with_context(|| format!("`host` of the runner: {}", key.host)).exit(Exit::Config)?;
    let file = |path: &String| (!path.is_empty()).then(|| path.clone());
    let mut config = Config::new(url);
    config.root_cert_file = file(&key.ca_file).map(PathBuf::from);
    config.auth_info = AuthInfo {
        client_certificate: file(&key.cert_file),
        client_key: file(&key.key_file),
        token: (!key.bearer_token.is_empty()).then(|| key.bearer_token.clone().into()),
        ..AuthInfo::default()
    };
    Ok(config)
}

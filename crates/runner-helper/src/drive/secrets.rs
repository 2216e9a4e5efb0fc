//! Secrets of other systems: fetched before anything runs, each becomes a masked variable of the job.
//!
//! Source: GitLab Runner's contract on secrets. Spoken to are HashiCorp Vault and GitLab's own secrets manager, which is an OpenBao
//! and so speaks the same.

mod vault;

use std::time::Duration;

use runner_core::failure::FailureReason;
use runner_core::job::Variable;
use runner_core::secret::Secret;
use runner_core::text;
use runner_gitlab::Trust;
use serde::Deserialize;
use serde_json::Value;

use self::vault::{Manager, Vault};
use super::failure::Failure;
use super::job::Job;
use super::log::Log;
use super::pause::Pause;

/// How long one call of a secrets server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Providers that GitLab knows and this helper does not speak to.
const NOT_SPOKEN_TO: &[&str] = &["aws_secrets_manager", "azure_key_vault", "gcp_secret_manager"];

/// Why a secret could not be had. No text quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    /// The server has no such secret, or it has no such field.
    #[error("secret not found: {0}")]
    NotFound(String),
    /// What the job says cannot work, or the server does not accept it.
    #[error("{0}")]
    Configuration(String),
    /// The server cannot serve it now.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    System(String),
}

impl SecretError {
    fn reason(&self) -> FailureReason {
        match self {
            Self::NotFound(_) | Self::Configuration(_) => FailureReason::RunnerConfigurationError,
            Self::Unavailable(_) => FailureReason::RunnerExternalDependencyFailure,
            Self::System(_) => FailureReason::RunnerSystemFailure,
        }
    }
}

/// One entry of the payload's `secrets`.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// Whether the variable is a file; yes if it is not said.
    file: Option<bool>,
    vault: Option<Vault>,
    gitlab_secrets_manager: Option<Manager>,
}

/// Fetches the job's secrets and adds them to its variables; the log hides them from then on.
pub(crate) async fn resolve(job: &mut Job, log: &Log) -> Result<(), Failure> {
    if job.payload.secrets.is_empty() {
        return Ok(());
    }
    log.runner(&text::heading("Resolving secrets"));
    let failed = |err: SecretError| Failure::new(format!("resolving secrets: {err}"), err.reason());
    let client = client(&job.authorities).map_err(failed)?;
    let secrets: Vec<(String, Value)> =
        job.payload.secrets.iter().map(|(key, wanted)| (key.clone(), wanted.clone())).collect();
    for (key, wanted) in secrets {
        log.runner(&text::plain(&format!("Resolving secret \"{key}\"...")));
        if let Some(variable) = one(job, log, &client, &key, &wanted).await.map_err(failed)? {
            job.variables.push(variable);
        }
    }
    log.mask(&job.masker());
    Ok(())
}

fn client(authorities: &str) -> Result<reqwest::Client, SecretError> {
    let system = |err: &dyn std::fmt::Display| SecretError::System(err.to_string());
    let roots: Vec<&[u8]> = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(AsRef::as_ref).collect();
    let builder = reqwest::Client::builder().timeout(CALL_TIMEOUT);
    let trust = Trust::Only { roots: &roots, pem: authorities.as_bytes() };
    trust.apply(builder, true).map_err(|err| system(&err))?.build().map_err(|err| system(&err))
}

/// The variable of one secret; `None` if nobody can resolve it.
async fn one(
    job: &Job,
    log: &Log,
    client: &reqwest::Client,
    key: &str,
    wanted: &Value,
) -> Result<Option<Variable>, SecretError> {
    let shape = |err: &dyn std::fmt::Display| SecretError::Configuration(format!("{key}: {err}"));
    if let Some(provider) = NOT_SPOKEN_TO.iter().find(|provider| !wanted[**provider].is_null()) {
        return Err(SecretError::Configuration(format!("{key}: {provider} is not supported by this runner")));
    }
    let Wanted { file, vault, gitlab_secrets_manager } = Wanted::deserialize(wanted).map_err(|err| shape(&err))?;
    let (name, vault) = match (vault, gitlab_secrets_manager) {
        (Some(vault), _) => ("vault", vault.expanded(&job.variables)),
        (None, Some(manager)) => ("gitlab_secrets_manager", manager.into()),
        (None, None) => {
            log.warn("Not resolved: no resolver that can handle the secret");
            return Ok(None);
        }
    };
    log.runner(&text::plain(&format!("Using \"{name}\" secret resolver...")));
    let fetched = attempts(job, log, async || vault.fetch(client, key).await).await;
    let value = match fetched {
        Err(SecretError::NotFound(_)) if !job.flags.is_on("FF_SECRET_RESOLVING_FAILS_IF_MISSING") => String::new(),
        fetched => fetched?,
    };
    Ok(Some(Variable {
        key: key.to_owned(),
        value: Secret::new(value),
        public: false,
        masked: true,
        file: file.unwrap_or(true),
        raw: true,
    }))
}

async fn attempts(
    job: &Job,
    log: &Log,
    mut fetch: impl AsyncFnMut() -> Result<String, SecretError>,
) -> Result<String, SecretError> {
    let mut pause = Pause::new(job.flags.is_on("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY"));
    for _ in 1..job.settings.secrets_attempts {
        match fetch().await {
            Err(SecretError::Unavailable(_) | SecretError::System(_)) => {}
            decided => return decided,
        }
        log.warn("Retrying...");
        tokio::time::sleep(pause.next()).await;
    }
    fetch().await
}

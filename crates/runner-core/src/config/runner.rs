//! One `[[runners]]` entry: its keys, their defaults, and the table as it stands in the file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cache, ConfigError, Kubernetes, Timestamp, deserialize, value_message, values};
use crate::duration::GoDuration;
use crate::job::Tls;
use crate::secret::{Secret, short_token};

/// One `[[runners]]` entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runner {
    /// Name, for people.
    pub name: String,
    /// GitLab's URL.
    pub url: String,
    /// GitLab's id of the runner, 0 if unknown.
    pub id: u64,
    /// Runner authentication token.
    pub token: Secret,
    /// When the token was given.
    pub token_obtained_at: Option<Timestamp>,
    /// When it ends.
    pub token_expires_at: Option<Timestamp>,
    /// PEM file of certificate authorities to trust besides the system's.
    #[serde(rename = "tls-ca-file")]
    pub tls_ca_file: String,
    /// PEM file of the client certificate.
    #[serde(rename = "tls-cert-file")]
    pub tls_cert_file: String,
    /// PEM file of its key.
    #[serde(rename = "tls-key-file")]
    pub tls_key_file: String,
    /// Labels of this runner; they win over the file's.
    pub labels: BTreeMap<String, String>,

    /// Jobs of this runner at one time; 0 means as many as `concurrent` allows.
    #[serde(deserialize_with = "values::count")]
    pub limit: u32,
    /// Longest job log in KiB; see [`Runner::output_limit`].
    #[serde(deserialize_with = "values::count")]
    pub output_limit: u32,
    /// Parallel requests for jobs; below 1 means 1.
    pub request_concurrency: i64,
    /// Wait `check_interval` after a job, too.
    pub strict_check_interval: bool,
    /// Bad answers in a row after which the runner rests; see [`Runner::unhealthy_requests_limit`].
    pub unhealthy_requests_limit: i64,
    /// How long it rests; see [`Runner::unhealthy_interval`].
    pub unhealthy_interval: Option<GoDuration>,
    /// Tries to deliver a job's result.
    pub job_status_final_update_retry_limit: i64,

    /// `kubernetes`; others can be kept in the file but not run.
    pub executor: String,
    /// `bash`, `sh`, `pwsh`, …
    pub shell: String,
    /// Folder for builds in the build container.
    pub builds_dir: String,
    /// Folder for caches in the build container.
    pub cache_dir: String,
    /// Replaces the host part of the clone URL.
    pub clone_url: String,
    /// `KEY=value` for every job.
    pub environment: Vec<String>,
    /// Run scripts through a proxy program.
    pub proxy_exec: Option<bool>,
    /// Script before the sources are fetched.
    pub pre_get_sources_script: String,
    /// Script after the sources are fetched.
    pub post_get_sources_script: String,
    /// Script before the user's.
    pub pre_build_script: String,
    /// Script after the user's, before `after_script`.
    pub post_build_script: String,
    /// Limit of the preparation.
    pub prepare_timeout: Option<GoDuration>,
    /// Limit of fetching the sources.
    pub get_sources_timeout: Option<GoDuration>,
    /// `CI_DEBUG_TRACE` has no effect.
    pub debug_trace_disabled: bool,
    /// Mark the checkout as a safe directory for Git; on if not set.
    pub safe_directory_checkout: Option<bool>,
    /// Remove Git's configuration before fetching.
    pub clean_git_config: Option<bool>,
    /// Image of the step runner.
    pub step_runner_image: String,
    /// `FF_… = true`.
    pub feature_flags: BTreeMap<String, bool>,
    /// Whether jobs may choose their folder.
    pub custom_build_dir: CustomBuildDir,
    /// Limits of artifact uploads.
    pub artifact: ArtifactLimits,
    /// Where caches are kept.
    pub cache: Option<Cache>,
    /// Where and how the pods are made.
    pub kubernetes: Option<Kubernetes>,

    /// The table as it stands in the file, `url` expanded.
    #[serde(skip)]
    pub(super) table: Table,
}

impl Runner {
    /// The table for a job line: all keys, unknown ones too, but the token. Datetimes are strings.
    pub fn to_line_config(&self) -> serde_json::Value {
        let mut table = self.table.0.clone();
        if let Some(object) = table.as_object_mut() {
            object.remove("token");
        }
        table
    }

    /// Reads the table of a job line. `null`, as in a line made by hand, is an empty table.
    pub fn from_line_config(config: &serde_json::Value) -> Result<Self, ConfigError> {
        if config.is_null() {
            return Ok(Self { table: Table(serde_json::json!({})), ..Self::default() });
        }
        let (mut runner, _unknown): (Self, _) = deserialize(config).map_err(|(key, err)| ConfigError::Value {
            line: None,
            key,
            message: value_message(&err.to_string()),
        })?;
        runner.table = Table(config.clone());
        Ok(runner)
    }

    /// The name, or `runners[n]` for an entry without one. `index` counts from 0.
    pub fn title(&self, index: usize) -> String {
        if self.name.is_empty() { format!("runners[{index}]") } else { self.name.clone() }
    }

    /// See [`short_token`].
    pub fn short_token(&self) -> &str {
        short_token(self.token.expose())
    }

    /// The TLS files that are set.
    pub fn tls(&self) -> Tls {
        let set = |file: &String| (!file.is_empty()).then(|| file.clone());
        Tls { ca_file: set(&self.tls_ca_file), cert_file: set(&self.tls_cert_file), key_file: set(&self.tls_key_file) }
    }

    /// Longest job log in bytes: `output_limit`, 4 MiB if it is not set.
    pub fn output_limit(&self) -> u64 {
        let kib = if self.output_limit == 0 { 4096 } else { u64::from(self.output_limit) };
        kib * 1024
    }

    /// Bad answers in a row after which the runner rests: 3 if not set.
    pub fn unhealthy_requests_limit(&self) -> u32 {
        u32::try_from(self.unhealthy_requests_limit).ok().filter(|&n| n > 0).unwrap_or(3)
    }

    /// How long it rests then: an hour if not set.
    pub fn unhealthy_interval(&self) -> Duration {
        self.unhealthy_interval.and_then(GoDuration::positive).unwrap_or(Duration::from_secs(3600))
    }

    /// Tries to deliver a job's result: 10 if not set.
    pub fn final_update_tries(&self) -> u32 {
        u32::try_from(self.job_status_final_update_retry_limit).ok().filter(|&n| n > 0).unwrap_or(10)
    }
}

/// A table as JSON. Holds the token, so it does not print.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Table(pub(super) serde_json::Value);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `[runners.custom_build_dir]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomBuildDir {
    /// Whether `GIT_CLONE_PATH` may be used; if not set, the executor decides.
    pub enabled: Option<bool>,
}

/// `[runners.artifact]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArtifactLimits {
    /// Whole upload; an hour if not set.
    pub upload_timeout: Option<GoDuration>,
    /// Until the answer begins; 10 minutes if not set.
    pub response_header_timeout: Option<GoDuration>,
}

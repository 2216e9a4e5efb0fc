//! The job: the line that carries it and the payload as GitLab sends it.
//!
//! The payload travels untouched as raw JSON; [`Payload`] is the typed view of it. Nulls and missing lists are empty, unknown
//! fields are ignored. Source: GitLab runner contract, 201 body of `POST /jobs/request`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::event::{Head, JobKey};
use crate::line::LineType;
use crate::secret::Secret;

/// `job`: a job to run, self-contained.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobLine {
    /// Protocol version.
    pub v: u32,
    /// Always `job`.
    #[serde(rename = "type")]
    pub kind: LineType,
    /// GitLab's job id.
    pub id: u64,
    /// Printed again after a restart: the job may have begun already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
    /// The runner that got the job.
    pub runner: RunnerRef,
    /// What GitLab answered, byte for byte; read it with [`Payload::parse`].
    pub payload: Box<RawValue>,
}

impl JobLine {
    /// A fresh job line around `payload`.
    pub fn new(id: u64, runner: RunnerRef, payload: Box<RawValue>) -> Self {
        let Head { v, kind } = Head::new(LineType::Job);
        Self { v, kind, id, resume: false, runner, payload }
    }

    /// The job's key: its id and the host of its GitLab.
    pub fn key(&self) -> JobKey {
        JobKey { id: self.id, host: crate::host_of(&self.runner.url) }
    }
}

/// The runner a job belongs to: what the executor and the helper need of its `[[runners]]` entry. Its token is not here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunnerRef {
    /// `name` of the entry.
    #[serde(default)]
    pub name: String,
    /// GitLab's URL.
    pub url: String,
    /// See [`crate::secret::short_token`].
    #[serde(default)]
    pub short_token: String,
    /// The machine's system id, `s_…` or `r_…`.
    #[serde(default)]
    pub system_id: String,
    /// GitLab's id of the runner, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// TLS files for `url`.
    #[serde(default)]
    pub tls: Tls,
    /// Lowest number that is free among this runner's running jobs: `CI_CONCURRENT_ID`.
    #[serde(default)]
    pub concurrent_id: u32,
    /// The same among its jobs of one project: `CI_CONCURRENT_PROJECT_ID`.
    #[serde(default)]
    pub concurrent_project_id: u32,
    /// The request that brought the job, for Git and logs (`X-Request-Id`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,
    /// The `[[runners]]` table without its token, as JSON; TOML datetimes are strings.
    #[serde(default)]
    pub config: serde_json::Value,
}

/// TLS files of one GitLab, as paths on the machine of the pipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tls {
    /// PEM file of certificate authorities that are trusted besides the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// PEM file of the client certificate.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// PEM file of its key.
    #[serde(default)]
    pub key_file: Option<String>,
}

/// Typed view of GitLab's job payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Payload {
    /// Job id.
    pub id: u64,
    /// Job token: authenticates log, result, artifacts and Git.
    pub token: Secret,
    /// Default Git strategy: fetch if true, else clone.
    #[serde(default, deserialize_with = "null_is_default")]
    pub allow_git_fetch: bool,
    /// Names and ids.
    #[serde(default, deserialize_with = "null_is_default")]
    pub job_info: JobInfo,
    /// What to check out.
    #[serde(default, deserialize_with = "null_is_default")]
    pub git_info: GitInfo,
    /// Timeout.
    #[serde(default, deserialize_with = "null_is_default")]
    pub runner_info: RunnerInfo,
    /// Variables in order; later ones win.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variables: Vec<Variable>,
    /// The user's scripts.
    #[serde(default, deserialize_with = "null_is_default")]
    pub steps: Vec<Step>,
    /// The job's image; none means the runner's default.
    #[serde(default, deserialize_with = "null_is_default")]
    pub image: Option<Image>,
    /// Service containers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub services: Vec<Image>,
    /// What to upload.
    #[serde(default, deserialize_with = "null_is_default")]
    pub artifacts: Vec<Artifact>,
    /// What to keep between jobs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cache: Vec<Cache>,
    /// Registry credentials.
    #[serde(default, deserialize_with = "null_is_default")]
    pub credentials: Vec<Credential>,
    /// Jobs whose artifacts this one takes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub dependencies: Vec<Dependency>,
    /// What this GitLab can do.
    #[serde(default, deserialize_with = "null_is_default")]
    pub features: Features,
    /// Scripts around the Git checkout.
    #[serde(default, deserialize_with = "null_is_default")]
    pub hooks: Vec<Hook>,
    /// External secrets by variable name, one provider object each.
    #[serde(default, deserialize_with = "null_is_default")]
    pub secrets: BTreeMap<String, serde_json::Value>,
    /// Job inputs for `${{ job.inputs.… }}`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub inputs: Vec<serde_json::Value>,
    /// Native steps: a string that holds a JSON array.
    #[serde(default)]
    pub run: Option<String>,
    /// Set if a policy made the job.
    #[serde(default)]
    pub policy_options: Option<serde_json::Value>,
}

impl Payload {
    /// Reads the typed view; the error names the field and position and quotes no value.
    pub fn parse(raw: &RawValue) -> Result<Self, crate::line::LineError> {
        serde_json::from_str(raw.get()).map_err(crate::line::malformed)
    }

    /// The job's time limit in seconds: GitLab's, or two hours if it sent none.
    pub fn timeout_secs(&self) -> u64 {
        match u64::try_from(self.runner_info.timeout) {
            Ok(secs) if secs > 0 => secs,
            _ => 7200,
        }
    }
}

/// `job_info`: names and ids, for labels and logs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JobInfo {
    /// Job name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Stage of the pipeline.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stage: String,
    /// Project id.
    #[serde(default, deserialize_with = "null_is_default")]
    pub project_id: u64,
    /// Project name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub project_name: String,
    /// `group/project`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub project_full_path: String,
    /// Pipeline id.
    #[serde(default, deserialize_with = "null_is_default")]
    pub pipeline_id: u64,
    /// Id of the project's namespace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace_id: u64,
    /// Id of the top-level namespace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub root_namespace_id: u64,
}

/// `git_info`: what to check out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GitInfo {
    /// Clone URL with credentials.
    #[serde(default, deserialize_with = "null_is_default")]
    pub repo_url: Secret,
    /// `sha1` or `sha256`; empty means `sha1`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub repo_object_format: String,
    /// Branch or tag.
    #[serde(default, rename = "ref", deserialize_with = "null_is_default")]
    pub git_ref: String,
    /// Commit to check out.
    #[serde(default, deserialize_with = "null_is_default")]
    pub sha: String,
    /// The commit before the push.
    #[serde(default, deserialize_with = "null_is_default")]
    pub before_sha: String,
    /// `branch` or `tag`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ref_type: String,
    /// What to fetch.
    #[serde(default, deserialize_with = "null_is_default")]
    pub refspecs: Vec<String>,
    /// How many commits; 0 is all.
    #[serde(default, deserialize_with = "null_is_default")]
    pub depth: u64,
    /// Whether the ref is protected.
    #[serde(default)]
    pub protected: Option<bool>,
}

/// `runner_info`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunnerInfo {
    /// Seconds; 0 or less means two hours, see [`Payload::timeout_secs`].
    #[serde(default, deserialize_with = "null_is_default")]
    pub timeout: i64,
}

/// One variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub key: String,
    /// Value as sent, not expanded. A secret as a rule, so it does not print.
    #[serde(default, deserialize_with = "null_is_default")]
    pub value: Secret,
    /// Services see it too.
    #[serde(default, deserialize_with = "null_is_default")]
    pub public: bool,
    /// The value never appears in the log.
    #[serde(default, deserialize_with = "null_is_default")]
    pub masked: bool,
    /// The value goes into a file and the variable holds its path.
    #[serde(default, deserialize_with = "null_is_default")]
    pub file: bool,
    /// The value is not expanded.
    #[serde(default, deserialize_with = "null_is_default")]
    pub raw: bool,
}

impl Variable {
    /// A public variable the runner makes itself.
    pub fn public(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Secret::new(value), public: true, ..Self::default() }
    }
}

/// One of the user's scripts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Step {
    /// `script`, `after_script`, `release`, …
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Commands, each possibly of several lines.
    #[serde(default, deserialize_with = "null_is_default")]
    pub script: Vec<String>,
}

/// The job's image or a service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Image {
    /// Image reference.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Host names of a service, divided by blanks or commas.
    #[serde(default, deserialize_with = "null_is_default")]
    pub alias: String,
    /// Replaces the image's entrypoint.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command.
    #[serde(default, deserialize_with = "null_is_default")]
    pub command: Vec<String>,
    /// Variables of this service alone.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variables: Vec<Variable>,
    /// Pull policies in the order to try.
    #[serde(default, deserialize_with = "null_is_default")]
    pub pull_policy: Vec<String>,
    /// Options for one kind of executor, e.g. `{"kubernetes":{"user":"1000"}}`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub executor_opts: serde_json::Value,
    /// Ports to be reached from outside.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ports: Vec<serde_json::Value>,
}

impl Image {
    /// Port on which the service must listen before the job begins: `HEALTHCHECK_TCP_PORT` among its own variables.
    pub fn health_check_port(&self) -> Option<&str> {
        let port = self.variables.iter().rev().find(|variable| variable.key == "HEALTHCHECK_TCP_PORT")?;
        Some(port.value.expose())
    }
}

impl From<&crate::config::kubernetes::Service> for Image {
    /// A service of the configuration in the form of a job's.
    fn from(service: &crate::config::kubernetes::Service) -> Self {
        let variable = |text: &String| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            Variable::public(key, value)
        };
        Self {
            name: service.name.clone(),
            alias: service.alias.clone(),
            entrypoint: service.entrypoint.clone(),
            command: service.command.clone(),
            variables: service.environment.iter().map(variable).collect(),
            ..Self::default()
        }
    }
}

/// When artifacts or a cache are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// After failure.
    OnFailure,
    /// In both cases.
    Always,
    /// After success; also if empty or unknown.
    #[default]
    #[serde(other)]
    OnSuccess,
}

impl When {
    /// Whether it applies to a job that has succeeded, or has not.
    pub fn fits(self, success: bool) -> bool {
        match self {
            Self::OnSuccess => success,
            Self::OnFailure => !success,
            Self::Always => true,
        }
    }
}

/// One upload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Artifact {
    /// File name without extension.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Files that Git does not track too.
    #[serde(default, deserialize_with = "null_is_default")]
    pub untracked: bool,
    /// Globs below the project directory.
    #[serde(default, deserialize_with = "null_is_default")]
    pub paths: Vec<String>,
    /// Globs to leave out.
    #[serde(default, deserialize_with = "null_is_default")]
    pub exclude: Vec<String>,
    /// When to upload.
    #[serde(default, deserialize_with = "null_is_default")]
    pub when: When,
    /// `archive`, `junit`, …
    #[serde(default, deserialize_with = "null_is_default")]
    pub artifact_type: String,
    /// `zip`, `gzip` or `raw`; empty means `zip`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub artifact_format: String,
    /// How long GitLab keeps it, in words.
    #[serde(default, deserialize_with = "null_is_default")]
    pub expire_in: String,
}

/// One cache.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cache {
    /// Key, not expanded.
    #[serde(default, deserialize_with = "null_is_default")]
    pub key: String,
    /// Files that Git does not track too.
    #[serde(default, deserialize_with = "null_is_default")]
    pub untracked: bool,
    /// `pull`, `push` or `pull-push`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub policy: String,
    /// Globs below the project directory.
    #[serde(default, deserialize_with = "null_is_default")]
    pub paths: Vec<String>,
    /// When to save.
    #[serde(default, deserialize_with = "null_is_default")]
    pub when: When,
    /// Keys to try if there is nothing under `key`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub fallback_keys: Vec<String>,
}

/// Registry credentials.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Credential {
    /// `registry`.
    #[serde(default, rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    /// Registry host.
    #[serde(default, deserialize_with = "null_is_default")]
    pub url: String,
    /// User.
    #[serde(default, deserialize_with = "null_is_default")]
    pub username: String,
    /// Password.
    #[serde(default, deserialize_with = "null_is_default")]
    pub password: Secret,
}

/// A job whose artifacts this one takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Dependency {
    /// That job's id.
    pub id: u64,
    /// Token for the download.
    #[serde(default, deserialize_with = "null_is_default")]
    pub token: Secret,
    /// That job's name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its archive, if it has one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub artifacts_file: ArtifactsFile,
}

/// The archive of a dependency.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ArtifactsFile {
    /// File name; empty means none.
    #[serde(default, deserialize_with = "null_is_default")]
    pub filename: String,
    /// Bytes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub size: u64,
}

/// `features`: what this GitLab can do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Features {
    /// Section markers are wanted in the log.
    #[serde(default, deserialize_with = "null_is_default")]
    pub trace_sections: bool,
    /// Failure reasons it knows.
    #[serde(default, deserialize_with = "null_is_default")]
    pub failure_reasons: Vec<String>,
    /// Prefixes of tokens to mask.
    #[serde(default, deserialize_with = "null_is_default")]
    pub token_mask_prefixes: Vec<String>,
}

/// A script around the Git checkout.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hook {
    /// `pre_get_sources_script` or `post_get_sources_script`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Commands.
    #[serde(default, deserialize_with = "null_is_default")]
    pub script: Vec<String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Payload {
        Payload::parse(&RawValue::from_string(json.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn nulls_and_missing_fields_are_empty() {
        let payload = parse(
            r#"{"id":1,"token":"t","image":null,"services":null,"artifacts":null,"steps":null,"cache":null,"variables":null,
                "credentials":null,"hooks":null,"secrets":null,"inputs":null,"dependencies":null,"unknown":{"x":1}}"#,
        );
        assert!(payload.image.is_none() && payload.steps.is_empty() && payload.secrets.is_empty());
        assert_eq!(payload.timeout_secs(), 7200);
    }

    #[test]
    fn when_is_on_success_unless_it_says_otherwise() {
        let payload = parse(
            r#"{"id":1,"token":"t","artifacts":[{"when":"on_failure"},{"when":""},{"when":null},{"when":"always"},{}]}"#,
        );
        let fits: Vec<_> = payload.artifacts.iter().map(|a| (a.when.fits(true), a.when.fits(false))).collect();
        assert_eq!(fits, [(false, true), (true, false), (true, false), (true, true), (true, false)]);
    }

    #[test]
    fn debug_of_a_job_shows_no_secret() {
        let payload = parse(
            r#"{"id":1,"token":"glcbt-SECRET","git_info":{"repo_url":"http://u:SECRET@h/p.git"},
                "variables":[{"key":"K","value":"SECRET","masked":true}],"credentials":[{"password":"SECRET"}],
                "dependencies":[{"id":2,"token":"SECRET"}]}"#,
        );
        assert!(!format!("{payload:?}").contains("SECRET"));
    }
}

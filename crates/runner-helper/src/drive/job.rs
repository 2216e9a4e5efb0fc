//! The job as the stages see it: payload, settings of its runner, folders, variables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use runner_core::config::kubernetes::Service;
use runner_core::duration::GoDuration;
use runner_core::flags::{Flags, parse_bool};
use runner_core::inputs;
use runner_core::job::{Image, JobLine, Payload};
use runner_core::job_variables::{JobVariables, Sources};
use runner_core::mask::{DEFAULT_PREFIXES, Masker};
use runner_core::project_folder::Builds;
use runner_core::variables::Variables;
use serde::Deserialize;

use super::settings::Settings;
use crate::cli::DriveArgs;

/// Name of the file, in the job's temporary folder, through which a script hands variables to later stages.
const ENV_FILE: &str = "gitlab_runner_env";

/// What the helper needs of the `[[runners]]` table.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunnerConfig {
    /// KiB; 0 is the default.
    output_limit: Option<u64>,
    /// `bash` or `sh`.
    pub(crate) shell: Option<String>,
    environment: Vec<String>,
    /// GitLab's address for Git, if it is not `url`.
    pub(crate) clone_url: Option<String>,
    pub(crate) pre_get_sources_script: Option<String>,
    pub(crate) post_get_sources_script: Option<String>,
    pub(crate) pre_build_script: Option<String>,
    pub(crate) post_build_script: Option<String>,
    pub(crate) clean_git_config: Option<bool>,
    /// Limit of all tries of `get_sources` together.
    get_sources_timeout: Option<GoDuration>,
    debug_trace_disabled: bool,
    feature_flags: BTreeMap<String, bool>,
    kubernetes: KubernetesConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KubernetesConfig {
    services: Vec<Service>,
}

impl RunnerConfig {
    /// Log limit in bytes.
    pub(crate) fn log_limit(&self) -> u64 {
        self.output_limit.filter(|&kib| kib > 0).unwrap_or(4096).saturating_mul(1024)
    }

    /// The services that every job of this runner has.
    pub(crate) fn services(&self) -> Vec<Image> {
        self.kubernetes.services.iter().map(Image::from).collect()
    }

    /// How long the sources may take in a job of this `timeout`; `None` if only the job's own time counts.
    pub(crate) fn sources_timeout(&self, timeout: Duration) -> Option<Duration> {
        self.get_sources_timeout.and_then(GoDuration::to_std).filter(|limit| !limit.is_zero() && *limit <= timeout)
    }
}

/// The job's folders.
#[derive(Debug)]
pub(crate) struct Folders {
    /// Where sources of all jobs are.
    pub(crate) builds: PathBuf,
    /// Where caches of all jobs are.
    pub(crate) cache: PathBuf,
    /// The checkout; scripts start here.
    pub(crate) project: PathBuf,
    /// Files of this job beside it.
    pub(crate) temp: PathBuf,
    /// Files only the helper may see.
    pub(crate) private: PathBuf,
}

/// A job with everything that is derived from it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) line: JobLine,
    pub(crate) payload: Payload,
    pub(crate) config: RunnerConfig,
    pub(crate) flags: Flags,
    pub(crate) folders: Folders,
    pub(crate) variables: Variables,
    /// PEM of further certificate authorities for GitLab; may be empty.
    pub(crate) authorities: String,
    pub(crate) settings: Settings,
    /// What is wrong with the job's settings, for the log.
    pub(crate) warnings: Vec<String>,
}

/// Why a job cannot run at all: a configuration error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadJob(String);

impl Job {
    /// Derives everything; `authorities` is what stood beside the job line.
    pub(crate) fn new(line: JobLine, payload: Payload, authorities: String, args: &DriveArgs) -> Result<Self, BadJob> {
        let config = RunnerConfig::deserialize(&line.runner.config)
            .map_err(|err| BadJob(format!("runner settings: {err}")))
            .or_else(|err| if line.runner.config.is_null() { Ok(RunnerConfig::default()) } else { Err(err) })?;
        let flags = Flags::resolve(&config.feature_flags, &payload.variables);
        let mut payload = payload;
        if flags.is_on("FF_ENABLE_JOB_INPUTS_INTERPOLATION") {
            let failed = |err| BadJob(format!("failed to interpolate job inputs: {err}"));
            payload = inputs::interpolated(&line.payload, &payload).map_err(failed)?.unwrap_or(payload);
        }
        refuse_unsupported(&payload)?;
        let builds = Builds::new(&args.builds_dir, &line.runner.config);
        let sources = Sources {
            line: &line,
            payload: &payload,
            flags: &flags,
            environment: &config.environment,
            builds,
            authorities: &authorities,
        };
        let JobVariables { variables, project, temp, left_out } =
            JobVariables::assemble(sources).map_err(|err| BadJob(err.to_string()))?;
        let folders = Folders {
            builds: args.builds_dir.clone(),
            cache: args.cache_dir.clone(),
            project,
            temp,
            private: args.spool.clone(),
        };
        let (settings, mut warnings) = Settings::read(&variables, config.debug_trace_disabled);
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            warnings.push(format!("left out, because no shell can have variables of these names: {names}"));
        }
        if parse_bool(&variables.value("RUNNER_GENERATE_ARTIFACTS_METADATA")).unwrap_or(false) {
            warnings.push("RUNNER_GENERATE_ARTIFACTS_METADATA has no effect in this runner".to_owned());
        }
        if !matches!(variables.value("CACHE_COMPRESSION_FORMAT").as_str(), "" | "zip") {
            warnings.push("CACHE_COMPRESSION_FORMAT: this runner makes zip archives only".to_owned());
        }
        Ok(Self { line, payload, config, flags, folders, variables, authorities, settings, warnings })
    }

    /// The texts that must not be in the log.
    fn masked(&self) -> Vec<String> {
        let mut phrases = self.variables.masked_values();
        // Never to be seen, whatever GitLab says of the variable; a token of a few letters would be a test's.
        phrases.extend(Some(self.payload.token.expose().to_owned()).filter(|token| token.len() >= 8));
        phrases
    }

    /// Hides the texts that must not be in the log.
    pub(crate) fn masker(&self) -> Masker {
        let defaults =
            if self.flags.is_on("FF_MASK_ALL_DEFAULT_TOKENS") { DEFAULT_PREFIXES } else { &DEFAULT_PREFIXES[..1] };
        let own = self.payload.features.token_mask_prefixes.iter().map(String::as_str);
        Masker::new(self.masked(), defaults.iter().copied().chain(own))
    }

    /// Whether the variable `key` is one of the texts that mean true.
    pub(crate) fn bool(&self, key: &str) -> bool {
        parse_bool(&self.variables.value(key)).unwrap_or(false)
    }

    /// Whether what the helper writes is the build container's user's, and not writable for all.
    pub(crate) fn keeps_umask(&self) -> bool {
        self.flags.is_on("FF_DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR")
    }

    /// The file through which a script hands variables to later stages.
    pub(crate) fn env_file(&self) -> PathBuf {
        self.folders.temp.join(ENV_FILE)
    }

    /// Path of a file variable's file.
    pub(crate) fn variable_file(&self, key: &str) -> PathBuf {
        self.folders.temp.join(key)
    }

    /// The environment of scripts: each variable once, file variables by path; without what a script has handed over.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for variable in self.variables.iter() {
            let value = if variable.file {
                self.variable_file(&variable.key).display().to_string()
            } else {
                self.variables.expanded_value(variable)
            };
            env.insert(variable.key.clone(), value.replace('\0', ""));
        }
        env.insert("GITLAB_ENV".to_owned(), self.env_file().display().to_string());
        env
    }
}

/// What would make a job do something else than it says if it were left out.
fn refuse_unsupported(payload: &Payload) -> Result<(), BadJob> {
    let refused = |what: &str| Err(BadJob(format!("{what} not supported by this runner")));
    if payload.run.as_ref().is_some_and(|run| !run.is_empty()) {
        return refused("the `run` keyword is");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j106_the_sources_have_their_own_time_only_within_the_jobs() {
        let limit = |text: &str| {
            let config: RunnerConfig =
                serde_json::from_value(serde_json::json!({"get_sources_timeout": text})).unwrap();
            config.sources_timeout(Duration::from_secs(60))
        };
        assert_eq!(limit("30s"), Some(Duration::from_secs(30)));
        for text in ["0", "-5s", "2m"] {
            assert_eq!(limit(text), None, "{text}");
        }
        assert_eq!(RunnerConfig::default().sources_timeout(Duration::from_secs(60)), None);
    }
}

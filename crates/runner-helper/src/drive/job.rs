//! The job as the stages see it: payload, settings of its runner, folders, variables.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use runner_core::config::kubernetes::Service;
use runner_core::flags::{Flags, parse_bool};
use runner_core::job::{Image, JobLine, Payload, Variable};
use runner_core::secret::Secret;
use runner_core::shell;
use runner_core::variables::Variables;
use serde::Deserialize;

use crate::cli::DriveArgs;

/// Name of the file, in the job's temporary folder, through which a script hands variables to later stages.
const ENV_FILE: &str = "gitlab_runner_env";

/// Feature flags that change nothing here; a job that sets one is told.
const WITHOUT_EFFECT: &[&str] = &[
    "FF_CONCRETE",
    "FF_DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR",
    "FF_ENABLE_JOB_CLEANUP",
    "FF_SCRIPT_TO_STEP_MIGRATION",
    "FF_SUSPENDABLE_ENVIRONMENTS",
    "FF_USE_GIT_NATIVE_CLONE",
];

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
    pub(crate) debug_trace_disabled: bool,
    feature_flags: BTreeMap<String, bool>,
    custom_build_dir: CustomBuildDir,
    kubernetes: KubernetesConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CustomBuildDir {
    enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KubernetesConfig {
    /// By kind; only the mount paths matter here.
    volumes: BTreeMap<String, serde_json::Value>,
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

    /// Whether a volume is mounted at `builds`, so that other jobs meet the same folders.
    fn shares_builds(&self, builds: &Path) -> bool {
        // An emptyDir is the pod's own, wherever it is mounted.
        let kinds = self.kubernetes.volumes.iter().filter(|(kind, _)| *kind != "empty_dir");
        let mounts = kinds.filter_map(|(_, volumes)| volumes.as_array()).flatten();
        mounts.filter_map(|volume| volume.get("mount_path")?.as_str()).any(|path| Path::new(path) == builds)
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
        refuse_unsupported(&payload)?;
        let flags = Flags::resolve(&config.feature_flags, &payload.variables);
        let mut warnings = flags.warnings().to_vec();
        let idle = WITHOUT_EFFECT.iter().filter(|name| flags.is_on(name));
        warnings.extend(idle.map(|name| format!("{name} has no effect in this runner")));
        let mut list = first_variables(&line, &payload, &config, &flags, args);
        list.extend(authority_variable(&authorities));
        list.extend(payload.variables.iter().filter(|v| !is_flag(&v.key)).cloned());
        let project = project_folder(&line, &payload, &config, args, &list)?;
        let temp = PathBuf::from(format!("{}.tmp", project.display()));
        // The runner's own value is used for paths; a job's variable of that name only changes the environment.
        for variable in list.iter_mut().filter(|v| v.key == "CI_PROJECT_DIR" && v.value.is_empty()) {
            variable.value = Secret::new(project.display().to_string());
        }
        list.extend(last_variables(&temp));
        let mut left_out: Vec<String> = Vec::new();
        list.retain(|v| {
            shell::is_name(&v.key) || {
                left_out.push(v.key.clone());
                false
            }
        });
        if !left_out.is_empty() {
            warnings
                .push(format!("left out, because no shell can have variables of these names: {}", left_out.join(", ")));
        }
        let variables = Variables::new(list, temp.display().to_string());
        let folders = Folders {
            builds: args.builds_dir.clone(),
            cache: args.cache_dir.clone(),
            project,
            temp,
            private: args.spool.clone(),
        };
        let mut job = Self { line, payload, config, flags, folders, variables, authorities, warnings };
        if job.bool("RUNNER_GENERATE_ARTIFACTS_METADATA") {
            job.warnings.push("RUNNER_GENERATE_ARTIFACTS_METADATA has no effect in this runner".to_owned());
        }
        if !matches!(job.variables.value("CACHE_COMPRESSION_FORMAT").as_str(), "" | "zip") {
            job.warnings.push("CACHE_COMPRESSION_FORMAT: this runner makes zip archives only".to_owned());
        }
        if job.config.debug_trace_disabled && job.bool("CI_DEBUG_TRACE") {
            job.warnings.push("CI_DEBUG_TRACE: usage is disabled on this Runner".to_owned());
        }
        Ok(job)
    }

    /// The texts that must not be in the log.
    pub(crate) fn masked(&self) -> Vec<String> {
        let mut phrases = self.variables.masked_values();
        // Never to be seen, whatever GitLab says of the variable; a token of a few letters would be a test's.
        phrases.extend(Some(self.payload.token.expose().to_owned()).filter(|token| token.len() >= 8));
        phrases
    }

    /// Whether the variable `key` is one of the texts that mean true.
    pub(crate) fn bool(&self, key: &str) -> bool {
        parse_bool(&self.variables.value(key)).unwrap_or(false)
    }

    /// Whether scripts run with `xtrace`.
    pub(crate) fn traces(&self) -> bool {
        !self.config.debug_trace_disabled && self.bool("CI_DEBUG_TRACE")
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
    if !payload.secrets.is_empty() {
        return refused("resolving secrets: external secrets are");
    }
    let commands = payload.steps.iter().flat_map(|step| &step.script);
    if !payload.inputs.is_empty() && commands.into_iter().any(|line| line.contains("${{ job.inputs.")) {
        return refused("failed to interpolate job inputs: they are");
    }
    Ok(())
}

fn is_flag(key: &str) -> bool {
    runner_core::flags::KNOWN.iter().any(|(name, _)| *name == key)
}

/// The variables that are weaker than the job's own.
fn first_variables(
    line: &JobLine,
    payload: &Payload,
    config: &RunnerConfig,
    flags: &Flags,
    args: &DriveArgs,
) -> Vec<Variable> {
    let mut list: Vec<Variable> = flags.iter().map(|(name, on)| Variable::public(name, on.to_string())).collect();
    if let Some(image) = payload.image.as_ref().filter(|image| !image.name.is_empty()) {
        list.push(Variable::public("CI_JOB_IMAGE", image.name.as_str()));
    }
    list.push(Variable::public("CI_RUNNER_SHORT_TOKEN", line.runner.short_token.as_str()));
    for entry in &config.environment {
        if let Some((key, value)) = entry.split_once('=') {
            list.push(Variable::public(key, value));
        }
    }
    let runner = &line.runner;
    list.extend([
        Variable::public("CI_BUILDS_DIR", args.builds_dir.display().to_string()),
        Variable::public("CI_PROJECT_DIR", ""), // known once these variables are: see GIT_CLONE_PATH
        Variable::public("CI_CONCURRENT_ID", runner.concurrent_id.to_string()),
        Variable::public("CI_CONCURRENT_PROJECT_ID", runner.concurrent_project_id.to_string()),
        Variable::public("CI_SERVER", "yes"),
        Variable::public("CI_JOB_STATUS", "running"),
        Variable::public("CI_JOB_TIMEOUT", payload.timeout_secs().to_string()),
    ]);
    list
}

fn authority_variable(authorities: &str) -> Option<Variable> {
    let variable = Variable { file: true, raw: true, ..Variable::public("CI_SERVER_TLS_CA_FILE", authorities) };
    (!authorities.is_empty()).then_some(variable)
}

/// The variables that no job can change.
fn last_variables(temp: &Path) -> [Variable; 5] {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        Variable::public("CI_DISPOSABLE_ENVIRONMENT", "true"),
        Variable::public("CI_RUNNER_VERSION", runner_core::COMPATIBLE_VERSION),
        Variable::public("CI_RUNNER_REVISION", runner_core::REVISION),
        Variable::public("CI_RUNNER_EXECUTABLE_ARCH", format!("linux/{architecture}")),
        Variable::public("RUNNER_TEMP_PROJECT_DIR", temp.display().to_string()),
    ]
}

fn project_folder(
    line: &JobLine,
    payload: &Payload,
    config: &RunnerConfig,
    args: &DriveArgs,
    list: &[Variable],
) -> Result<PathBuf, BadJob> {
    let builds = &args.builds_dir;
    let variables = Variables::new(list.to_vec(), builds.display().to_string());
    let wish = variables.value("GIT_CLONE_PATH");
    if !wish.is_empty() {
        if config.custom_build_dir.enabled == Some(false) {
            return Err(BadJob("setting GIT_CLONE_PATH is not allowed, enable `custom_build_dir` feature".to_owned()));
        }
        let folder = cleaned(&builds.join(&wish));
        if !folder.starts_with(cleaned(builds)) {
            let builds = builds.display();
            return Err(BadJob(format!("the GIT_CLONE_PATH=\"{wish}\" has to be within \"{builds}\"")));
        }
        return Ok(folder);
    }
    let path = repository_path(payload.git_info.repo_url.expose())
        .unwrap_or_else(|| PathBuf::from(format!("project-{}", payload.job_info.project_id)));
    let root = if config.shares_builds(builds) {
        builds.join(&line.runner.short_token).join(line.runner.concurrent_project_id.to_string())
    } else {
        builds.clone()
    };
    let suffix = if variables.value("GIT_STRATEGY") == "empty" { "-empty" } else { "" };
    Ok(PathBuf::from(format!("{}{suffix}", root.join(path).display())))
}

/// The path part of a repository's URL, without `.git`; `None` if it cannot be a folder.
fn repository_path(url: &str) -> Option<PathBuf> {
    let url = url::Url::parse(url).ok()?;
    if url.scheme() != "file" {
        url.host_str()?;
    }
    let path = url.path().trim_matches('/');
    let path = PathBuf::from(path.strip_suffix(".git").unwrap_or(path));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().next().is_some()).then_some(path)
}

/// `path` without `.` and `..`, by text alone.
pub(crate) fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            Component::ParentDir if clean.has_root() => {}
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_a_folder_of_its_own() {
        for (url, expected) in [
            ("http://u:p@h/group/sub/project.git", Some("group/sub/project")),
            ("https://h:8443/p", Some("p")),
            ("file:///tmp/x/repo.git", Some("tmp/x/repo")),
            ("http://h/", None),
            ("not a url", None),
        ] {
            assert_eq!(repository_path(url).as_deref(), expected.map(Path::new), "{url}");
        }
    }

    #[test]
    fn only_a_volume_that_outlives_the_pod_is_shared() {
        for (kind, path, shared) in [
            ("host_path", "/builds", true),
            ("pvc", "/builds", true),
            ("empty_dir", "/builds", false),
            ("pvc", "/other", false),
        ] {
            let table = serde_json::json!({"kubernetes": {"volumes": {kind: [{"name": "v", "mount_path": path}]}}});
            let config: RunnerConfig = serde_json::from_value(table).unwrap();
            assert_eq!(config.shares_builds(Path::new("/builds")), shared, "{kind} at {path}");
        }
    }

    #[test]
    fn paths_are_cleaned_by_text() {
        for (path, expected) in [("/a/./b/../c", "/a/c"), ("/../a", "/a"), ("a/../../b", "../b"), ("./a//b/", "a/b")] {
            assert_eq!(cleaned(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}

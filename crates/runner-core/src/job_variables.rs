//! All variables of a job in their order, and the folders that follow from them.
//!
//! Source: GitLab Runner's contract on variables: who sets which, and who wins.

use std::path::PathBuf;

use crate::flags::{Flags, KNOWN};
use crate::job::{JobLine, Payload, Variable};
use crate::project_folder::{Builds, FolderError, project_folder};
use crate::secret::Secret;
use crate::shell;
use crate::variables::Variables;

/// What a job's variables are made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The job's line.
    pub line: &'a JobLine,
    /// Its payload, read.
    pub payload: &'a Payload,
    /// Its feature flags.
    pub flags: &'a Flags,
    /// `environment` of the runner: `KEY=value` each.
    pub environment: &'a [String],
    /// Where checkouts are.
    pub builds: Builds<'a>,
    /// PEM of further certificate authorities for GitLab; may be empty.
    pub authorities: &'a str,
}

/// The variables of one job.
#[derive(Debug, Clone)]
pub struct JobVariables {
    /// In order; a reference to a file variable gives the file's path in [`JobVariables::temp`].
    pub variables: Variables,
    /// Folder of the checkout.
    pub project: PathBuf,
    /// Folder for the job's own files, beside the checkout.
    pub temp: PathBuf,
    /// Names that no shell can have, and so the job has not.
    pub left_out: Vec<String>,
}

impl JobVariables {
    /// Puts the variables together. The error is one of the job's or the runner's configuration.
    pub fn assemble(sources: Sources<'_>) -> Result<Self, FolderError> {
        let Sources { line, payload, builds, .. } = sources;
        let mut list = weaker_than_the_job(&sources);
        // GitLab's own flags have been resolved; their variables hold the outcome.
        list.extend(payload.variables.iter().filter(|v| !is_flag(&v.key)).cloned());
        let project = project_folder(line, payload, builds, &list)?;
        let temp = PathBuf::from(format!("{}.tmp", project.display()));
        // The runner's own value is used for paths; a job's variable of that name only changes the environment.
        for variable in list.iter_mut().filter(|v| v.key == "CI_PROJECT_DIR" && v.value.is_empty()) {
            variable.value = Secret::new(project.display().to_string());
        }
        list.extend(stronger_than_the_job(&temp.display().to_string()));
        let (list, impossible): (Vec<_>, Vec<_>) = list.into_iter().partition(|v| shell::is_name(&v.key));
        let left_out = impossible.into_iter().map(|v| v.key).collect();
        Ok(Self { variables: Variables::new(list, temp.display().to_string()), project, temp, left_out })
    }
}

fn is_flag(key: &str) -> bool {
    KNOWN.iter().any(|(name, _)| *name == key)
}

fn weaker_than_the_job(sources: &Sources<'_>) -> Vec<Variable> {
    let Sources { line, payload, flags, environment, builds, authorities } = sources;
    let mut list: Vec<Variable> = flags.iter().map(|(name, on)| Variable::public(name, on.to_string())).collect();
    if let Some(image) = payload.image.as_ref().filter(|image| !image.name.is_empty()) {
        list.push(Variable::public("CI_JOB_IMAGE", image.name.as_str()));
    }
    let runner = &line.runner;
    list.push(Variable::public("CI_RUNNER_SHORT_TOKEN", runner.short_token.as_str()));
    let of_runner = environment.iter().filter_map(|entry| entry.split_once('='));
    list.extend(of_runner.map(|(key, value)| Variable::public(key, value))); // services need them too: proxies and the like
    list.extend([
        Variable::public("CI_BUILDS_DIR", builds.folder.display().to_string()),
        Variable::public("CI_PROJECT_DIR", ""), // known once these variables are: see GIT_CLONE_PATH
        Variable::public("CI_CONCURRENT_ID", runner.concurrent_id.to_string()),
        Variable::public("CI_CONCURRENT_PROJECT_ID", runner.concurrent_project_id.to_string()),
        Variable::public("CI_SERVER", "yes"),
        Variable::public("CI_JOB_STATUS", "running"),
        Variable::public("CI_JOB_TIMEOUT", payload.timeout_secs().to_string()),
    ]);
    if !authorities.is_empty() {
        list.push(Variable { file: true, raw: true, ..Variable::public("CI_SERVER_TLS_CA_FILE", *authorities) });
    }
    list
}

fn stronger_than_the_job(temp: &str) -> [Variable; 5] {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        Variable::public("CI_DISPOSABLE_ENVIRONMENT", "true"),
        Variable::public("CI_RUNNER_VERSION", crate::COMPATIBLE_VERSION),
        Variable::public("CI_RUNNER_REVISION", crate::REVISION),
        Variable::public("CI_RUNNER_EXECUTABLE_ARCH", format!("linux/{architecture}")),
        Variable::public("RUNNER_TEMP_PROJECT_DIR", temp),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::job::RunnerRef;

    fn assembled(payload: Value) -> JobVariables {
        let mut whole = json!({"id": 1, "token": "t", "git_info": {"repo_url": "http://h/g/p.git"}, "runner_info": {"timeout": 60}});
        whole.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        let raw = RawValue::from_string(whole.to_string()).unwrap();
        let payload = Payload::parse(&raw).unwrap();
        let runner = RunnerRef { short_token: "abc".into(), ..RunnerRef::default() };
        let line = JobLine::new(1, runner, raw);
        let flags = Flags::resolve(&BTreeMap::new(), &payload.variables);
        let environment = ["WEAK=of runner".to_owned(), "BOTH=of runner".to_owned(), "CI_SERVER=no".to_owned()];
        let builds = Builds { folder: Path::new("/builds"), shared: false, custom: true };
        let sources = Sources {
            line: &line,
            payload: &payload,
            flags: &flags,
            environment: &environment,
            builds,
            authorities: "pem",
        };
        JobVariables::assemble(sources).unwrap()
    }

    #[test]
    fn j101_j136_the_order_decides_who_wins() {
        let job = assembled(json!({"variables": [
            {"key": "BOTH", "value": "of job"}, {"key": "CI_PROJECT_DIR", "value": "/mine"},
            {"key": "RUNNER_TEMP_PROJECT_DIR", "value": "/mine"}, {"key": "CI_JOB_TIMEOUT", "value": "1"},
            {"key": "CI_DISPOSABLE_ENVIRONMENT", "value": "no"}, {"key": "FF_TIMESTAMPS", "value": "0"},
        ]}));
        for (key, value) in [
            ("WEAK", "of runner"),
            ("BOTH", "of job"),
            ("CI_SERVER", "yes"),
            ("CI_PROJECT_DIR", "/mine"),
            ("CI_JOB_TIMEOUT", "1"),
            ("RUNNER_TEMP_PROJECT_DIR", "/builds/g/p.tmp"),
            ("CI_DISPOSABLE_ENVIRONMENT", "true"),
            ("FF_TIMESTAMPS", "false"),
            ("FF_USE_FASTZIP", "true"),
            ("CI_SERVER_TLS_CA_FILE", "pem"),
            ("CI_RUNNER_VERSION", crate::COMPATIBLE_VERSION),
        ] {
            assert_eq!(job.variables.value(key), value, "{key}");
        }
        assert_eq!(job.project, Path::new("/builds/g/p"));
    }

    #[test]
    fn j102_the_timeout_is_told_in_seconds() {
        for (info, seconds) in [(json!({"timeout": 90}), "90"), (json!({"timeout": 0}), "7200"), (json!({}), "7200")] {
            assert_eq!(assembled(json!({"runner_info": info})).variables.value("CI_JOB_TIMEOUT"), seconds);
        }
    }

    #[test]
    fn j103_the_image_is_told_expanded() {
        let image = |name: Value| {
            let variables = json!([{"key": "TAG", "value": "3"}]);
            assembled(json!({"image": name, "variables": variables})).variables.find("CI_JOB_IMAGE").is_some()
        };
        assert!(!image(Value::Null) && !image(json!({"name": ""})) && image(json!({"name": "x"})));
        let job = assembled(json!({"image": {"name": "alpine:$TAG"}, "variables": [{"key": "TAG", "value": "3"}]}));
        assert_eq!(job.variables.value("CI_JOB_IMAGE"), "alpine:3");
    }

    #[test]
    fn names_no_shell_can_have_are_left_out() {
        let job = assembled(json!({"variables": [{"key": "A-B", "value": "x"}, {"key": "1A", "value": "x"}]}));
        assert_eq!(job.left_out, ["A-B", "1A"]);
        assert!(job.variables.find("A-B").is_none());
    }
}

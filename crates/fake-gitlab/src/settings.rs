//! The rules of the instance: what an administrator of GitLab sets, and what happens to a GitLab.
//!
//! All of them can be changed while the server runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The rules of the instance. Sizes are bytes, times seconds, unless a name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// `X-GitLab-Trace-Update-Interval`; 0 leaves the header out. Default 3.
    pub trace_interval: u64,
    /// The same for logs that no user looked at in the last ten seconds; GitLab has 60. By default
    /// `trace_interval` counts for all logs.
    pub unwatched_trace_interval: Option<u64>,
    /// A patch that starts here or later fails the job. Default 100 MiB.
    pub trace_limit: u64,
    /// Logs are kept in chunks and archived after the end: final states with a checksum are
    /// answered with 202 until that is done.
    pub live_trace: bool,
    /// How often a final state is answered with 202. Default 1.
    pub archive_rounds: u64,
    /// Job requests are held this long while the runner's queue is unchanged, in milliseconds; 0
    /// answers at once.
    pub long_poll_ms: u64,

    /// Largest artifact file. Default 1 GiB.
    pub artifact_limit: u64,
    /// The same for a group, subgroup or project, by path; the smallest limit counts.
    pub artifact_limits: BTreeMap<String, u64>,
    /// The same for a file type, as a plan has it.
    pub artifact_type_limits: BTreeMap<String, u64>,
    /// Without artifacts uploads are answered with 405.
    pub artifacts_enabled: bool,
    /// Lifetime of artifacts that name none, as a duration in words; `0` is for ever.
    pub default_artifacts_expire_in: String,
    /// Nothing can be stored: 503.
    pub artifact_storage_down: bool,
    /// Artifacts lie on a second server, which `direct_download` leads to.
    pub object_storage: bool,
    /// This server is only what lies behind a Workhorse with this secret (HS256, as text).
    pub workhorse_secret: Option<String>,

    /// The database is being migrated: 429 to every runner.
    pub migrating: bool,
    /// Repositories cannot be reached: jobs fail when they are to be given out.
    pub git_down: bool,
    /// Job requests per minute and runner token; 0 is no limit. GitLab has 2000.
    pub job_request_rate: u64,
    /// Log patches per minute and job token; 0 is no limit. GitLab has 200.
    pub trace_patch_rate: u64,
    /// All other calls per minute and job token; 0 is no limit. GitLab has 200.
    pub job_call_rate: u64,

    /// Whether runners may register with a registration token at all.
    pub allow_runner_registration_token: bool,
    /// Who may register runners besides the instance: `project`, `group`.
    pub valid_runner_registrars: Vec<String>,
    /// Runners that may be registered for one project.
    pub project_runner_limit: Option<u64>,
    /// Runners that may be registered for one group.
    pub group_runner_limit: Option<u64>,
    /// Lifetime of an instance runner's token; for ever if not set.
    pub runner_token_lifetime: Option<u64>,
    /// Lifetime of a group runner's token.
    pub group_runner_token_lifetime: Option<u64>,
    /// Lifetime of a project runner's token.
    pub project_runner_token_lifetime: Option<u64>,
    /// Lifetime of a job's token from its start on; until the job's end if not set.
    pub job_token_lifetime: Option<u64>,

    /// Jobs run only when their runner has said so, as GitLab 18.5 had it.
    pub two_phase_commit: bool,
    /// Whether a runner's session address may be a loopback address.
    pub allow_local_requests: bool,
    /// Where the count of a project's jobs on instance runners ends: `N+`. Default 5.
    pub running_jobs_bucket: u64,
    /// Address of the container registry, `host[:port]`.
    pub registry: Option<String>,
    /// Whether jobs get a credential for the dependency proxy.
    pub dependency_proxy: bool,
    /// An Enterprise Edition: jobs may have secrets.
    pub licensed: bool,
    /// Jobs may be suspended and continued elsewhere.
    pub suspendable_environments: bool,
    /// Address of the job router that runners are sent to; without one discovery is 501.
    pub job_router_url: Option<String>,

    /// How far the server's clock is ahead of the machine's.
    pub clock_ahead: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trace_interval: 3,
            unwatched_trace_interval: None,
            trace_limit: 100 << 20,
            live_trace: false,
            archive_rounds: 1,
            long_poll_ms: 0,
            artifact_limit: 1 << 30,
            artifact_limits: BTreeMap::new(),
            artifact_type_limits: BTreeMap::new(),
            artifacts_enabled: true,
            default_artifacts_expire_in: "0".to_owned(),
            artifact_storage_down: false,
            object_storage: false,
            workhorse_secret: None,
            migrating: false,
            git_down: false,
            job_request_rate: 0,
            trace_patch_rate: 0,
            job_call_rate: 0,
            allow_runner_registration_token: true,
            valid_runner_registrars: vec!["project".to_owned(), "group".to_owned()],
            project_runner_limit: None,
            group_runner_limit: None,
            runner_token_lifetime: None,
            group_runner_token_lifetime: None,
            project_runner_token_lifetime: None,
            job_token_lifetime: None,
            two_phase_commit: false,
            allow_local_requests: true,
            running_jobs_bucket: 5,
            registry: None,
            dependency_proxy: false,
            licensed: false,
            suspendable_environments: false,
            job_router_url: None,
            clock_ahead: 0,
        }
    }
}

impl Settings {
    /// The same settings with those of `changes`, an object, laid over them.
    pub fn with(&self, changes: &Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(self)?;
        match (&mut all, changes) {
            (Value::Object(all), Value::Object(changes)) => {
                all.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => return Err(serde::de::Error::custom("expected an object of settings")),
        }
        serde_json::from_value(all)
    }

    /// The bytes that a file of this type of this project may have.
    pub(crate) fn artifact_limit(&self, project: &str, file_type: &str) -> u64 {
        let is_above =
            |path: &str| project.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let by_path = self.artifact_limits.iter().filter(|(path, _)| is_above(path)).map(|(_, limit)| *limit);
        by_path
            .chain(self.artifact_type_limits.get(file_type).copied())
            .chain([self.artifact_limit])
            .min()
            .unwrap_or(self.artifact_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_touch_what_they_name_and_unknown_names_are_refused() {
        let changed = Settings::default().with(&json!({"live_trace": true, "registry": "r:5000"})).unwrap();
        assert!(changed.live_trace && changed.registry.as_deref() == Some("r:5000"));
        assert_eq!(Settings { live_trace: false, registry: None, ..changed }, Settings::default());
        let problem = Settings::default().with(&json!({"life_trace": true})).unwrap_err().to_string();
        assert!(problem.contains("life_trace"), "{problem}");
        assert!(Settings::default().with(&json!([1])).is_err());
    }

    #[test]
    fn the_smallest_artifact_limit_on_the_way_to_the_project_counts() {
        let limits = json!({"artifact_limit": 9, "artifact_limits": {"g": 7, "g/s": 5, "g/s/p": 6, "g/other": 1},
            "artifact_type_limits": {"junit": 3}});
        let settings = Settings::default().with(&limits).unwrap();
        for (project, file_type, limit) in
            [("g/s/p", "archive", 5), ("g/p", "archive", 7), ("gg/p", "archive", 9), ("g/s/p", "junit", 3)]
        {
            assert_eq!(settings.artifact_limit(project, file_type), limit, "{project} {file_type}");
        }
    }
}

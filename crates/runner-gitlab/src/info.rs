//! What the runner says about itself: the `info` object of register, verify, jobs/request and job updates.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// `info`. GitLab stores it per runner manager and hands out only jobs whose needs the features meet.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    name: &'static str,
    version: &'static str,
    revision: &'static str,
    platform: &'static str,
    architecture: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    executor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<&'static str>,
    features: Features,
    config: Config,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

impl Info {
    /// For a runner of these tools: executor `kubernetes`, shell `bash`, `labels` as configured.
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        Self {
            name: runner_core::RUNNER_NAME,
            version: runner_core::COMPATIBLE_VERSION,
            revision: runner_core::REVISION,
            platform: platform(),
            architecture: architecture(),
            executor: Some("kubernetes"),
            shell: Some("bash"),
            features: Features,
            config: Config { gpus: "" },
            labels,
        }
    }
}

impl Default for Info {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

/// The operating system by its Go name, as GitLab shows it.
pub(crate) fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// The processor by its Go name, as GitLab shows it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        arch => arch,
    }
}

/// The part of the runner's configuration GitLab wants to know; the key is always there.
#[derive(Debug, Clone, Serialize)]
struct Config {
    gpus: &'static str,
}

/// Serializes as the object of [`FEATURES`].
#[derive(Debug, Clone)]
struct Features;

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(FEATURES.len()))?;
        for (name, built) in FEATURES {
            map.serialize_entry(name, built)?;
        }
        map.end()
    }
}

/// Every feature of the contract, and whether these tools have it. Source: GitLab runner contract, "features flags".
const FEATURES: &[(&str, bool)] = &[
    ("variables", true),
    ("image", true),
    ("services", true),
    ("artifacts", true),
    ("cache", true),
    ("fallback_cache_keys", true),
    ("shared", false), // jobs share no machine: one pod serves one job
    ("upload_multiple_artifacts", true),
    ("upload_raw_artifacts", true),
    ("session", false),  // no session server, hence
    ("terminal", false), // no web terminal and
    ("proxy", false),    // no proxy to services
    ("refspecs", true),
    ("masking", true),
    ("raw_variables", true),
    ("artifacts_exclude", true),
    ("multi_build_steps", true),
    ("trace_reset", true),
    ("trace_checksum", true),
    ("trace_size", true),
    ("vault_secrets", true),
    ("cancelable", true),
    ("return_exit_code", true),
    ("service_variables", true),
    ("service_multiple_aliases", true),
    ("image_executor_opts", true),
    ("service_executor_opts", false), // the user of a service container is the image's
    ("cancel_gracefully", true),
    ("native_steps_integration", false), // `run:` needs the step runner
    ("two_phase_job_commit", true),
    ("job_inputs", true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_has_every_key_the_contract_always_sends() {
        let info = serde_json::to_value(Info::default()).unwrap();
        assert_eq!(info["name"], "gitlab-runner");
        assert_eq!(info["version"], "19.4.0");
        assert_eq!(info["executor"], "kubernetes");
        assert_eq!(info["shell"], "bash");
        assert_eq!(info["config"], serde_json::json!({"gpus": ""}));
        assert_eq!(info["features"].as_object().unwrap().len(), 31);
        assert_eq!(info.get("labels"), None);
    }

    #[test]
    fn the_features_without_which_gitlab_drops_jobs_are_announced() {
        let info = serde_json::to_value(Info::default()).unwrap();
        for feature in [
            "upload_multiple_artifacts",
            "upload_raw_artifacts",
            "refspecs",
            "masking",
            "raw_variables",
            "artifacts_exclude",
            "trace_reset",
            "trace_checksum",
            "trace_size",
            "cancelable",
            "cancel_gracefully",
            "return_exit_code",
            "two_phase_job_commit",
            "fallback_cache_keys",
            "multi_build_steps",
            "service_variables",
        ] {
            assert_eq!(info["features"][feature], true, "{feature}");
        }
    }
}

//! A job before it runs: what `.gitlab-ci.yml` or a raw request says about it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One CI variable as it stands in the payload (GitLab runner API: job payload, `variables`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// The name.
    pub key: String,
    /// The value, possibly with `$references`.
    pub value: String,
    /// Public variables are also given to service containers.
    #[serde(default = "yes")]
    pub public: bool,
    /// The runner hides the value in the trace.
    #[serde(default)]
    pub masked: bool,
    /// The runner writes the value to a file and gives the job its path.
    #[serde(default)]
    pub file: bool,
    /// The value is not expanded.
    #[serde(default)]
    pub raw: bool,
}

fn yes() -> bool {
    true
}

impl Variable {
    /// A public, expanded variable.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), public: true, masked: false, file: false, raw: false }
    }

    /// The same variable, not public.
    #[must_use]
    pub fn private(self) -> Self {
        Self { public: false, ..self }
    }

    /// The same variable, not public and hidden in the trace.
    #[must_use]
    pub fn masked(self) -> Self {
        Self { public: false, masked: true, ..self }
    }

    /// The same variable, not public and delivered as a file.
    #[must_use]
    pub fn file(self) -> Self {
        Self { public: false, file: true, ..self }
    }

    /// The same variable, never expanded.
    #[must_use]
    pub fn raw(self) -> Self {
        Self { raw: true, ..self }
    }

    /// As the payload has it: `file` and `raw` only when true.
    pub(crate) fn to_payload(&self) -> Value {
        let mut entry = json!({
            "key": self.key,
            "value": self.value,
            "public": self.public,
            "masked": self.masked,
        });
        if self.file {
            entry["file"] = json!(true);
        }
        if self.raw {
            entry["raw"] = json!(true);
        }
        entry
    }
}

/// Whether a failed job counts as failed for its pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum AllowFailure {
    #[default]
    Never,
    Always,
    ExitCodes(Vec<i64>),
}

/// What must have happened before for a job to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum When {
    #[default]
    OnSuccess,
    OnFailure,
    Always,
    Manual,
    /// So many seconds after its turn has come.
    Delayed(u64),
}

/// When a failed job is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Retry {
    /// How often at most.
    pub(crate) most: u64,
    /// Failure reasons it is for; none is all.
    pub(crate) reasons: Vec<String>,
    /// Exit codes it is for, besides the reasons.
    pub(crate) exit_codes: Vec<i64>,
}

/// Where a job deploys to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) name: String,
    pub(crate) url: Option<String>,
    /// `start`, `stop`, `prepare`, `verify` or `access`.
    pub(crate) action: &'static str,
    /// `production`, `staging`, `testing`, `development` or `other`; by the name if not given.
    pub(crate) tier: Option<&'static str>,
}

/// One entry of `needs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) job: String,
    pub(crate) artifacts: bool,
    pub(crate) optional: bool,
}

/// Everything known about a job before it runs. Image, services, artifacts and cache are already
/// in the payload's shape.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobPlan {
    pub(crate) name: String,
    /// The name in the definition, which the parts of a parallel job share.
    pub(crate) group: String,
    /// Which of how many parts of a parallel job it is, counted from 1.
    pub(crate) part: Option<(u64, u64)>,
    pub(crate) stage: String,
    /// Position of the stage among the pipeline's stages.
    pub(crate) stage_index: usize,
    pub(crate) when: When,
    pub(crate) allow_failure: AllowFailure,
    /// None: the job waits for all earlier stages.
    pub(crate) needs: Option<Vec<Need>>,
    /// None: artifacts of all earlier stages, or of the needed jobs.
    pub(crate) dependencies: Option<Vec<String>>,
    pub(crate) tags: Vec<String>,
    /// Seconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) variables: Vec<Variable>,
    /// `before_script` followed by `script`.
    pub(crate) script: Vec<String>,
    pub(crate) after_script: Vec<String>,
    pub(crate) image: Value,
    pub(crate) services: Vec<Value>,
    pub(crate) artifacts: Vec<Value>,
    pub(crate) cache: Vec<Value>,
    /// Who may download the artifacts: `public`, `private` or `none`.
    pub(crate) artifact_access: Option<&'static str>,
    pub(crate) retry: Retry,
    pub(crate) interruptible: bool,
    /// Jobs of one group run one after the other.
    pub(crate) resource_group: Option<String>,
    pub(crate) environment: Option<Environment>,
    /// A pattern between slashes for the figure in the log.
    pub(crate) coverage: Option<String>,
    /// Names and lines.
    pub(crate) hooks: Vec<(String, Vec<String>)>,
    /// In the payload's shape.
    pub(crate) inputs: Vec<Value>,
    /// Lines of the step that makes a release; empty for none.
    pub(crate) release: Vec<String>,
    /// Steps for the step runner, instead of a script.
    pub(crate) run: Value,
    /// In the payload's shape, by variable.
    pub(crate) secrets: Map<String, Value>,
    /// Jobs of other pipelines whose artifacts it gets.
    pub(crate) cross_dependencies: Vec<u64>,
    /// Merged into the finished payload of a raw job.
    pub(crate) overlay: Value,
}

impl JobPlan {
    /// A feature that the runner must have announced and the job uses, if `has` denies one
    /// (GitLab runner API: features flags).
    pub(crate) fn unsupported_by(&self, has: impl Fn(&str) -> bool) -> Option<&'static str> {
        let uses = [
            ("upload_multiple_artifacts", self.artifacts.iter().any(|entry| entry["artifact_type"] != "archive")),
            ("artifacts_exclude", self.artifacts.iter().any(|entry| entry.get("exclude").is_some())),
            (
                "fallback_cache_keys",
                self.cache.iter().any(|entry| entry["fallback_keys"].as_array().is_some_and(|keys| !keys.is_empty())),
            ),
            ("multi_build_steps", !self.release.is_empty()),
            (
                "return_exit_code",
                matches!(self.allow_failure, AllowFailure::ExitCodes(_)) || !self.retry.exit_codes.is_empty(),
            ),
        ];
        uses.into_iter().find(|(feature, used)| *used && !has(feature)).map(|(feature, _)| feature)
    }
}

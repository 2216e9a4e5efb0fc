//! A raw job: what a test gives when it needs a job and no repository.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::plan::{AllowFailure, JobPlan, Variable};

/// A job that is enqueued as it is, without a repository or a definition file.
///
/// Everything has a default; [`JobSpec::payload`] reaches what has no method of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct JobSpec {
    /// The job's name. Default `job`.
    pub name: String,
    /// The stage's name. Default `test`.
    pub stage: String,
    /// Lines of the script. Default `true`.
    pub script: Vec<String>,
    /// Lines of the after_script.
    pub after_script: Vec<String>,
    /// Image name.
    pub image: Option<String>,
    /// Variables after the predefined ones.
    pub variables: Vec<Variable>,
    /// Tags a runner must have.
    pub tags: Vec<String>,
    /// Job timeout in seconds.
    pub timeout: Option<u64>,
    /// Whether failing is no failure.
    pub allow_failure: bool,
    /// Entries of `artifacts` in the payload's shape.
    pub artifacts: Vec<Value>,
    /// Lines of the step that makes a release.
    pub release: Vec<String>,
    /// Steps for the step runner; they take the place of the script.
    pub run: Value,
    /// Secrets by variable, in the payload's shape.
    pub secrets: Map<String, Value>,
    /// Numbers of jobs of other pipelines whose artifacts the job gets.
    pub cross_dependencies: Vec<u64>,
    /// Merged into the payload: objects member by member, `variables` appended, all else replaced.
    pub payload: Value,
    /// Path of a served project whose repository the job shall fetch.
    pub project: Option<String>,
    /// Branch or tag of that repository; its default branch if not given.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            name: "job".into(),
            stage: "test".into(),
            script: vec!["true".into()],
            after_script: Vec::new(),
            image: None,
            variables: Vec::new(),
            tags: Vec::new(),
            timeout: None,
            allow_failure: false,
            artifacts: Vec::new(),
            release: Vec::new(),
            run: Value::Null,
            secrets: Map::new(),
            cross_dependencies: Vec::new(),
            payload: Value::Null,
            project: None,
            reference: None,
        }
    }
}

impl JobSpec {
    /// A job that runs these lines.
    pub fn script<L: Into<String>>(lines: impl IntoIterator<Item = L>) -> Self {
        Self { script: lines.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Sets the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the after_script.
    pub fn after_script<L: Into<String>>(mut self, lines: impl IntoIterator<Item = L>) -> Self {
        self.after_script = lines.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the image.
    pub fn image(mut self, name: impl Into<String>) -> Self {
        self.image = Some(name.into());
        self
    }

    /// Adds a public variable.
    pub fn variable(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push(Variable::new(key, value));
        self
    }

    /// Adds a masked variable.
    pub fn masked(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push(Variable::new(key, value).masked());
        self
    }

    /// Adds a file variable.
    pub fn file(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push(Variable::new(key, value).file());
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets the job timeout in seconds.
    pub fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = Some(seconds);
        self
    }

    /// Lets the job fail without harm.
    pub fn allow_failure(mut self) -> Self {
        self.allow_failure = true;
        self
    }

    /// Adds an archive of these paths, uploaded when the job succeeds.
    pub fn archive<P: Into<String>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        let paths: Vec<String> = paths.into_iter().map(Into::into).collect();
        self.artifact(json!({
            "name": null,
            "untracked": false,
            "paths": paths,
            "when": "on_success",
            "expire_in": null,
            "artifact_type": "archive",
            "artifact_format": "zip",
        }))
    }

    /// Adds an entry of `artifacts` in the payload's shape.
    pub fn artifact(mut self, entry: Value) -> Self {
        self.artifacts.push(entry);
        self
    }

    /// Merges an object into the payload, see the field.
    pub fn payload(mut self, overlay: Value) -> Self {
        self.payload = overlay;
        self
    }

    /// Lets the job fetch a served project's default branch.
    pub fn project(mut self, path: impl Into<String>) -> Self {
        self.project = Some(path.into());
        self
    }

    /// The branch or tag to fetch, for [`JobSpec::project`].
    pub fn reference(mut self, name: impl Into<String>) -> Self {
        self.reference = Some(name.into());
        self
    }

    pub(crate) fn into_plan(self) -> JobPlan {
        JobPlan {
            name: self.name,
            stage: self.stage,
            allow_failure: match self.allow_failure {
                true => AllowFailure::Always,
                false => AllowFailure::Never,
            },
            tags: self.tags,
            timeout: self.timeout,
            variables: self.variables,
            script: self.script,
            after_script: self.after_script,
            image: self.image.map_or(Value::Null, |name| {
                json!({
                    "name": name,
                    "entrypoint": null,
                    "ports": [],
                    "executor_opts": {},
                    "pull_policy": null,
                })
            }),
            artifacts: self.artifacts,
            release: self.release,
            run: self.run,
            secrets: self.secrets,
            cross_dependencies: self.cross_dependencies,
            overlay: self.payload,
            ..JobPlan::default()
        }
    }
}

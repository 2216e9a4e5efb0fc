//! Projects and pipelines.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::plan::Variable;

/// A repository that is served, or the built-in project of raw jobs.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) id: u64,
    /// `group/sub/name`.
    pub(crate) path: String,
    pub(crate) default_branch: String,
    /// The bare copy that is served; none for the project of raw jobs.
    pub(crate) mirror: Option<PathBuf>,
    /// The user's repository, read again at every pipeline.
    pub(crate) source: Option<PathBuf>,
    pub(crate) variables: Vec<ProjectVariable>,
    /// Job timeout in seconds where the job sets none.
    pub(crate) timeout: u64,
    pub(crate) created_at: SystemTime,
    /// The group it is in, and that group's outermost one.
    pub(crate) namespace_id: u64,
    pub(crate) root_namespace_id: u64,
    /// Token for registering runners of this project.
    pub(crate) runners_token: String,
    /// Depth of clones where no variable says otherwise; 0 fetches everything.
    pub(crate) default_git_depth: u64,
    /// Whether runners of the instance take its jobs.
    pub(crate) shared_runners_enabled: bool,
    /// Whether protected branches have caches of their own.
    pub(crate) separated_caches: bool,
    /// Counts how often its caches were cleared.
    pub(crate) cache_index: u64,
    /// It is being deleted, and waits for its running jobs.
    pub(crate) pending_delete: bool,
    /// Projects whose jobs may read its artifacts.
    pub(crate) job_token_allowlist: Vec<u64>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) merge_requests: Vec<MergeRequest>,
}

/// A group or subgroup.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: u64,
    pub(crate) path: String,
    pub(crate) parent: Option<u64>,
    /// Token for registering runners of this group.
    pub(crate) runners_token: String,
    pub(crate) created_at: SystemTime,
}

/// A variable that a user gave to a project.
#[derive(Debug, Clone)]
pub(crate) struct ProjectVariable {
    pub(crate) variable: Variable,
    /// Only for jobs of protected branches and tags.
    pub(crate) protected: bool,
    /// Environments it is for; jobs without one get those of `*`.
    pub(crate) scope: String,
    pub(crate) description: Option<String>,
    /// Its value is never shown again.
    pub(crate) hidden: bool,
}

impl From<Variable> for ProjectVariable {
    fn from(variable: Variable) -> Self {
        Self { variable, protected: false, scope: "*".to_owned(), description: None, hidden: false }
    }
}

/// A token that starts pipelines.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub(crate) id: u64,
    pub(crate) token: String,
    pub(crate) description: String,
    pub(crate) created_at: SystemTime,
}

/// A merge request, as far as pipelines need it.
#[derive(Debug, Clone)]
pub(crate) struct MergeRequest {
    pub(crate) id: u64,
    pub(crate) iid: u64,
    pub(crate) title: String,
    pub(crate) source_branch: String,
    pub(crate) target_branch: String,
    pub(crate) created_at: SystemTime,
}

impl Project {
    /// `name` of `group/name`.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    /// `group` of `group/name`; empty for a path without a group.
    pub(crate) fn namespace(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(namespace, _)| namespace)
    }
}

/// What GitLab knows of a commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) title: String,
    /// Title, blank line and description.
    pub(crate) message: String,
    pub(crate) author_name: String,
    pub(crate) author_email: String,
    /// RFC 3339 with the committer's offset.
    pub(crate) committed_at: String,
    pub(crate) parents: Vec<String>,
}

impl Commit {
    /// Everything after the title.
    pub(crate) fn description(&self) -> &str {
        self.message.strip_prefix(self.title.as_str()).unwrap_or_default().trim_matches('\n')
    }
}

/// One run of a definition.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) id: u64,
    /// Counts within the project.
    pub(crate) iid: u64,
    pub(crate) project: u64,
    pub(crate) ref_name: String,
    pub(crate) is_tag: bool,
    /// Message of an annotated tag.
    pub(crate) tag_message: Option<String>,
    /// Of all branches and tags only the default branch is protected.
    pub(crate) is_protected: bool,
    pub(crate) commit: Commit,
    pub(crate) source: &'static str,
    /// Given when the pipeline was made.
    pub(crate) variables: Vec<Variable>,
    /// The merge request it is for, by its number in the project.
    pub(crate) merge_request: Option<u64>,
    /// All jobs, retried ones too, in the order of creation.
    pub(crate) jobs: Vec<u64>,
    pub(crate) created_at: SystemTime,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) finished_at: Option<SystemTime>,
}

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
    pub(crate) variables: Vec<Variable>,
    /// Job timeout in seconds where the job sets none.
    pub(crate) timeout: u64,
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
    /// All jobs, retried ones too, in the order of creation.
    pub(crate) jobs: Vec<u64>,
    pub(crate) created_at: SystemTime,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) finished_at: Option<SystemTime>,
}

//! Projects and pipelines.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::ci::AutoCancel;
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
    /// Its variables for a job: of the environment if it has one, none of the protected ones on refs
    /// that are not. The more a scope says, the later it comes and the more it counts.
    pub(crate) fn variables_for(&self, is_protected: bool, environment: Option<&str>) -> Vec<Variable> {
        let fits = |scope: &str| match scope.split_once('*') {
            None => environment == Some(scope),
            Some(("", "")) => true,
            Some((start, end)) => environment.is_some_and(|name| {
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            }),
        };
        let mut given: Vec<&ProjectVariable> =
            self.variables.iter().filter(|given| fits(&given.scope) && (is_protected || !given.protected)).collect();
        given.sort_by_key(|given| (!given.scope.contains('*'), given.scope.len()));
        given.into_iter().map(|given| given.variable.clone()).collect()
    }

    /// Whether pipelines of a branch or tag may have what is protected: only those of the default branch.
    pub(crate) fn protects(&self, origin: &PipelineOrigin) -> bool {
        !origin.is_tag && origin.ref_name == self.default_branch && origin.merge_request.is_none()
    }

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

impl Pipeline {
    /// A pipeline without jobs.
    pub(crate) fn new(id: u64, iid: u64, is_protected: bool, origin: PipelineOrigin, now: SystemTime) -> Self {
        Self {
            id,
            iid,
            project: origin.project,
            ref_name: origin.ref_name,
            is_tag: origin.is_tag,
            tag_message: origin.tag_message,
            is_protected,
            commit: origin.commit,
            source: origin.source,
            name: None,
            auto_cancel: AutoCancel::default(),
            variables: origin.variables,
            merge_request: origin.merge_request,
            jobs: Vec::new(),
            created_at: now,
            started_at: None,
            finished_at: None,
        }
    }
}

impl Commit {
    /// Everything after the title.
    pub(crate) fn description(&self) -> &str {
        self.message.strip_prefix(self.title.as_str()).unwrap_or_default().trim_matches('\n')
    }
}

/// What a new pipeline is made for.
#[derive(Debug, Clone)]
pub(crate) struct PipelineOrigin {
    pub(crate) project: u64,
    pub(crate) ref_name: String,
    pub(crate) is_tag: bool,
    pub(crate) tag_message: Option<String>,
    pub(crate) commit: Commit,
    pub(crate) source: &'static str,
    pub(crate) variables: Vec<Variable>,
    pub(crate) merge_request: Option<u64>,
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
    /// What `workflow:name` says.
    pub(crate) name: Option<String>,
    pub(crate) auto_cancel: AutoCancel,
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

//! One job on the server: its status, its trace, its artifacts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::clock::seconds;
use crate::plan::JobPlan;

/// GitLab's job statuses (GitLab runner API: job states on the server).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for other jobs.
    Created,
    /// Waits for a runner.
    Pending,
    /// A runner has it.
    Running,
    /// A runner has it and was told to stop.
    Canceling,
    /// Ended well.
    Success,
    /// Ended badly.
    Failed,
    /// Was stopped.
    Canceled,
    /// Will not run, because of what others did.
    Skipped,
    /// Waits for a person.
    Manual,
    /// Waits for its time.
    Scheduled,
}

impl JobStatus {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Canceling => "canceling",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
            Self::Manual => "manual",
            Self::Scheduled => "scheduled",
        }
    }

    /// Whether nothing more happens to the job by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Canceled | Self::Skipped)
    }

    /// Whether a runner is executing it, so that its token is good.
    pub(crate) fn is_executing(self) -> bool {
        matches!(self, Self::Running | Self::Canceling)
    }
}

/// The log as the runner sent it, with a running checksum.
#[derive(Debug, Default, Clone)]
pub(crate) struct Trace {
    bytes: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl Trace {
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.checksum.update(bytes);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// `crc32:` and eight hexadecimal digits, as runners send it.
    pub(crate) fn checksum(&self) -> String {
        format!("crc32:{:08x}", self.checksum.clone().finalize())
    }
}

/// One stored file of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Artifact {
    /// `archive`, `junit`, `dotenv`, …
    pub file_type: String,
    /// `zip`, `gzip` or `raw`.
    pub file_format: String,
    /// The name the runner gave it.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// `public`, `private` or `none`: who may download it.
    pub accessibility: String,
    /// Where the bytes are until the server ends.
    #[serde(skip)]
    pub path: PathBuf,
    /// When it counts as gone.
    #[serde(skip)]
    pub expires_at: Option<SystemTime>,
}

impl Artifact {
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A final state that waits for the log to be archived (GitLab runner API: the 202 path of PUT).
#[derive(Debug, Clone)]
pub(crate) struct PendingState {
    /// The first one given; a later one does not replace it.
    pub(crate) failure_reason: Option<String>,
    pub(crate) since: SystemTime,
    /// How often it was answered with 202.
    pub(crate) rounds: u64,
}

/// One job.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) token: String,
    pub(crate) project: u64,
    pub(crate) pipeline: u64,
    pub(crate) plan: Arc<JobPlan>,
    pub(crate) status: JobStatus,
    pub(crate) allow_failure: bool,
    /// The runner and the machine that took it.
    pub(crate) runner: Option<(u64, String)>,
    pub(crate) trace: Trace,
    pub(crate) pending_state: Option<PendingState>,
    pub(crate) artifacts: Vec<Artifact>,
    /// From the job's dotenv report; for the jobs that depend on it.
    pub(crate) dotenv: Vec<(String, String)>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) failure_reason: Option<String>,
    /// What the runner said the trace's checksum is.
    pub(crate) claimed_checksum: Option<String>,
    /// A later job of the same name replaced it.
    pub(crate) retried: bool,
    /// Somebody started a manual or delayed job, or its time came.
    pub(crate) played: bool,
    /// When a delayed job starts.
    pub(crate) scheduled_at: Option<SystemTime>,
    /// How often jobs that it replaces failed and were tried again by themselves.
    pub(crate) tries: u64,
    /// The figure that `coverage` found in the log.
    pub(crate) coverage: Option<f64>,
    pub(crate) created_at: SystemTime,
    pub(crate) queued_at: Option<SystemTime>,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) finished_at: Option<SystemTime>,
    pub(crate) erased_at: Option<SystemTime>,
    /// The last time that GitLab would have written it to its database.
    pub(crate) updated_at: SystemTime,
    /// The last time that a user looked at the log.
    pub(crate) watched_at: Option<SystemTime>,
    pub(crate) token_expires_at: Option<SystemTime>,
    /// Given to a runner that has to say until then that it goes on (two-phase commit).
    pub(crate) acknowledge_by: Option<SystemTime>,
    /// The runner's session server for this job.
    pub(crate) session_url: Option<String>,
    /// Where the job was suspended.
    pub(crate) runtime_environment_key: Option<String>,
    /// Another process writes to the log.
    pub(crate) trace_locked: bool,
    /// So many runners find that somebody else changed the job while it was given to them.
    pub(crate) races_to_lose: u64,
}

impl Job {
    /// The archive, unless it has expired.
    pub(crate) fn archive(&self, now: SystemTime) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.file_type == "archive" && !artifact.is_expired(now))
    }

    /// Failed or canceled, and that is no harm to the pipeline.
    pub(crate) fn is_forgiven(&self) -> bool {
        self.allow_failure && matches!(self.status, JobStatus::Failed | JobStatus::Canceled)
    }

    pub(crate) fn report(&self, project: &str) -> JobReport {
        JobReport {
            id: self.id,
            name: self.plan.name.clone(),
            stage: self.plan.stage.clone(),
            project: project.to_owned(),
            pipeline: self.pipeline,
            status: self.status,
            exit_code: self.exit_code,
            failure_reason: self.failure_reason.clone(),
            allow_failure: self.allow_failure,
            duration: self.started_at.and_then(|start| seconds(Some(start), self.finished_at)),
            trace_bytes: self.trace.len(),
            trace_crc32: self.trace.checksum(),
            claimed_checksum: self.claimed_checksum.clone(),
            artifacts: self.artifacts.clone(),
        }
    }
}

/// A job as tests, the state file and the event stream see it.
#[derive(Debug, Clone, Serialize)]
pub struct JobReport {
    /// The job's number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Its project's full path.
    pub project: String,
    /// Its pipeline's number.
    pub pipeline: u64,
    /// Where it stands.
    pub status: JobStatus,
    /// What the script ended with: 0 on success, else what the runner said, if it did.
    pub exit_code: Option<i64>,
    /// Why it failed, in GitLab's words.
    pub failure_reason: Option<String>,
    /// Whether its failure does not harm the pipeline.
    pub allow_failure: bool,
    /// Seconds since it started, or that it took.
    pub duration: Option<f64>,
    /// Length of the log in bytes.
    pub trace_bytes: usize,
    /// Checksum of the log as stored, `crc32:xxxxxxxx`.
    pub trace_crc32: String,
    /// Checksum of the log as the runner announced it with the final state.
    pub claimed_checksum: Option<String>,
    /// Stored files.
    pub artifacts: Vec<Artifact>,
}

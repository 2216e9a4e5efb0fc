//! Who may speak for a job (GitLab runner API: job authentication rules).

use axum::http::HeaderMap;

use crate::api_error::ApiError;
use crate::job::{Job, JobStatus};
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::state::World;

/// The header that tells a runner how its job stands.
pub(super) const JOB_STATUS: &str = "job-status";

/// The job token of a request: the parameter, else the header.
pub(super) fn job_token(params: &Params, headers: &HeaderMap) -> Option<String> {
    params.text("token").filter(|token| !token.is_empty()).or_else(|| {
        let value = headers.get("job-token")?.to_str().ok()?;
        Some(value.to_owned())
    })
}

/// Counts a call of a job; without a token there is nothing to count by.
pub(super) fn count_call(world: &mut World, bucket: Bucket, token: Option<&str>) -> Result<(), ApiError> {
    let limit = match bucket {
        Bucket::JobRequest => world.settings.job_request_rate,
        Bucket::TracePatch => world.settings.trace_patch_rate,
        Bucket::JobCall => world.settings.job_call_rate,
    };
    let now = world.now();
    token.map_or(Ok(()), |token| world.rate_limits.count(bucket, token, limit, now))
}

/// The job, if the token is its own and a runner is executing it. An unknown job is refused like
/// a wrong token, so that numbers cannot be probed.
pub(super) fn authenticate<'a>(world: &'a World, id: &str, token: Option<&str>) -> Result<&'a Job, ApiError> {
    let job = owner(world, id, token)?;
    if !job.status.is_executing() {
        return Err(not_processing(job.status));
    }
    if is_expired(world, job) {
        return Err(token_expired(job.status));
    }
    Ok(job)
}

/// The same for what only runners call: a job that waits for its runner's word counts too if
/// `or_waiting`, and one whose token has expired ends.
pub(super) fn authenticate_runner(
    world: &mut World,
    id: &str,
    token: Option<&str>,
    or_waiting: bool,
) -> Result<u64, ApiError> {
    let job = owner(world, id, token)?;
    let is_waiting = or_waiting && job.status == JobStatus::Pending && job.acknowledge_by.is_some();
    if !is_waiting && !job.status.is_executing() {
        return Err(not_processing(job.status));
    }
    let id = job.id;
    if is_expired(world, job) {
        world.finish(id, JobStatus::Failed, Some("job_token_expired"));
        return Err(token_expired(JobStatus::Failed));
    }
    Ok(id)
}

/// The job a token belongs to, unless its project or it itself is gone.
fn owner<'a>(world: &'a World, id: &str, token: Option<&str>) -> Result<&'a Job, ApiError> {
    let job = id
        .parse()
        .ok()
        .and_then(|id: u64| world.jobs.get(&id))
        .filter(|job| token == Some(job.token.as_str()))
        .ok_or_else(ApiError::forbidden)?;
    if world.projects.get(&job.project).is_none_or(|project| project.pending_delete) {
        return Err(ApiError::forbidden_because("Project has been deleted!"));
    }
    if job.erased_at.is_some() {
        return Err(ApiError::forbidden_because("Job has been erased!"));
    }
    Ok(job)
}

fn is_expired(world: &World, job: &Job) -> bool {
    job.token_expires_at.is_some_and(|at| at <= world.now())
}

fn not_processing(status: JobStatus) -> ApiError {
    ApiError::forbidden_because("Job is not processing on runner").with_header(JOB_STATUS, status.as_str())
}

fn token_expired(status: JobStatus) -> ApiError {
    ApiError::forbidden_because("Job token has expired").with_header(JOB_STATUS, status.as_str())
}

//! What a runner says about a job it has: its state (GitLab runner API: PUT /jobs/:id).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use crate::api_error::{ApiError, plain_status};
use crate::assign::ACKNOWLEDGE_WITHIN;
use crate::job::{JobStatus, PendingState};
use crate::params::Params;
use crate::payload::FAILURE_REASONS;
use crate::rate_limit::Bucket;
use crate::shared::Shared;
use crate::state::World;

use super::job_auth::{JOB_STATUS, authenticate_runner, count_call, job_token};

pub(super) const TRACE_INTERVAL: &str = "x-gitlab-trace-update-interval";

/// A running job is written to the database no more often than this.
const TOUCH_AFTER: Duration = Duration::from_secs(15 * 60);

/// A final state waits for its log no longer than this.
const ARCHIVE_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Notes that the runner of a job is alive, and that the job is being worked on.
pub(super) fn heartbeat(world: &mut World, job: u64) {
    let now = world.now();
    let Some(job) = world.jobs.get_mut(&job) else { return };
    if now.duration_since(job.updated_at).is_ok_and(|age| age > TOUCH_AFTER) {
        job.updated_at = now;
    }
    let Some((runner, system_id)) = &job.runner else { return };
    let Some(runner) = world.runners.get_mut(runner) else { return };
    runner.contacted_at = Some(now);
    if let Some(manager) = runner.managers.iter_mut().find(|manager| manager.system_id == *system_id) {
        manager.contacted_at = now;
    }
}

/// `PUT /jobs/:id`.
pub(crate) async fn update(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let Some(token) = job_token(&params, &headers) else {
        return Err(ApiError::missing("token"));
    };
    let state = params.required("state")?;
    shared.write(|world| {
        count_call(world, Bucket::JobCall, Some(&token))?;
        let id = authenticate_runner(world, &id, Some(&token), true)?;
        heartbeat(world, id);
        let Some(job) = world.jobs.get_mut(&id) else { return Err(ApiError::forbidden()) };
        if let Some(key) = params.text("runtime_environment_key").filter(|_| world.settings.suspendable_environments) {
            job.runtime_environment_key = Some(key);
        }
        match (state.as_str(), job.acknowledge_by.is_some()) {
            ("pending", true) => keep_waiting(world, id),
            ("running", true) => {
                job.acknowledge_by = None;
                world.set_status(id, JobStatus::Running);
                Ok(with_status(world, id, plain_status(StatusCode::OK)))
            }
            ("running", false) => Ok(with_status(world, id, plain_status(StatusCode::OK))),
            (state @ ("success" | "failed"), false) => finish(world, id, state, &params),
            _ => Err(ApiError::bad_request("Unknown state")),
        }
    })
}

/// The runner of a job that waits for its word is still preparing.
fn keep_waiting(world: &mut World, id: u64) -> Result<Response, ApiError> {
    let until = world.now() + ACKNOWLEDGE_WITHIN;
    if let Some(job) = world.jobs.get_mut(&id) {
        job.acknowledge_by = Some(until);
    }
    Ok(with_status(world, id, plain_status(StatusCode::OK)))
}

pub(super) fn with_status(world: &World, id: u64, mut response: Response) -> Response {
    if let Some(job) = world.jobs.get(&id) {
        response.headers_mut().insert(JOB_STATUS, HeaderValue::from_static(job.status.as_str()));
    }
    response
}

/// Takes a final state, or says 202: come back when the log is archived.
fn finish(world: &mut World, id: u64, state: &str, params: &Params) -> Result<Response, ApiError> {
    let checksum = params
        .value("output")
        .and_then(|output| output["checksum"].as_str())
        .map(str::to_owned)
        .or_else(|| params.text("checksum"));
    let exit_code = params.integer("exit_code")?.map(|code| code.clamp(i64::from(i16::MIN), i64::from(i16::MAX)));
    let reason = match params.text("failure_reason") {
        Some(reason) if FAILURE_REASONS.contains(&reason.as_str()) => reason,
        _ => "unknown_failure".to_owned(),
    };
    let now = world.now();
    let Some(job) = world.jobs.get_mut(&id) else { return Err(ApiError::forbidden()) };
    job.exit_code = exit_code.or(job.exit_code);
    if job.pending_state.is_none() {
        job.claimed_checksum = checksum.clone();
    }
    if job.status == JobStatus::Canceling {
        world.finish(id, JobStatus::Canceled, None);
        return Ok(with_status(world, id, plain_status(StatusCode::OK)));
    }
    if world.settings.live_trace && checksum.is_some() && job.trace.len() > 0 {
        let pending = job.pending_state.get_or_insert_with(|| PendingState {
            failure_reason: (state == "failed").then(|| reason.clone()),
            since: now,
            rounds: 0,
        });
        let is_over_due = now.duration_since(pending.since).is_ok_and(|age| age > ARCHIVE_WITHIN);
        if pending.rounds < world.settings.archive_rounds && !is_over_due {
            pending.rounds += 1;
            let wait = HeaderValue::from(back_off(pending.since, now));
            let mut response = with_status(world, id, plain_status(StatusCode::ACCEPTED));
            response.headers_mut().insert(TRACE_INTERVAL, wait);
            return Ok(response);
        }
    }
    let first_reason = job.pending_state.take().and_then(|pending| pending.failure_reason);
    match state {
        "success" => world.finish(id, JobStatus::Success, None),
        _ => world.finish(id, JobStatus::Failed, Some(&first_reason.unwrap_or(reason))),
    }
    Ok(with_status(world, id, plain_status(StatusCode::OK)))
}

/// The seconds GitLab asks a runner to wait for the archiving: half of the greatest power of two in
/// the time it has waited already, from 1 to 64.
fn back_off(since: SystemTime, now: SystemTime) -> u64 {
    let waited = now.duration_since(since).unwrap_or_default().as_secs();
    let exponent = waited.checked_ilog2().unwrap_or_default().saturating_sub(1);
    1 << exponent.min(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_the_archive_doubles_with_its_age() {
        let start = SystemTime::now();
        for (age, wait) in [(0, 1), (3, 1), (4, 2), (7, 2), (8, 4), (16, 8), (63, 16), (64, 32), (128, 64), (9999, 64)]
        {
            assert_eq!(back_off(start, start + Duration::from_secs(age)), wait, "{age}");
        }
    }
}

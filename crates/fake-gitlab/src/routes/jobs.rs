//! What a runner says about a job it has: states and log (GitLab runner API: PUT /jobs/:id and
//! PATCH /jobs/:id/trace).

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api_error::{ApiError, plain_status};
use crate::job::{Job, JobStatus, PendingState};
use crate::params::Params;
use crate::payload::FAILURE_REASONS;
use crate::shared::Shared;
use crate::state::World;

pub(super) const JOB_STATUS: &str = "job-status";
const TRACE_INTERVAL: &str = "x-gitlab-trace-update-interval";

/// The job token of a request: the parameter, else the header.
pub(super) fn job_token(params: &Params, headers: &HeaderMap) -> Option<String> {
    params.text("token").filter(|token| !token.is_empty()).or_else(|| {
        let value = headers.get("job-token")?.to_str().ok()?;
        Some(value.to_owned())
    })
}

/// The job, if the token is its own and a runner is executing it. An unknown job is refused like
/// a wrong token, so that numbers cannot be probed.
pub(super) fn authenticate<'a>(world: &'a World, id: &str, token: Option<&str>) -> Result<&'a Job, ApiError> {
    let job = id
        .parse()
        .ok()
        .and_then(|id: u64| world.jobs.get(&id))
        .filter(|job| token == Some(job.token.as_str()))
        .ok_or_else(ApiError::forbidden)?;
    if job.erased_at.is_some() {
        return Err(ApiError::forbidden_because("Job has been erased!"));
    }
    if !job.status.is_executing() {
        return Err(
            ApiError::forbidden_because("Job is not processing on runner").with_header(JOB_STATUS, job.status.as_str())
        );
    }
    Ok(job)
}

/// Notes that the runner of a job is alive.
fn heartbeat(world: &mut World, job: u64) {
    let Some((runner, system_id)) = world.jobs.get(&job).and_then(|job| job.runner.clone()) else { return };
    let Some(runner) = world.runners.get_mut(&runner) else { return };
    let now = SystemTime::now();
    runner.contacted_at = Some(now);
    if let Some(manager) = runner.managers.iter_mut().find(|manager| manager.system_id == system_id) {
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
    shared.write(|world| {
        let job = authenticate(world, &id, Some(&token))?;
        let id = job.id;
        heartbeat(world, id);
        match params.text("state").as_deref() {
            Some("running") => Ok(with_status(world, id, plain_status(StatusCode::OK))),
            Some(state @ ("success" | "failed")) => finish(&shared, world, id, state, &params),
            _ => Err(ApiError::bad_request("Unknown state")),
        }
    })
}

fn with_status(world: &World, id: u64, mut response: Response) -> Response {
    if let Some(job) = world.jobs.get(&id) {
        response.headers_mut().insert(JOB_STATUS, HeaderValue::from_static(job.status.as_str()));
    }
    response
}

/// Takes a final state, or says 202: come back when the log is archived.
fn finish(shared: &Shared, world: &mut World, id: u64, state: &str, params: &Params) -> Result<Response, ApiError> {
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
    let Some(job) = world.jobs.get_mut(&id) else { return Err(ApiError::forbidden()) };
    job.exit_code = exit_code.or(job.exit_code);
    if job.pending_state.is_none() {
        job.claimed_checksum = checksum.clone();
    }
    if job.status == JobStatus::Canceling {
        world.finish(id, JobStatus::Canceled, None);
        return Ok(with_status(world, id, plain_status(StatusCode::OK)));
    }
    let must_wait = shared.settings.live_trace && checksum.is_some() && job.trace.len() > 0;
    if must_wait && job.pending_state.is_none() {
        job.pending_state = Some(PendingState { failure_reason: (state == "failed").then_some(reason) });
        let mut response = with_status(world, id, plain_status(StatusCode::ACCEPTED));
        // The back-off GitLab asks for while a pending state is younger than four seconds.
        response.headers_mut().insert(TRACE_INTERVAL, HeaderValue::from_static("1"));
        return Ok(response);
    }
    // By the second call the log counts as archived.
    let first_reason = job.pending_state.take().and_then(|pending| pending.failure_reason);
    match state {
        "success" => world.finish(id, JobStatus::Success, None),
        _ => world.finish(id, JobStatus::Failed, Some(&first_reason.unwrap_or(reason))),
    }
    Ok(with_status(world, id, plain_status(StatusCode::OK)))
}

/// `PATCH /jobs/:id/trace`.
pub(crate) async fn append_trace(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
    body: Bytes,
) -> Result<Response, ApiError> {
    let token = job_token(&Params::from_query(query.as_deref()), &headers);
    shared.write(|world| {
        let id = authenticate(world, &id, token.as_deref())?.id;
        heartbeat(world, id);
        let start = content_start(&headers)?;
        if start >= shared.settings.trace_limit {
            world.finish(id, JobStatus::Failed, Some("trace_size_exceeded"));
            return Err(
                ApiError::forbidden_because("Job is not processing on runner").with_header(JOB_STATUS, "failed")
            );
        }
        let job = world.jobs.get_mut(&id).ok_or_else(ApiError::forbidden)?;
        let size = job.trace.len() as u64;
        if start != size {
            return Ok((
                StatusCode::RANGE_NOT_SATISFIABLE,
                [(header::RANGE.as_str(), format!("0-{size}")), (JOB_STATUS, job.status.as_str().to_owned())],
                "416 Range Not Satisfiable",
            )
                .into_response());
        }
        job.trace.append(&body);
        let mut response = plain_status(StatusCode::ACCEPTED);
        let range = format!("0-{}", job.trace.len());
        if let Ok(range) = HeaderValue::from_str(&range) {
            response.headers_mut().insert(header::RANGE, range);
        }
        if shared.settings.trace_interval > 0 {
            response.headers_mut().insert(TRACE_INTERVAL, HeaderValue::from(shared.settings.trace_interval));
        }
        Ok(with_status(world, id, response))
    })
}

/// The start of `Content-Range`; its end and total are ignored, as GitLab ignores them.
fn content_start(headers: &HeaderMap) -> Result<u64, ApiError> {
    let missing = || ApiError::bad_request("Missing header Content-Range");
    let text = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let start = text.split('-').next().unwrap_or_default().trim();
    start.parse().map_err(|_| ApiError::bad_request("Invalid header Content-Range"))
}

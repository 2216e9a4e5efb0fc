//! A job's log as the runner sends it (GitLab runner API: PATCH /jobs/:id/trace).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api_error::{ApiError, plain_status};
use crate::job::{Job, JobStatus};
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::settings::Settings;
use crate::shared::Shared;

use super::job_auth::{JOB_STATUS, authenticate_runner, count_call, job_token};
use super::jobs::{TRACE_INTERVAL, heartbeat, with_status};

/// So long after a look at it a log counts as watched.
const WATCHED_FOR: Duration = Duration::from_secs(10);

/// `PATCH /jobs/:id/trace`.
pub(crate) async fn append(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, ApiError> {
    let token = job_token(&Params::from_query(query.as_deref()), &headers);
    shared.write(|world| {
        count_call(world, Bucket::TracePatch, token.as_deref())?;
        let id = authenticate_runner(world, &id, token.as_deref(), false)?;
        heartbeat(world, id);
        let start = content_start(&headers)?;
        if start >= world.settings.trace_limit {
            world.finish(id, JobStatus::Failed, Some("trace_size_exceeded"));
            return Err(
                ApiError::forbidden_because("Job is not processing on runner").with_header(JOB_STATUS, "failed")
            );
        }
        let now = world.now();
        let job = world.jobs.get_mut(&id).ok_or_else(ApiError::forbidden)?;
        if job.trace_locked {
            return Err(ApiError::message(StatusCode::CONFLICT, "409 Conflict"));
        }
        let size = job.trace.len() as u64;
        if start != size {
            return Err(ApiError::message(StatusCode::RANGE_NOT_SATISFIABLE, "416 Range Not Satisfiable")
                .with_header("range", format!("0-{size}"))
                .with_header(JOB_STATUS, job.status.as_str()));
        }
        job.trace.append(&body);
        let mut response = plain_status(StatusCode::ACCEPTED);
        let range = format!("0-{}", job.trace.len());
        if let Ok(range) = HeaderValue::from_str(&range) {
            response.headers_mut().insert(header::RANGE, range);
        }
        let interval = interval(&world.settings, job, now);
        if interval > 0 {
            response.headers_mut().insert(TRACE_INTERVAL, HeaderValue::from(interval));
        }
        Ok(with_status(world, id, response.into_response()))
    })
}

/// The seconds a runner shall wait before its next patch.
fn interval(settings: &Settings, job: &Job, now: SystemTime) -> u64 {
    let age = |at: SystemTime| now.duration_since(at).unwrap_or_default();
    match settings.unwatched_trace_interval {
        Some(unwatched) if job.watched_at.is_none_or(|at| age(at) > WATCHED_FOR) => unwatched,
        _ => settings.trace_interval,
    }
}

/// The start of `Content-Range`; its end and total are ignored, as GitLab ignores them.
fn content_start(headers: &HeaderMap) -> Result<u64, ApiError> {
    let missing = || ApiError::bad_request("Missing header Content-Range");
    let text = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let start = text.split('-').next().unwrap_or_default().trim();
    start.parse().map_err(|_| ApiError::bad_request("Invalid header Content-Range"))
}

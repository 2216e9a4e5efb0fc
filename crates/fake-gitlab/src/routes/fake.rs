//! What only this server has: raw jobs, the event stream, the record of requests, faults, the
//! instance's rules, and what GitLab shows nobody. No token is needed.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::{stamp, stamp_or_null};
use crate::job::Job;
use crate::params::Params;
use crate::shared::Shared;
use crate::spec::JobSpec;
use crate::{Error, Fault, pipelines};

/// Reads a JSON body into a type, and says what is wrong with it.
fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|problem| ApiError::parameter(problem.to_string()))
}

/// `POST /-/fake/jobs` with a `JobSpec`: enqueues a raw job.
pub(crate) async fn enqueue(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Response, ApiError> {
    let spec: JobSpec = if body.is_empty() { JobSpec::default() } else { parse(&body)? };
    let id = pipelines::enqueue(&shared, spec).await.map_err(|problem| match problem {
        Error::Project { .. } | Error::NoReference { .. } => ApiError::parameter(problem.to_string()),
        other => ApiError::internal(other),
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

/// What can be done to a job from outside, `PUT /-/fake/jobs/:id`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobChange {
    /// Another process writes to the log: patches are answered with 409.
    trace_locked: Option<bool>,
    /// So many runners get 409 instead of the job.
    races_to_lose: Option<u64>,
    /// Where the job was suspended.
    runtime_environment_key: Option<String>,
}

fn find_job<'a>(world: &'a crate::state::World, id: &str) -> Result<&'a Job, ApiError> {
    id.parse().ok().and_then(|id: u64| world.jobs.get(&id)).ok_or_else(|| ApiError::not_found("Job"))
}

/// A job with what the API does not show.
fn job_json(job: &Job, project: &str) -> Value {
    let mut shown = json!(job.report(project));
    shown["updated_at"] = json!(stamp(job.updated_at));
    shown["awaits_runner_until"] = stamp_or_null(job.acknowledge_by);
    shown["archives_trace"] = json!(job.pending_state.is_some());
    shown["session_url"] = json!(job.session_url);
    shown["runner"] = json!(job.runner.as_ref().map(|(runner, _)| runner));
    shown["trace_locked"] = json!(job.trace_locked);
    shown["races_to_lose"] = json!(job.races_to_lose);
    shown["runtime_environment_key"] = json!(job.runtime_environment_key);
    shown
}

/// `GET /-/fake/jobs/:id`.
pub(crate) async fn job(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let job = find_job(world, &id)?;
        Ok(Json(job_json(job, world.project_path(job.project))))
    })
}

/// `PUT /-/fake/jobs/:id`.
pub(crate) async fn change_job(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let change: JobChange = parse(&body)?;
    shared.write(|world| {
        let id = find_job(world, &id)?.id;
        let job = world.jobs.get_mut(&id).ok_or_else(|| ApiError::not_found("Job"))?;
        job.trace_locked = change.trace_locked.unwrap_or(job.trace_locked);
        job.races_to_lose = change.races_to_lose.unwrap_or(job.races_to_lose);
        job.runtime_environment_key = change.runtime_environment_key.or(job.runtime_environment_key.take());
        let job = find_job(world, &id.to_string())?;
        Ok(Json(job_json(job, world.project_path(job.project))))
    })
}

/// `GET /-/fake/runners`: everything known of runners and their machines, but no tokens.
pub(crate) async fn runners(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.read(|world| {
        let shown = world.runners.values().map(|runner| {
            let mut shown = runner.details(world.now());
            shown["owner"] = json!(runner.spec.owner);
            shown["creation_state"] = json!(if runner.has_asked { "finished" } else { "started" });
            shown["token_expires_at"] = stamp_or_null(runner.token_expires_at);
            shown["managers"] = runner
                .managers
                .iter()
                .map(|manager| {
                    let mut shown = manager.to_json();
                    shown["info"] = manager.info.clone();
                    shown
                })
                .collect();
            shown
        });
        Json(shown.collect())
    })
}

/// `GET /-/fake/settings`.
pub(crate) async fn settings(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.read(|world| json!(world.settings)))
}

/// `PUT /-/fake/settings`: changes those that the body names.
pub(crate) async fn change_settings(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let changes: Value = parse(&body)?;
    shared.write(|world| {
        world.settings = world.settings.with(&changes).map_err(|problem| ApiError::parameter(problem.to_string()))?;
        Ok(Json(json!(world.settings)))
    })
}

/// `GET /-/fake/events`: one JSON object a line for every change of a job's state, from the start
/// of the server on, without an end. `?from=N` leaves out the first N.
pub(crate) async fn events(State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, ApiError> {
    let from = params.integer("from")?.unwrap_or(0);
    let from = usize::try_from(from).map_err(|_| ApiError::parameter("from is invalid"))?;
    let lines = futures::stream::unfold((shared, from), async |(shared, from)| {
        let chunk = shared
            .wait_until(|world| {
                let new = world.events.get(from..).filter(|new| !new.is_empty())?;
                let mut text = String::new();
                for event in new {
                    text.push_str(&serde_json::to_string(event).ok()?);
                    text.push('\n');
                }
                Some((text, world.events.len()))
            })
            .await;
        Some((Ok::<_, std::convert::Infallible>(chunk.0), (shared, chunk.1)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// `GET /-/fake/requests`: all requests so far; `?secrets=1` shows tokens.
pub(crate) async fn requests(State(shared): State<Arc<Shared>>, params: Params) -> Result<Json<Value>, ApiError> {
    let secrets = params.flag("secrets")?.unwrap_or(false);
    let records = shared.records.all();
    Ok(Json(records.iter().map(|record| record.to_json(secrets)).collect()))
}

/// `DELETE /-/fake/requests`: forgets them.
pub(crate) async fn forget_requests(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.records.clear();
    StatusCode::NO_CONTENT
}

/// `GET /-/fake/faults`: those in force.
pub(crate) async fn faults(State(shared): State<Arc<Shared>>) -> Json<Vec<Fault>> {
    Json(shared.faults.list())
}

/// `PUT /-/fake/faults` with a list: replaces those in force and starts counting anew.
pub(crate) async fn set_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Json<Vec<Fault>>, ApiError> {
    let faults: Vec<Fault> = parse(&body)?;
    shared.faults.set(faults.clone());
    Ok(Json(faults))
}

//! What only this server has: raw jobs, the event stream, the record of requests, faults. No
//! token is needed.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::shared::Shared;
use crate::spec::JobSpec;
use crate::{Error, Fault, pipelines};

/// Reads a JSON body into a type, and says what is wrong with it.
fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|problem| ApiError::parameter(problem.to_string()))
}

/// `POST /-/fake/jobs` with a `JobSpec`: enqueues a raw job.
pub(crate) async fn enqueue(State(shared): State<Arc<Shared>>, body: axum::body::Bytes) -> Result<Response, ApiError> {
    let spec: JobSpec = if body.is_empty() { JobSpec::default() } else { parse(&body)? };
    let id = pipelines::enqueue(&shared, spec).await.map_err(|problem| match problem {
        Error::Project { .. } | Error::NoReference { .. } => ApiError::parameter(problem.to_string()),
        other => ApiError::internal(other),
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
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
pub(crate) async fn set_faults(
    State(shared): State<Arc<Shared>>,
    body: axum::body::Bytes,
) -> Result<Json<Vec<Fault>>, ApiError> {
    let faults: Vec<Fault> = parse(&body)?;
    shared.faults.set(faults.clone());
    Ok(Json(faults))
}

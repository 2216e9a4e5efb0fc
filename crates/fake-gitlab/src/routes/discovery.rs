//! What GitLab has beside the queue: the job router, and environments that jobs are suspended in
//! (GitLab runner API: runtime environment key, router discovery).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::shared::Shared;

use super::job_auth::{authenticate, count_call, job_token};

/// `GET /runners/router/discovery`: where the job router is. Without one runners use this API.
pub(crate) async fn job_router(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let token = headers.get("runner-token").and_then(|value| value.to_str().ok());
    shared.read(|world| {
        token.and_then(|token| world.runner_by_token(token)).ok_or_else(ApiError::forbidden)?;
        match &world.settings.job_router_url {
            Some(url) => Ok(Json(json!({ "server_url": url }))),
            None => Err(ApiError::message(
                StatusCode::NOT_IMPLEMENTED,
                "Job Router is not available. Please contact your administrator.",
            )),
        }
    })
}

/// `GET /jobs/:id/runtime_environment_key`.
pub(crate) async fn runtime_environment_key(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let token = job_token(&params, &headers);
    shared.write(|world| {
        count_call(world, Bucket::JobCall, token.as_deref())?;
        let job = authenticate(world, &id, token.as_deref())?;
        let key = job.runtime_environment_key.as_ref().filter(|_| world.settings.suspendable_environments);
        let key = key.ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Not Found"))?;
        Ok(Json(json!({ "runtime_environment_key": key })))
    })
}

//! Runners of the user-facing API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::Value;

use crate::api_error::ApiError;
use crate::params::Params;
use crate::runner::Runner;
use crate::shared::Shared;
use crate::state::World;

use super::pages::page;
use super::user::User;
use super::user_jobs::{job_json, matches_scope};

pub(super) fn find<'a>(world: &'a World, id: &str) -> Result<&'a Runner, ApiError> {
    let id: u64 = id.parse().map_err(|_| ApiError::parameter("id is invalid"))?;
    world.runners.get(&id).ok_or_else(|| ApiError::message(axum::http::StatusCode::NOT_FOUND, "404 Runner Not Found"))
}

/// `GET /runners` and `GET /runners/all`.
pub(crate) async fn list(_: User, State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, ApiError> {
    let items: Vec<Value> =
        shared.read(|world| world.runners.values().map(|runner| runner.summary(world.now())).collect());
    page(&items, &params, &format!("{}/api/v4/runners", shared.external_url()))
}

/// `GET /runners/:id`.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| Ok(Json(find(world, &id)?.details(world.now()))))
}

/// `GET /runners/:id/managers`.
pub(crate) async fn managers(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let managers = &find(world, &id)?.managers;
        Ok(Json(managers.iter().map(|manager| manager.to_json()).collect()))
    })
}

/// `GET /runners/:id/jobs`, newest first.
pub(crate) async fn jobs(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let items: Vec<Value> = shared.read(|world| {
        let id = find(world, &id)?.id;
        let jobs = world.jobs.values().rev();
        Ok(jobs
            .filter(|job| job.runner.as_ref().is_some_and(|(runner, _)| *runner == id))
            .filter(|job| matches_scope(job, &params))
            .map(|job| job_json(world, job, shared.external_url()))
            .collect())
    })?;
    page(&items, &params, &format!("{}/api/v4/runners/{id}/jobs", shared.external_url()))
}

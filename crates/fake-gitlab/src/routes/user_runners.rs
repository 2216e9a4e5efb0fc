//! Runners of the user-facing API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use crate::api_error::ApiError;
use crate::params::Params;
use crate::runner::{Runner, RunnerSpec};
use crate::shared::Shared;
use crate::state::World;

use super::pages::page;
use super::registration::read_spec;
use super::user::{User, Writer};
use super::user_jobs::{job_json, matches_scope};

pub(super) fn find<'a>(world: &'a World, id: &str) -> Result<&'a Runner, ApiError> {
    let id: u64 = id.parse().map_err(|_| ApiError::parameter("id is invalid"))?;
    world.runners.get(&id).ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Runner Not Found"))
}

/// `GET /runners` and `GET /runners/all`.
pub(crate) async fn list(_: User, State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, ApiError> {
    let tags = params.list("tag_list").unwrap_or_default();
    let paused = params.flag("paused")?;
    let (kind, status) = (params.text("type"), params.text("status"));
    let items: Vec<Value> = shared.read(|world| {
        let fits = |runner: &&Runner| {
            tags.iter().all(|tag| runner.spec.tags.contains(tag))
                && paused.is_none_or(|paused| runner.spec.paused == paused)
                && kind.as_ref().is_none_or(|kind| kind == runner.spec.kind.as_str())
                && status.as_ref().is_none_or(|status| status == runner.status(world.now()))
        };
        world.runners.values().filter(fits).map(|runner| runner.summary(world.now())).collect()
    });
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

/// `PUT /runners/:id`: changes what the parameters name.
pub(crate) async fn update(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let given = read_spec(&params)?;
    let is_given = |name: &str| params.value(name).is_some();
    shared.write(|world| {
        let now = world.now();
        let runner = find(world, &id)?;
        let (id, token, old) = (runner.id, runner.token.clone(), runner.spec.clone());
        let paused = if is_given("paused") || is_given("active") { given.paused } else { old.paused };
        let spec = RunnerSpec {
            description: if is_given("description") { given.description } else { old.description },
            tags: if is_given("tag_list") { given.tags } else { old.tags },
            run_untagged: if is_given("run_untagged") { given.run_untagged } else { old.run_untagged },
            paused,
            locked: if is_given("locked") { given.locked } else { old.locked },
            protected_only: if is_given("access_level") { given.protected_only } else { old.protected_only },
            maximum_timeout: if is_given("maximum_timeout") { given.maximum_timeout } else { old.maximum_timeout },
            maintenance_note: given.maintenance_note.or(old.maintenance_note),
            kind: old.kind,
            owner: old.owner,
        };
        if let Some(problems) = spec.problems() {
            return Err(ApiError::message(StatusCode::BAD_REQUEST, problems));
        }
        let runner = world.runners.get_mut(&id).ok_or_else(|| ApiError::not_found("Runner"))?;
        runner.spec = spec;
        runner.updated_at = now;
        // Also gives the runner a new queue value: other jobs may be for it now.
        world.pause(&token, paused);
        Ok(Json(find(world, &id.to_string())?.details(now)))
    })
}

/// `DELETE /runners/:id`.
pub(crate) async fn delete(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    shared.write(|world| {
        let id = find(world, &id)?.id;
        world.runners.remove(&id);
        Ok(StatusCode::NO_CONTENT)
    })
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

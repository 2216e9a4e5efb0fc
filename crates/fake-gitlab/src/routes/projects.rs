//! `/projects`, `/user` and `/version` of the user-facing API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::stamp;
use crate::params::Params;
use crate::project::Project;
use crate::shared::Shared;
use crate::state::World;
use crate::variables::{REVISION, VERSION};

use super::pages::page;
use super::user::{User, Writer, own_json};

/// The project of a number or a full path.
pub(super) fn find<'a>(world: &'a World, key: &str) -> Result<&'a Project, ApiError> {
    let by_id = key.parse().ok().and_then(|id: u64| world.projects.get(&id));
    by_id.or_else(|| world.project_by_path(key)).ok_or_else(|| ApiError::not_found("Project"))
}

/// The same, to be changed.
pub(super) fn find_mut<'a>(world: &'a mut World, key: &str) -> Result<&'a mut Project, ApiError> {
    let id = find(world, key)?.id;
    world.projects.get_mut(&id).ok_or_else(|| ApiError::not_found("Project"))
}

fn to_json(project: &Project, external_url: &str) -> Value {
    let web_url = format!("{external_url}/{}", project.path);
    json!({
        "id": project.id,
        "description": null,
        "name": project.name(),
        "name_with_namespace": project.path.replace('/', " / "),
        "path": project.name(),
        "path_with_namespace": project.path,
        "created_at": stamp(project.created_at),
        "default_branch": project.default_branch,
        "ssh_url_to_repo": null,
        "http_url_to_repo": format!("{web_url}.git"),
        "web_url": web_url,
        "visibility": "private",
        "archived": false,
        "empty_repo": project.mirror.is_none(),
        "jobs_enabled": true,
        "builds_access_level": "enabled",
        "build_timeout": project.timeout,
        "ci_config_path": null,
        "ci_default_git_depth": project.default_git_depth,
        "ci_separated_caches": project.separated_caches,
        "shared_runners_enabled": project.shared_runners_enabled,
        "runners_token": project.runners_token,
        "marked_for_deletion_on": null,
        "build_git_strategy": "fetch",
        "namespace": {
            "id": project.namespace_id,
            "name": project.namespace(),
            "path": project.namespace().rsplit('/').next(),
            "kind": "group",
            "full_path": project.namespace(),
            "parent_id": null,
        },
    })
}

/// `PUT /projects/:id`: what there is to change about a project here.
pub(crate) async fn update(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let number = |name: &str| {
        let number = params.integer(name)?;
        let checked = number.map(u64::try_from).transpose();
        checked.map_err(|_| ApiError::parameter(format!("{name} does not have a valid value")))
    };
    let (timeout, depth) = (number("build_timeout")?, number("ci_default_git_depth")?);
    if timeout.is_some_and(|timeout| timeout < 600) {
        let problem = json!({ "build_timeout": ["needs to be between 10 minutes and 1 month"] });
        return Err(ApiError::message(StatusCode::BAD_REQUEST, problem));
    }
    let (shared_runners, separated) = (params.flag("shared_runners_enabled")?, params.flag("ci_separated_caches")?);
    shared.write(|world| {
        let project = find_mut(world, &key)?;
        project.timeout = timeout.unwrap_or(project.timeout);
        project.default_git_depth = depth.unwrap_or(project.default_git_depth);
        project.shared_runners_enabled = shared_runners.unwrap_or(project.shared_runners_enabled);
        project.separated_caches = separated.unwrap_or(project.separated_caches);
        Ok(Json(to_json(project, shared.external_url())))
    })
}

/// `DELETE /projects/:id`: it goes at once, or stays and is refused everything while a job of it
/// runs.
pub(crate) async fn delete(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    shared.write(|world| {
        let id = find(world, &key)?.id;
        let is_used = world.jobs.values().any(|job| job.project == id && job.status.is_executing());
        match world.projects.get_mut(&id) {
            Some(project) if is_used => project.pending_delete = true,
            _ => {
                world.projects.remove(&id);
                world.pipelines.retain(|_, pipeline| pipeline.project != id);
                world.jobs.retain(|_, job| job.project != id);
            }
        }
        let body = json!({ "message": "202 Accepted" });
        Ok((StatusCode::ACCEPTED, Json(body)).into_response())
    })
}

/// `POST /projects/:id/job_token_scope/allowlist` with `target_project_id`: lets that project's
/// jobs read this one's artifacts.
pub(crate) async fn allow_job_tokens(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let target = params.required("target_project_id")?;
    shared.write(|world| {
        let target = find(world, &target)?.id;
        let project = find_mut(world, &key)?;
        if !project.job_token_allowlist.contains(&target) {
            project.job_token_allowlist.push(target);
        }
        let body = json!({ "source_project_id": project.id, "target_project_id": target });
        Ok((StatusCode::CREATED, Json(body)).into_response())
    })
}

/// `GET /projects`.
pub(crate) async fn list(_: User, State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, ApiError> {
    let search = params.text("search").unwrap_or_default().to_lowercase();
    let items: Vec<Value> = shared.read(|world| {
        world
            .projects
            .values()
            .rev()
            .filter(|project| project.name().to_lowercase().contains(&search))
            .map(|project| to_json(project, shared.external_url()))
            .collect()
    });
    page(&items, &params, &format!("{}/api/v4/projects", shared.external_url()))
}

/// `GET /projects/:id`.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| Ok(Json(to_json(find(world, &key)?, shared.external_url()))))
}

/// `GET /user`.
pub(crate) async fn user(_: User, State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(own_json(shared.external_url()))
}

/// `GET /version`.
pub(crate) async fn version(_: User, State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({
        "version": VERSION,
        "revision": REVISION,
        "kas": { "enabled": false, "externalUrl": null, "externalK8sProxyUrl": null, "version": null },
        "enterprise": shared.read(|world| world.settings.licensed),
    }))
}

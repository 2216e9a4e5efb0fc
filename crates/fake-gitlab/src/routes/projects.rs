//! `/projects`, `/user` and `/version` of the user-facing API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::stamp;
use crate::params::Params;
use crate::project::Project;
use crate::shared::Shared;
use crate::state::World;
use crate::variables::{REVISION, VERSION, namespace_id};

use super::pages::page;
use super::user::{User, own_json};

/// The project of a number or a full path.
pub(super) fn find<'a>(world: &'a World, key: &str) -> Result<&'a Project, ApiError> {
    let by_id = key.parse().ok().and_then(|id: u64| world.projects.get(&id));
    by_id.or_else(|| world.project_by_path(key)).ok_or_else(|| ApiError::not_found("Project"))
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
        "ci_default_git_depth": 20,
        "build_git_strategy": "fetch",
        "namespace": {
            "id": namespace_id(project),
            "name": project.namespace(),
            "path": project.namespace().rsplit('/').next(),
            "kind": "group",
            "full_path": project.namespace(),
            "parent_id": null,
        },
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
pub(crate) async fn version(_: User) -> Json<Value> {
    Json(json!({
        "version": VERSION,
        "revision": REVISION,
        "kas": { "enabled": false, "externalUrl": null, "externalK8sProxyUrl": null, "version": null },
        "enterprise": false,
    }))
}

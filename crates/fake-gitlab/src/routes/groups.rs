//! `/groups` of the user-facing API: the groups that the projects' paths name.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::stamp;
use crate::params::Params;
use crate::project::Group;
use crate::shared::Shared;
use crate::state::World;

use super::pages::page;
use super::user::User;

fn to_json(group: &Group, external_url: &str) -> Value {
    json!({
        "id": group.id,
        "name": group.path.rsplit('/').next(),
        "path": group.path.rsplit('/').next(),
        "full_path": group.path,
        "full_name": group.path.replace('/', " / "),
        "parent_id": group.parent,
        "description": "",
        "visibility": "private",
        "web_url": format!("{external_url}/groups/{}", group.path),
        "created_at": stamp(group.created_at),
        "runners_token": group.runners_token,
    })
}

/// `GET /groups`.
pub(crate) async fn list(_: User, State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, ApiError> {
    let items: Vec<Value> =
        shared.read(|world| world.groups.values().map(|group| to_json(group, shared.external_url())).collect());
    page(&items, &params, &format!("{}/api/v4/groups", shared.external_url()))
}

/// `GET /groups/:id`, by number or full path.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| Ok(Json(to_json(find(world, &key)?, shared.external_url()))))
}

fn find<'a>(world: &'a World, key: &str) -> Result<&'a Group, ApiError> {
    let by_id = key.parse().ok().and_then(|id: u64| world.groups.get(&id));
    by_id.or_else(|| world.group_by_path(key)).ok_or_else(|| ApiError::not_found("Group"))
}

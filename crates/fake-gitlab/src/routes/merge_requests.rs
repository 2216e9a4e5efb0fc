//! Merge requests, as far as their pipelines need them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::stamp;
use crate::params::Params;
use crate::pipelines::create_for_merge_request;
use crate::project::{MergeRequest, Project};
use crate::shared::Shared;

use super::pages::{page, segment};
use super::user::{User, Writer, user_json};
use super::{pipelines, projects};

fn to_json(request: &MergeRequest, project: &Project, external_url: &str) -> Value {
    json!({
        "id": request.id,
        "iid": request.iid,
        "project_id": project.id,
        "title": request.title,
        "description": null,
        "state": "opened",
        "source_branch": request.source_branch,
        "target_branch": request.target_branch,
        "source_project_id": project.id,
        "target_project_id": project.id,
        "author": user_json(external_url),
        "created_at": stamp(request.created_at),
        "web_url": format!("{external_url}/{}/-/merge_requests/{}", project.path, request.iid),
    })
}

fn find<'a>(project: &'a Project, iid: &str) -> Result<&'a MergeRequest, ApiError> {
    let found = project.merge_requests.iter().find(|request| request.iid.to_string() == iid);
    found.ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Not found"))
}

/// `GET /projects/:id/merge_requests`, newest first.
pub(crate) async fn list(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let items: Vec<Value> = shared.read(|world| {
        let project = projects::find(world, &project)?;
        let requests = project.merge_requests.iter().rev();
        Ok(requests.map(|request| to_json(request, project, shared.external_url())).collect())
    })?;
    page(&items, &params, &format!("{}/api/v4/projects/{}/merge_requests", shared.external_url(), segment(&project)))
}

/// `GET /projects/:id/merge_requests/:iid`.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, iid)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let project = projects::find(world, &project)?;
        Ok(Json(to_json(find(project, &iid)?, project, shared.external_url())))
    })
}

/// `POST /projects/:id/merge_requests` with `source_branch`, `target_branch` and `title`.
pub(crate) async fn create(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let (source_branch, target_branch) = (params.required("source_branch")?, params.required("target_branch")?);
    let title = params.required("title")?;
    shared.write(|world| {
        let (id, created_at) = (world.next_id("merge request"), world.now());
        let project = projects::find_mut(world, &project)?;
        let iid = project.merge_requests.len() as u64 + 1;
        project.merge_requests.push(MergeRequest { id, iid, title, source_branch, target_branch, created_at });
        let shown = to_json(find(project, &iid.to_string())?, project, shared.external_url());
        Ok((StatusCode::CREATED, Json(shown)).into_response())
    })
}

/// `POST /projects/:id/merge_requests/:iid/pipelines`.
pub(crate) async fn create_pipeline(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, iid)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (path, number) = shared.read(|world| {
        let project = projects::find(world, &project)?;
        Ok((project.path.clone(), find(project, &iid)?.iid))
    })?;
    let id = create_for_merge_request(&shared, &path, number).await;
    pipelines::created(&shared, &path, id)
}

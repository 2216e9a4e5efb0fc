//! Branches, tags, commits, folders and files in the user-facing API.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api_error::ApiError;
use crate::ci::Failure;
use crate::params::Params;
use crate::project::{Commit, PipelineOrigin, Project};
use crate::shared::Shared;
use crate::{ci, pipelines, repository};

use super::pages::page;
use super::projects;
use super::user::User;
use super::user_jobs::commit_json;

/// Commits that are read for a list.
const COMMITS: usize = 1000;

/// A project and its repository, up to date.
async fn open(shared: &Shared, key: &str) -> Result<(Project, PathBuf), ApiError> {
    let project = shared.read(|world| Ok::<_, ApiError>(projects::find(world, key)?.clone()))?;
    let mirror = repository::fresh(shared, &project).await.map_err(ApiError::internal)?;
    Ok((project, mirror.ok_or_else(|| ApiError::not_found("Repository"))?))
}

async fn find(mirror: &std::path::Path, revision: &str, what: &str) -> Result<Commit, ApiError> {
    let found = repository::find(mirror, revision).await.map_err(ApiError::internal)?;
    found.ok_or_else(|| ApiError::not_found(what))
}

fn ref_json(shared: &Shared, project: &Project, name: &str, commit: &Commit, namespace: &str) -> Value {
    let commit = commit_json(commit, shared.external_url(), &project.path);
    if namespace == "refs/tags" {
        return json!({ "name": name, "message": "", "target": commit["id"], "commit": commit, "release": null, "protected": false });
    }
    let is_default = name == project.default_branch;
    json!({
        "name": name,
        "commit": commit,
        "merged": false,
        "protected": is_default,
        "default": is_default,
        "developers_can_push": false,
        "developers_can_merge": false,
        "can_push": true,
        "web_url": format!("{}/{}/-/tree/{name}", shared.external_url(), project.path),
    })
}

async fn list_refs(shared: &Shared, key: &str, params: &Params, namespace: &str) -> Result<Response, ApiError> {
    let (project, mirror) = open(shared, key).await?;
    let search = params.text("search").unwrap_or_default();
    let mut items = Vec::new();
    for name in repository::names(&mirror, namespace).await.map_err(ApiError::internal)? {
        if name.contains(&search) {
            let commit = find(&mirror, &format!("{namespace}/{name}"), "Commit").await?;
            items.push(ref_json(shared, &project, &name, &commit, namespace));
        }
    }
    let last = if namespace == "refs/tags" { "tags" } else { "branches" };
    page(&items, params, &format!("{}/api/v4/projects/{}/repository/{last}", shared.external_url(), project.id))
}

async fn get_ref(shared: &Shared, key: &str, name: &str, namespace: &str, what: &str) -> Result<Json<Value>, ApiError> {
    let (project, mirror) = open(shared, key).await?;
    let commit = find(&mirror, &format!("{namespace}/{name}"), what).await?;
    Ok(Json(ref_json(shared, &project, name, &commit, namespace)))
}

/// `GET /projects/:id/repository/branches`.
pub(crate) async fn branches(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    list_refs(&shared, &key, &params, "refs/heads").await
}

/// `GET /projects/:id/repository/branches/:branch`.
pub(crate) async fn branch(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((key, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    get_ref(&shared, &key, &name, "refs/heads", "Branch").await
}

/// `GET /projects/:id/repository/tags`.
pub(crate) async fn tags(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    list_refs(&shared, &key, &params, "refs/tags").await
}

/// `GET /projects/:id/repository/tags/:tag`.
pub(crate) async fn tag(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((key, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    get_ref(&shared, &key, &name, "refs/tags", "Tag").await
}

/// `GET /projects/:id/repository/commits`, newest first; `ref_name` and `path` choose.
pub(crate) async fn commits(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let (project, mirror) = open(&shared, &key).await?;
    let revision = params.text("ref_name").unwrap_or_else(|| project.default_branch.clone());
    find(&mirror, &revision, "Commit").await?;
    let path = params.text("path").unwrap_or_default();
    let commits = repository::log(&mirror, &revision, &path, COMMITS).await.map_err(ApiError::internal)?;
    let items: Vec<Value> =
        commits.iter().map(|commit| commit_json(commit, shared.external_url(), &project.path)).collect();
    page(&items, &params, &format!("{}/api/v4/projects/{}/repository/commits", shared.external_url(), project.id))
}

/// `GET /projects/:id/repository/commits/:sha`; a branch or tag does as well.
pub(crate) async fn commit(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((key, revision)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (project, mirror) = open(&shared, &key).await?;
    let commit = find(&mirror, &revision, "Commit").await?;
    let mut shown = commit_json(&commit, shared.external_url(), &project.path);
    shown["last_pipeline"] = shared.read(|world| {
        let pipelines = world.pipelines.values().rev();
        let last = pipelines.into_iter().find(|other| other.project == project.id && other.commit.sha == commit.sha);
        json!(last.map(|pipeline| super::pipelines::summary(world, pipeline, shared.external_url())))
    });
    Ok(Json(shown))
}

/// `GET /projects/:id/repository/tree`.
pub(crate) async fn tree(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let (project, mirror) = open(&shared, &key).await?;
    let revision = params.text("ref").unwrap_or_else(|| project.default_branch.clone());
    let commit = find(&mirror, &revision, "Tree").await?;
    let folder = params.text("path").unwrap_or_default();
    let recursive = params.flag("recursive")?.unwrap_or(false);
    let entries = repository::tree(&mirror, &commit.sha, &folder, recursive).await.map_err(ApiError::internal)?;
    let items: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let name = entry.path.rsplit('/').next();
            json!({ "id": entry.id, "name": name, "type": entry.kind, "path": entry.path, "mode": entry.mode })
        })
        .collect();
    page(&items, &params, &format!("{}/api/v4/projects/{}/repository/tree", shared.external_url(), project.id))
}

/// A file with the commit it was read at.
async fn read_file(
    shared: &Shared,
    key: &str,
    path: &str,
    params: &Params,
) -> Result<(String, Commit, String, Vec<u8>), ApiError> {
    let (project, mirror) = open(shared, key).await?;
    let revision = params.text("ref").unwrap_or_else(|| project.default_branch.clone());
    let commit = find(&mirror, &revision, "Commit").await?;
    let found = repository::blob(&mirror, &commit.sha, path).await.map_err(ApiError::internal)?;
    let (id, bytes) = found.ok_or_else(|| ApiError::not_found("File"))?;
    Ok((revision, commit, id, bytes))
}

/// `GET /projects/:id/repository/files/:path`, the content in Base64.
pub(crate) async fn file(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((key, path)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let (revision, commit, id, bytes) = read_file(&shared, &key, &path, &params).await?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Json(json!({
        "file_name": path.rsplit('/').next(),
        "file_path": path,
        "size": bytes.len(),
        "encoding": "base64",
        "content": base64::engine::general_purpose::STANDARD.encode(&bytes),
        "content_sha256": digest,
        "ref": revision,
        "blob_id": id,
        "commit_id": commit.sha,
        "last_commit_id": commit.sha,
        "execute_filemode": false,
    })))
}

/// `GET /projects/:id/repository/files/:path/raw`.
pub(crate) async fn raw_file(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((key, path)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let (_, _, _, bytes) = read_file(&shared, &key, &path, &params).await?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/plain")], bytes).into_response())
}

/// `POST /projects/:id/ci/lint` with `content`, or `GET` for the definition at `content_ref`.
pub(crate) async fn lint(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let (project, mirror) = open(&shared, &key).await?;
    let revision = params.text("content_ref").or_else(|| params.text("sha")).or_else(|| params.text("ref"));
    let commit = find(&mirror, revision.as_deref().unwrap_or(&project.default_branch), "Commit").await?;
    let content = match params.text("content") {
        Some(content) => content,
        None => {
            let file = repository::blob(&mirror, &commit.sha, ".gitlab-ci.yml").await.map_err(ApiError::internal)?;
            let (_, bytes) = file.ok_or_else(|| ApiError::not_found("File"))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    let origin = PipelineOrigin {
        project: project.id,
        ref_name: project.default_branch.clone(),
        is_tag: false,
        tag_message: None,
        commit,
        source: "push",
        variables: Vec::new(),
        merge_request: None,
    };
    let inputs = params.value("inputs").cloned().unwrap_or_default();
    let checked = pipelines::with_definition(&shared, &project, &origin, content, inputs, ci::check);
    Ok(Json(match checked.await.map_err(ApiError::internal)? {
        Ok(checked) => json!({
            "valid": true,
            "errors": [],
            "warnings": checked.warnings,
            "merged_yaml": checked.merged,
            "includes": checked.includes,
            "jobs": null,
        }),
        Err(Failure::Definition(problems)) => json!({
            "valid": false,
            "errors": problems,
            "warnings": [],
            "merged_yaml": null,
            "includes": [],
            "jobs": null,
        }),
        Err(Failure::Other(error)) => return Err(ApiError::internal(error)),
    }))
}

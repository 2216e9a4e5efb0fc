//! Pipelines of the user-facing API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::{seconds, stamp, stamp_or_null};
use crate::job::JobStatus;
use crate::params::Params;
use crate::plan::Variable;
use crate::progress::{latest_jobs, pipeline_status};
use crate::project::Pipeline;
use crate::shared::Shared;
use crate::state::World;
use crate::{Error, pipelines};

use super::pages::{page, segment};
use super::projects;
use super::user::{User, Writer, user_json};
use super::user_jobs::{job_json, matches_scope};

/// The pipeline of a project, by number.
fn find<'a>(world: &'a World, project: &str, id: &str) -> Result<&'a Pipeline, ApiError> {
    let project = projects::find(world, project)?.id;
    id.parse()
        .ok()
        .and_then(|id: u64| world.pipelines.get(&id))
        .filter(|pipeline| pipeline.project == project)
        .ok_or_else(|| ApiError::not_found("Pipeline"))
}

/// A pipeline as lists and jobs show it.
pub(super) fn summary(world: &World, pipeline: &Pipeline, external_url: &str) -> Value {
    let path = world.project_path(pipeline.project);
    let updated = pipeline.finished_at.or(pipeline.started_at).unwrap_or(pipeline.created_at);
    json!({
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project,
        "sha": pipeline.commit.sha,
        "ref": pipeline.ref_name,
        "status": pipeline_status(world, pipeline.id),
        "source": pipeline.source,
        "created_at": stamp(pipeline.created_at),
        "updated_at": stamp(updated),
        "web_url": format!("{external_url}/{path}/-/pipelines/{}", pipeline.id),
        "name": pipeline.name,
    })
}

/// A pipeline alone.
fn details(world: &World, pipeline: &Pipeline, external_url: &str) -> Value {
    let status = pipeline_status(world, pipeline.id);
    let mut shown = summary(world, pipeline, external_url);
    let has_warnings =
        status == JobStatus::Success && latest_jobs(world, pipeline.id).iter().any(|job| job.is_forgiven());
    let label = if has_warnings { "passed with warnings" } else { status.as_str() };
    let whole_seconds = |from, to| seconds(from, to).map(|seconds| seconds.round() as u64);
    let extra = json!({
        "before_sha": "0".repeat(40),
        "tag": pipeline.is_tag,
        "yaml_errors": null,
        "user": user_json(external_url),
        "started_at": stamp_or_null(pipeline.started_at),
        "finished_at": stamp_or_null(pipeline.finished_at),
        "committed_at": null,
        "duration": pipeline.started_at.and_then(|start| whole_seconds(Some(start), pipeline.finished_at)),
        "queued_duration": whole_seconds(Some(pipeline.created_at), pipeline.started_at),
        "coverage": null,
        "archived": false,
        "detailed_status": {
            "icon": format!("status_{}", status.as_str()),
            "text": label,
            "label": label,
            "group": if has_warnings { "success-with-warnings" } else { status.as_str() },
            "tooltip": label,
            "has_details": true,
            "details_path": format!("/{}/-/pipelines/{}", world.project_path(pipeline.project), pipeline.id),
            "illustration": null,
            "favicon": null,
        },
    });
    if let (Value::Object(shown), Value::Object(extra)) = (&mut shown, extra) {
        shown.extend(extra);
    }
    shown
}

/// `POST /projects/:id/pipeline?ref=`.
pub(crate) async fn create(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let reference = params.required("ref")?;
    let variables = variables(&params)?;
    let inputs = params.value("inputs").cloned().unwrap_or_default();
    start(&shared, &project, &reference, variables, inputs, "api").await
}

/// Makes a pipeline, and answers with it.
pub(super) async fn start(
    shared: &Arc<Shared>,
    project: &str,
    reference: &str,
    variables: Vec<Variable>,
    inputs: Value,
    source: &'static str,
) -> Result<Response, ApiError> {
    let path = shared.read(|world| Ok::<_, ApiError>(projects::find(world, project)?.path.clone()))?;
    let id = pipelines::create(shared, &path, Some(reference), variables, inputs, source).await;
    created(shared, &path, id)
}

/// The answer to a request for a pipeline.
pub(super) fn created(shared: &Shared, project: &str, id: Result<u64, Error>) -> Result<Response, ApiError> {
    let id = id.map_err(|problem| match problem {
        Error::NoReference { .. } => base("Reference not found"),
        Error::Definition(wrong) => ApiError::message(StatusCode::BAD_REQUEST, json!({ "base": wrong.problems })),
        Error::Project { .. } => base(&problem.to_string()),
        other => ApiError::internal(other),
    })?;
    shared.read(|world| {
        let pipeline = find(world, project, &id.to_string())?;
        Ok((StatusCode::CREATED, Json(details(world, pipeline, shared.external_url()))).into_response())
    })
}

/// 400 with GitLab's shape for errors of a whole pipeline.
fn base(problem: &str) -> ApiError {
    ApiError::message(StatusCode::BAD_REQUEST, json!({ "base": [problem] }))
}

/// `variables` of a new pipeline: `[{"key", "value", "variable_type": "env_var" or "file"}]`.
fn variables(params: &Params) -> Result<Vec<Variable>, ApiError> {
    let Some(list) = params.value("variables") else { return Ok(Vec::new()) };
    let invalid = || ApiError::parameter("variables is invalid");
    list.as_array()
        .ok_or_else(invalid)?
        .iter()
        .map(|entry| {
            let key = entry["key"].as_str().ok_or_else(invalid)?;
            let value = match &entry["value"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                Value::Number(number) => number.to_string(),
                _ => return Err(invalid()),
            };
            let variable = Variable::new(key, value).private();
            match entry["variable_type"].as_str() {
                None | Some("env_var") => Ok(variable),
                Some("file") => Ok(variable.file()),
                Some(_) => Err(invalid()),
            }
        })
        .collect()
}

/// `GET /projects/:id/pipelines`, newest first.
pub(crate) async fn list(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let is_wanted =
        |name: &str, value: &Value| params.text(name).is_none_or(|wanted| value.as_str() == Some(wanted.as_str()));
    let items: Vec<Value> = shared.read(|world| {
        let project = projects::find(world, &project)?.id;
        let shown = world
            .pipelines
            .values()
            .rev()
            .filter(|pipeline| pipeline.project == project)
            .map(|pipeline| summary(world, pipeline, shared.external_url()))
            .filter(|shown| ["ref", "sha", "status", "source"].iter().all(|name| is_wanted(name, &shown[name])));
        let mut shown: Vec<Value> = shown.filter(|shown| in_scope(shown, params.text("scope").as_deref())).collect();
        if params.text("sort").as_deref() == Some("asc") {
            shown.reverse();
        }
        Ok(shown)
    })?;
    let url = format!("{}/api/v4/projects/{}/pipelines", shared.external_url(), segment(&project));
    page(&items, &params, &url)
}

/// Whether a pipeline is in `running`, `pending`, `finished`, `branches` or `tags`.
fn in_scope(shown: &Value, scope: Option<&str>) -> bool {
    let status = shown["status"].as_str().unwrap_or_default();
    match scope {
        Some(scope @ ("running" | "pending")) => status == scope,
        Some("finished") => ["success", "failed", "canceled"].contains(&status),
        _ => true,
    }
}

/// `GET /projects/:id/pipelines/latest`: the newest one of `ref`, else of the default branch.
pub(crate) async fn latest(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let project = projects::find(world, &project)?;
        let name = params.text("ref").unwrap_or_else(|| project.default_branch.clone());
        let mut pipelines = world.pipelines.values().rev();
        let found = pipelines.find(|pipeline| pipeline.project == project.id && pipeline.ref_name == name);
        let pipeline = found.ok_or_else(|| ApiError::not_found("Pipeline"))?;
        Ok(Json(details(world, pipeline, shared.external_url())))
    })
}

/// `DELETE /projects/:id/pipelines/:pipeline_id`, with its jobs.
pub(crate) async fn delete(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    shared.write(|world| {
        let id = find(world, &project, &id)?.id;
        world.pipelines.remove(&id);
        world.jobs.retain(|_, job| job.pipeline != id);
        Ok(StatusCode::NO_CONTENT)
    })
}

/// `GET /projects/:id/pipelines/:pipeline_id`.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let pipeline = find(world, &project, &id)?;
        Ok(Json(details(world, pipeline, shared.external_url())))
    })
}

/// `GET /projects/:id/pipelines/:pipeline_id/jobs`.
pub(crate) async fn jobs(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let with_retried = params.flag("include_retried")?.unwrap_or(false);
    let items: Vec<Value> = shared.read(|world| {
        let pipeline = find(world, &project, &id)?;
        let jobs = pipeline.jobs.iter().rev().filter_map(|id| world.jobs.get(id));
        Ok(jobs
            .filter(|job| (with_retried || !job.retried) && matches_scope(job, &params))
            .map(|job| job_json(world, job, shared.external_url()))
            .collect())
    })?;
    let url = format!("{}/api/v4/projects/{}/pipelines/{id}/jobs", shared.external_url(), segment(&project));
    page(&items, &params, &url)
}

/// `GET /projects/:id/pipelines/:pipeline_id/variables`.
pub(crate) async fn list_variables(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let pipeline = find(world, &project, &id)?;
        let shown = pipeline.variables.iter().map(|variable| {
            json!({
                "key": variable.key,
                "value": variable.value,
                "variable_type": if variable.file { "file" } else { "env_var" },
                "raw": variable.raw,
            })
        });
        Ok(Json(shown.collect()))
    })
}

/// `POST /projects/:id/pipelines/:pipeline_id/cancel`.
pub(crate) async fn cancel(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    shared.write(|world| {
        let pipeline = find(world, &project, &id)?.id;
        // From the end, so that no job starts because an earlier one was canceled.
        let jobs: Vec<u64> = latest_jobs(world, pipeline).iter().rev().map(|job| job.id).collect();
        for job in jobs {
            world.cancel(job);
        }
        let pipeline = find(world, &project, &id)?;
        Ok(Json(details(world, pipeline, shared.external_url())))
    })
}

/// `POST /projects/:id/pipelines/:pipeline_id/retry`: repeats what failed or was canceled.
pub(crate) async fn retry(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    shared.write(|world| {
        let pipeline = find(world, &project, &id)?.id;
        let jobs: Vec<u64> = latest_jobs(world, pipeline)
            .iter()
            .filter(|job| matches!(job.status, JobStatus::Failed | JobStatus::Canceled))
            .map(|job| job.id)
            .collect();
        for job in jobs {
            world.repeat(job).map_err(ApiError::internal)?;
        }
        crate::progress::advance(world, pipeline);
        let pipeline = find(world, &project, &id)?;
        let shown = details(world, pipeline, shared.external_url());
        Ok((StatusCode::CREATED, Json(shown)).into_response())
    })
}

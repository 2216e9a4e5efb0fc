//! Jobs of the user-facing API.

use std::io::Read;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::{seconds, stamp, stamp_or_null};
use crate::job::{Job, JobStatus, Trace};
use crate::params::Params;
use crate::project::Commit;
use crate::shared::Shared;
use crate::state::World;

use super::artifacts::send_file;
use super::pages::{page, segment};
use super::user::{User, Writer, user_json};
use super::{pipelines, projects};

/// The job of a project, by number.
fn find<'a>(world: &'a World, project: &str, id: &str) -> Result<&'a Job, ApiError> {
    let project = projects::find(world, project)?.id;
    id.parse()
        .ok()
        .and_then(|id: u64| world.jobs.get(&id))
        .filter(|job| job.project == project)
        .ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Not Found"))
}

/// A job as the API shows it.
pub(super) fn job_json(world: &World, job: &Job, external_url: &str) -> Value {
    let pipeline = world.pipelines.get(&job.pipeline);
    let path = world.project_path(job.project);
    let archive = job.archive(world.now());
    let runner = job.runner.as_ref().and_then(|(id, system_id)| {
        let runner = world.runners.get(id)?;
        Some((runner.summary(world.now()), runner.manager(system_id).map(|manager| manager.to_json())))
    });
    let artifacts: Vec<Value> = job
        .artifacts
        .iter()
        .map(|artifact| {
            json!({
                "file_type": artifact.file_type,
                "size": artifact.size,
                "filename": artifact.filename,
                "file_format": artifact.file_format,
            })
        })
        .collect();
    let mut shown = json!({
        "id": job.id,
        "status": job.status,
        "stage": job.plan.stage,
        "name": job.plan.name,
        "ref": pipeline.map(|pipeline| &pipeline.ref_name),
        "tag": pipeline.is_some_and(|pipeline| pipeline.is_tag),
        "coverage": job.coverage,
        "allow_failure": job.allow_failure,
        "created_at": stamp(job.created_at),
        "started_at": stamp_or_null(job.started_at),
        "finished_at": stamp_or_null(job.finished_at),
        "erased_at": stamp_or_null(job.erased_at),
        "duration": job.started_at.and_then(|start| seconds(Some(start), job.finished_at)),
        "queued_duration": job.queued_at.and_then(|at| seconds(Some(at), job.started_at.or(job.finished_at))),
        "user": user_json(external_url),
        "commit": pipeline.map(|pipeline| commit_json(&pipeline.commit, external_url, path)),
        "pipeline": pipeline.map(|pipeline| pipelines::summary(world, pipeline, external_url)),
        "web_url": format!("{external_url}/{path}/-/jobs/{}", job.id),
        "project": { "ci_job_token_scope_enabled": false },
        "artifacts": artifacts,
        "runner": runner.as_ref().map(|(runner, _)| runner),
        "runner_manager": runner.as_ref().and_then(|(_, manager)| manager.as_ref()),
        "artifacts_expire_at": stamp_or_null(archive.and_then(|archive| archive.expires_at)),
        "archived": false,
        "tag_list": job.plan.tags,
    });
    if let Some(archive) = archive {
        shown["artifacts_file"] = json!({ "filename": archive.filename, "size": archive.size });
    }
    if let Some(reason) = &job.failure_reason {
        shown["failure_reason"] = json!(reason);
    }
    shown
}

/// A commit as the API shows it.
pub(super) fn commit_json(commit: &Commit, external_url: &str, path: &str) -> Value {
    json!({
        "id": commit.sha,
        "short_id": commit.sha.get(..8),
        "created_at": commit.committed_at,
        "parent_ids": commit.parents,
        "title": commit.title,
        "message": commit.message,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "authored_date": commit.committed_at,
        "committer_name": commit.author_name,
        "committer_email": commit.author_email,
        "committed_date": commit.committed_at,
        "trailers": {},
        "web_url": format!("{external_url}/{path}/-/commit/{}", commit.sha),
    })
}

/// Whether a job is among the statuses that `scope` names, if it names any.
pub(super) fn matches_scope(job: &Job, params: &Params) -> bool {
    params
        .list("scope")
        .is_none_or(|scope| scope.is_empty() || scope.iter().any(|status| status == job.status.as_str()))
}

/// `GET /projects/:id/jobs`, newest first.
pub(crate) async fn list(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let items: Vec<Value> = shared.read(|world| {
        let project = projects::find(world, &project)?.id;
        let jobs = world.jobs.values().rev();
        Ok(jobs
            .filter(|job| job.project == project && matches_scope(job, &params))
            .map(|job| job_json(world, job, shared.external_url()))
            .collect())
    })?;
    let url = format!("{}/api/v4/projects/{}/jobs", shared.external_url(), segment(&project));
    page(&items, &params, &url)
}

/// `GET /projects/:id/jobs/:job_id`.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let job = find(world, &project, &id)?;
        Ok(Json(job_json(world, job, shared.external_url())))
    })
}

/// `GET /projects/:id/jobs/:job_id/trace`: the log as it is now.
pub(crate) async fn trace(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let bytes = shared.write(|world| {
        let (id, now) = (find(world, &project, &id)?.id, world.now());
        let job = world.jobs.get_mut(&id).ok_or_else(|| ApiError::not_found("Job"))?;
        job.watched_at = Some(now);
        Ok(job.trace.bytes().to_vec())
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain")], bytes).into_response())
}

/// `GET /projects/:id/jobs/:job_id/artifacts`: the archive.
pub(crate) async fn artifacts(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let path = shared.read(|world| {
        let job = find(world, &project, &id)?;
        let archive = job.archive(world.now()).map(|archive| archive.path.clone());
        archive.ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Not Found"))
    })?;
    send_file(&path, "artifacts.zip").await
}

/// `GET /projects/:id/jobs/:job_id/artifacts/:path`: one file of the archive.
pub(crate) async fn artifact_file(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, id, path)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::message(StatusCode::NOT_FOUND, "404 Not Found");
    let archive = shared.read(|world| {
        let archive = find(world, &project, &id)?.archive(world.now());
        archive.map(|archive| archive.path.clone()).ok_or_else(not_found)
    })?;
    let read = tokio::task::spawn_blocking(move || {
        let mut zip = zip::ZipArchive::new(std::fs::File::open(archive).ok()?).ok()?;
        let mut bytes = Vec::new();
        zip.by_name(&path).ok()?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    });
    let bytes = read.await.map_err(ApiError::internal)?.ok_or_else(not_found)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

fn created(world: &World, shared: &Shared, id: u64) -> Result<Response, ApiError> {
    let job = world.jobs.get(&id).ok_or_else(|| ApiError::not_found("Job"))?;
    let shown = job_json(world, job, shared.external_url());
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `POST /projects/:id/jobs/:job_id/cancel`; with `force=true` also a job that is being canceled.
pub(crate) async fn cancel(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let force = params.flag("force")?.unwrap_or(false);
    shared.write(|world| {
        let job = find(world, &project, &id)?;
        let id = job.id;
        match (job.status, force) {
            (JobStatus::Canceling, true) => world.finish(id, JobStatus::Canceled, None),
            _ => world.cancel(id),
        }
        created(world, &shared, id)
    })
}

/// `POST /projects/:id/jobs/:job_id/retry`.
pub(crate) async fn retry(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    shared.write(|world| {
        let id = find(world, &project, &id)?.id;
        match world.retry(id).map_err(ApiError::internal)? {
            Some(again) => created(world, &shared, again),
            None => Err(ApiError::forbidden_because("Job is not retryable")),
        }
    })
}

/// `POST /projects/:id/jobs/:job_id/play`: starts a manual job.
pub(crate) async fn play(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    shared.write(|world| {
        let id = find(world, &project, &id)?.id;
        if !world.play(id) {
            return Err(ApiError::bad_request("Unplayable Job"));
        }
        let job = world.jobs.get(&id).ok_or_else(|| ApiError::not_found("Job"))?;
        Ok(Json(job_json(world, job, shared.external_url())))
    })
}

/// `POST /projects/:id/jobs/:job_id/erase`: forgets log and artifacts of a finished job.
pub(crate) async fn erase(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    shared.write(|world| {
        let job = find(world, &project, &id)?;
        if !job.status.is_finished() || job.erased_at.is_some() {
            return Err(ApiError::forbidden_because("Job is not erasable!"));
        }
        let (id, now) = (job.id, world.now());
        if let Some(job) = world.jobs.get_mut(&id) {
            for artifact in job.artifacts.drain(..) {
                // The folder goes with the server anyway.
                let _ = std::fs::remove_file(&artifact.path);
            }
            job.trace = Trace::default();
            job.erased_at = Some(now);
        }
        created(world, &shared, id)
    })
}

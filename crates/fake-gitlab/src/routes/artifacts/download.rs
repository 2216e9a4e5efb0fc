//! `GET /jobs/:id/artifacts` with the token of a running job (GitLab runner API: download, server
//! rules).

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use crate::api_error::ApiError;
use crate::job::{Artifact, JobStatus};
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::shared::Shared;
use crate::state::World;

use super::super::job_auth::{count_call, job_token};

/// Bytes of a file that are sent at once.
const CHUNK: usize = 64 << 10;

pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::from_query(query.as_deref());
    let token = job_token(&params, &headers);
    let (archive, is_remote) = shared.write(|world| {
        count_call(world, Bucket::JobCall, token.as_deref())?;
        Ok((find_archive(world, &id, token.as_deref())?.clone(), world.settings.object_storage))
    })?;
    let name = archive.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if is_remote && params.flag("direct_download")?.unwrap_or(false) {
        return Ok((StatusCode::FOUND, [(header::LOCATION, shared.storage_url("artifacts", name))]).into_response());
    }
    send_file(&archive.path, "ci_build_artifacts.zip").await
}

fn find_archive<'a>(world: &'a World, id: &str, token: Option<&str>) -> Result<&'a Artifact, ApiError> {
    let asking = world
        .jobs
        .values()
        .find(|job| token == Some(job.token.as_str()) && job.status == JobStatus::Running)
        .ok_or_else(ApiError::unauthorized)?;
    let job = id.parse().ok().and_then(|id: u64| world.jobs.get(&id)).ok_or_else(ApiError::forbidden)?;
    let project = world.projects.get(&job.project).ok_or_else(ApiError::forbidden)?;
    if asking.project != project.id && !project.job_token_allowlist.contains(&asking.project) {
        return Err(ApiError::forbidden());
    }
    job.archive(world.now()).ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Not Found"))
}

/// A file as a download of this name.
pub(in crate::routes) async fn send_file(path: &FilePath, name: &str) -> Result<Response, ApiError> {
    let file = tokio::fs::File::open(path).await.map_err(ApiError::internal)?;
    let size = file.metadata().await.map_err(ApiError::internal)?.len();
    Ok((
        [
            (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
            ("content-transfer-encoding", "binary".to_owned()),
            (header::CONTENT_LENGTH.as_str(), size.to_string()),
            (header::CONTENT_DISPOSITION.as_str(), format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}")),
        ],
        Body::from_stream(ReaderStream::with_capacity(file, CHUNK)),
    )
        .into_response())
}

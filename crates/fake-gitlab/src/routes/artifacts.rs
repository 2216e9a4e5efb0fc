//! Artifact files: upload by the job that made them, download by the jobs that need them (GitLab
//! runner API: artifacts).

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::api_error::{ApiError, plain_status};
use crate::artifact_types::{format_fits, is_type};
use crate::dotenv;
use crate::duration::parse_seconds;
use crate::job::{Artifact, JobStatus};
use crate::params::Params;
use crate::shared::Shared;
use crate::state::World;

use super::jobs::{authenticate, job_token};

/// Bytes of a file that are sent at once.
const CHUNK: usize = 64 << 10;

/// `POST /jobs/:id/artifacts`: one multipart field `file`; type, format and lifetime as query
/// parameters or as fields before the file.
pub(crate) async fn upload(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let mut params = Params::from_query(query.as_deref());
    // The body is kept apart from its reader: what a refusal leaves unread is read away, so that
    // the client gets to see the answer.
    let (parts, body) = request.into_parts();
    let body = Arc::new(tokio::sync::Mutex::new(body.into_data_stream()));
    let read = Body::from_stream(futures::stream::unfold(Arc::clone(&body), async |body| {
        let chunk = body.lock().await.next().await?;
        Some((chunk, body))
    }));
    let result = match Multipart::from_request(Request::from_parts(parts, read), &()).await {
        Err(_) => Err(ApiError::bad_request("file is missing")),
        Ok(form) => store(&shared, &id, &headers, &mut params, form).await,
    };
    let mut rest = body.lock().await;
    while let Some(Ok(_)) = rest.next().await {}
    result
}

async fn store(
    shared: &Shared,
    id: &str,
    headers: &HeaderMap,
    params: &mut Params,
    mut form: Multipart,
) -> Result<Response, ApiError> {
    let refused = |problem: axum::extract::multipart::MultipartError| {
        ApiError::message(problem.status(), format!("400 Bad request - {problem}"))
    };
    let mut received = None;
    while let Some(field) = form.next_field().await.map_err(refused)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" && received.is_none() {
            let token = job_token(params, headers);
            shared.read(|world| authenticate(world, id, token.as_deref()).map(drop))?;
            received = Some(receive(shared, field).await?);
        } else {
            params.set(&name, field.text().await.map_err(refused)?);
        }
    }
    let token = job_token(params, headers);
    let job = shared.read(|world| authenticate(world, id, token.as_deref()).map(|job| job.id))?;
    let Some(received) = received else {
        return Err(ApiError::bad_request("Missing artifacts file!"));
    };
    let file_type = params.text("artifact_type").unwrap_or_else(|| "archive".to_owned());
    let file_format = params.text("artifact_format").unwrap_or_else(|| "zip".to_owned());
    if !is_type(&file_type) {
        return Err(ApiError::parameter("artifact_type does not have a valid value"));
    }
    if !format_fits(&file_type, &file_format) {
        return Err(ApiError::bad_request(&format!(
            "Invalid file format with specified file type: `{file_type}` is not stored as `{file_format}`"
        )));
    }
    let variables = match file_type.as_str() {
        "dotenv" => dotenv::read(&received.path).map_err(|problem| ApiError::bad_request(&problem))?,
        _ => Vec::new(),
    };
    let expires_at = expiry(params.text("expire_in").as_deref())?;
    shared.write(|world| {
        // Checked again: the job may have ended while its file came in.
        authenticate(world, id, token.as_deref())?;
        let job = world.jobs.get_mut(&job).ok_or_else(ApiError::forbidden)?;
        if let Some(old) = job.artifacts.iter().find(|old| old.file_type == file_type) {
            if old.sha256 == received.sha256 {
                return Ok(plain_status(StatusCode::CREATED));
            }
            return Err(ApiError::bad_request("another artifact of the same type already exists"));
        }
        let artifact = Artifact {
            file_type,
            file_format,
            filename: received.filename,
            size: received.size,
            sha256: received.sha256,
            path: received.path.keep().map_err(ApiError::internal)?,
            expires_at,
        };
        job.dotenv.extend(variables);
        job.artifacts.push(artifact);
        Ok(plain_status(StatusCode::CREATED))
    })
}

/// When a file given with this `expire_in` counts as gone; none for never.
fn expiry(expire_in: Option<&str>) -> Result<Option<SystemTime>, ApiError> {
    match expire_in {
        None | Some("" | "never") => Ok(None),
        Some(text) => {
            let seconds = parse_seconds(text).ok_or_else(|| ApiError::bad_request("expire_in is no duration"))?;
            Ok(SystemTime::now().checked_add(Duration::from_secs(seconds)))
        }
    }
}

/// A file that came in; removed again unless kept.
struct Received {
    path: TempPath,
    filename: String,
    size: u64,
    sha256: String,
}

/// Streams one form field to a file of its own.
async fn receive(shared: &Shared, mut field: Field<'_>) -> Result<Received, ApiError> {
    let folder = shared.scratch.join("artifacts");
    std::fs::create_dir_all(&folder).map_err(ApiError::internal)?;
    let (file, path) = tempfile::NamedTempFile::new_in(&folder).map_err(ApiError::internal)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0;
    let mut digest = Sha256::new();
    loop {
        let chunk = match field.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(problem) => return Err(ApiError::bad_request(&problem.body_text())),
        };
        size += chunk.len() as u64;
        if size > shared.settings.artifact_limit {
            return Err(ApiError::message(
                StatusCode::PAYLOAD_TOO_LARGE,
                "413 Request Entity Too Large - file size has reached maximum size limit",
            ));
        }
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(ApiError::internal)?;
    }
    file.flush().await.map_err(ApiError::internal)?;
    let filename = field.file_name().and_then(|name| name.rsplit('/').next());
    Ok(Received {
        path,
        filename: filename.filter(|name| !name.is_empty()).unwrap_or("artifacts.zip").to_owned(),
        size,
        sha256: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// `GET /jobs/:id/artifacts` with the token of a running job.
pub(crate) async fn download(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::from_query(query.as_deref());
    let token = job_token(&params, &headers);
    let path = shared.read(|world| find_archive(world, &id, token.as_deref()))?;
    send_archive(&path).await
}

fn find_archive(world: &World, id: &str, token: Option<&str>) -> Result<PathBuf, ApiError> {
    let asking = world
        .jobs
        .values()
        .find(|job| token == Some(job.token.as_str()) && job.status == JobStatus::Running)
        .ok_or_else(ApiError::unauthorized)?;
    let job = id
        .parse()
        .ok()
        .and_then(|id: u64| world.jobs.get(&id))
        .filter(|job| job.project == asking.project)
        .ok_or_else(ApiError::forbidden)?;
    job.archive()
        .map(|archive| archive.path.clone())
        .ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "404 Not Found"))
}

/// An archive as a download.
pub(super) async fn send_archive(path: &FilePath) -> Result<Response, ApiError> {
    let file = tokio::fs::File::open(path).await.map_err(ApiError::internal)?;
    let size = file.metadata().await.map_err(ApiError::internal)?.len();
    Ok((
        [
            (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
            ("content-transfer-encoding", "binary".to_owned()),
            (header::CONTENT_LENGTH.as_str(), size.to_string()),
            (
                header::CONTENT_DISPOSITION.as_str(),
                "attachment; filename=\"ci_build_artifacts.zip\"; filename*=UTF-8''ci_build_artifacts.zip".to_owned(),
            ),
        ],
        Body::from_stream(ReaderStream::with_capacity(file, CHUNK)),
    )
        .into_response())
}

/// `POST /jobs/:id/artifacts/authorize`: for GitLab's own proxy, which there is none of here.
pub(crate) async fn authorize() -> ApiError {
    ApiError::forbidden()
}

/// The routes; uploads have a limit of their own, see [`receive`].
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/jobs/{id}/artifacts", axum::routing::post(upload).get(download))
        .route("/jobs/{id}/artifacts/authorize", axum::routing::post(authorize))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

//! `POST /jobs/:id/artifacts` (GitLab runner API: upload, server rules).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::StreamExt;

use crate::api_error::{ApiError, plain_status};
use crate::artifact_types::{format_fits, is_type};
use crate::dotenv;
use crate::duration::parse_seconds;
use crate::job::Artifact;
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::state::World;

use super::super::job_auth::{authenticate, count_call, job_token};
use super::receive::{Received, receive, too_large};
use super::workhorse;

/// One multipart field `file`; type, format and lifetime as query parameters or as fields before
/// the file.
pub(super) async fn upload(
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
    let upload = Upload { shared: &shared, id: &id, headers: &headers };
    let result = match upload.admit(&params) {
        Err(refusal) => Err(refusal),
        Ok(()) => match Multipart::from_request(Request::from_parts(parts, read), &()).await {
            Err(_) => Err(no_file()),
            Ok(form) => upload.take(&mut params, form).await,
        },
    };
    let mut rest = body.lock().await;
    while let Some(Ok(_)) = rest.next().await {}
    result
}

fn no_file() -> ApiError {
    ApiError::bad_request("Missing artifacts file!")
}

/// What kind of file it is said to be.
pub(super) struct Kind {
    pub(super) file_type: String,
    pub(super) file_format: String,
}

impl Kind {
    pub(super) fn read(params: &Params) -> Self {
        let text = |name, default: &str| params.text(name).unwrap_or_else(|| default.to_owned());
        Self { file_type: text("artifact_type", "archive"), file_format: text("artifact_format", "zip") }
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        if !is_type(&self.file_type) {
            return Err(ApiError::parameter("artifact_type does not have a valid value"));
        }
        match format_fits(&self.file_type, &self.file_format) {
            true => Ok(()),
            false => Err(ApiError::bad_request(&format!(
                "Invalid file format with specified file type: `{}` is not stored as `{}`",
                self.file_type, self.file_format
            ))),
        }
    }
}

/// The bytes that a file of a type of this job may have.
pub(super) fn limit(world: &World, job: u64, file_type: &str) -> u64 {
    let project = world.jobs.get(&job).map_or("", |job| world.project_path(job.project));
    world.settings.artifact_limit(project, file_type)
}

struct Upload<'a> {
    shared: &'a Shared,
    id: &'a str,
    headers: &'a HeaderMap,
}

impl Upload<'_> {
    /// What can be said before the body is read.
    fn admit(&self, params: &Params) -> Result<(), ApiError> {
        let token = job_token(params, self.headers);
        self.shared.write(|world| {
            if !world.settings.artifacts_enabled {
                return Err(ApiError::message(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"));
            }
            count_call(world, Bucket::JobCall, token.as_deref())?;
            match world.settings.artifact_storage_down {
                true => Err(ApiError::message(StatusCode::SERVICE_UNAVAILABLE, "503 Service Unavailable")),
                false => Ok(()),
            }
        })
    }

    /// The job that uploads, if it may.
    fn job(&self, params: &Params) -> Result<u64, ApiError> {
        let token = job_token(params, self.headers);
        self.shared.read(|world| authenticate(world, self.id, token.as_deref()).map(|job| job.id))
    }

    async fn take(&self, params: &mut Params, mut form: Multipart) -> Result<Response, ApiError> {
        let refused =
            |problem: MultipartError| ApiError::message(problem.status(), format!("400 Bad request - {problem}"));
        let secret = self.shared.read(|world| world.settings.workhorse_secret.clone());
        let mut received = None;
        while let Some(field) = form.next_field().await.map_err(refused)? {
            let name = field.name().unwrap_or_default().to_owned();
            if name == "file" && received.is_none() && secret.is_none() {
                let job = self.job(params)?;
                let limit = self.shared.read(|world| limit(world, job, &Kind::read(params).file_type));
                received = Some(receive(self.shared, field, limit).await?);
            } else {
                params.set(&name, field.text().await.map_err(refused)?);
            }
        }
        let job = self.job(params)?;
        if let Some(secret) = secret {
            received = workhorse::received(self.shared, params, self.headers, &secret)?;
        }
        let received = received.ok_or_else(no_file)?;
        let kind = Kind::read(params);
        if received.size > self.shared.read(|world| limit(world, job, &kind.file_type)) {
            return Err(too_large());
        }
        kind.check()?;
        self.store(params, kind, received)
    }

    fn store(&self, params: &Params, kind: Kind, received: Received) -> Result<Response, ApiError> {
        let variables = match kind.file_type.as_str() {
            "dotenv" => dotenv::read(&received.path).map_err(|problem| ApiError::bad_request(&problem))?,
            _ => Vec::new(),
        };
        let given = params.text("accessibility");
        if given.as_deref().is_some_and(|given| !["public", "private", "none"].contains(&given)) {
            return Err(ApiError::parameter("accessibility does not have a valid value"));
        }
        let token = job_token(params, self.headers);
        self.shared.write(|world| {
            // Checked again: the job may have ended while its file came in.
            let job = authenticate(world, self.id, token.as_deref())?.id;
            let expires_at = expiry(&world.settings, params.text("expire_in").as_deref(), world.now())?;
            let job = world.jobs.get_mut(&job).ok_or_else(ApiError::forbidden)?;
            if let Some(old) = job.artifacts.iter().find(|old| old.file_type == kind.file_type) {
                if old.sha256 == received.sha256 {
                    return Ok(plain_status(StatusCode::CREATED));
                }
                return Err(ApiError::bad_request("another artifact of the same type already exists"));
            }
            let accessibility = given.as_deref().or(job.plan.artifact_access).unwrap_or("public").to_owned();
            let artifact = Artifact {
                file_type: kind.file_type,
                file_format: kind.file_format,
                filename: received.filename,
                size: received.size,
                sha256: received.sha256,
                accessibility,
                path: received.path.keep().map_err(ApiError::internal)?,
                expires_at,
            };
            job.dotenv.extend(variables);
            job.artifacts.push(artifact);
            Ok(plain_status(StatusCode::CREATED))
        })
    }
}

/// When a file given with this `expire_in` counts as gone; none for never.
fn expiry(settings: &Settings, given: Option<&str>, now: SystemTime) -> Result<Option<SystemTime>, ApiError> {
    let (text, is_own) = match given {
        None | Some("") => (settings.default_artifacts_expire_in.as_str(), false),
        Some(own) => (own, true),
    };
    if text == "never" {
        return Ok(None);
    }
    match parse_seconds(text) {
        Some(0) if !is_own => Ok(None),
        Some(seconds) => Ok(now.checked_add(Duration::from_secs(seconds))),
        None => Err(ApiError::bad_request("expire_in is no duration")),
    }
}

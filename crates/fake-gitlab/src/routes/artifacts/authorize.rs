//! `POST /jobs/:id/artifacts/authorize`: Workhorse asks where to put an upload (GitLab runner API:
//! upload, Workhorse part). Nobody else may.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::shared::Shared;
use crate::token;

use super::super::job_auth::{authenticate, count_call, job_token};
use super::receive::too_large;
use super::upload::{Kind, limit};
use super::workhorse;

/// Bytes of one part of a large upload.
const PART: u64 = 100 << 20;

pub(super) async fn authorize(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let settings = shared.read(|world| world.settings.clone());
    if !settings.artifacts_enabled {
        return Err(ApiError::message(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"));
    }
    let secret = settings.workhorse_secret.as_deref().ok_or_else(ApiError::forbidden)?;
    workhorse::check(&shared, &headers, secret)?;
    let token = job_token(&params, &headers);
    let kind = Kind::read(&params);
    let limit = shared.write(|world| {
        count_call(world, Bucket::JobCall, token.as_deref())?;
        let job = authenticate(world, &id, token.as_deref())?.id;
        Ok(limit(world, job, &kind.file_type))
    })?;
    if params.integer("filesize")?.is_some_and(|size| u64::try_from(size).is_ok_and(|size| size > limit)) {
        return Err(too_large());
    }
    let folder = shared.upload_folder();
    std::fs::create_dir_all(&folder).map_err(ApiError::internal)?;
    let mut answer = json!({ "MaximumSize": limit });
    if settings.object_storage {
        answer["RemoteObject"] = remote_object(&shared)?;
    } else {
        answer["TempPath"] = json!(folder);
    }
    if kind.file_type == "lsif" {
        answer["ProcessLsif"] = json!(true);
    }
    Ok(([(header::CONTENT_TYPE, "application/vnd.gitlab-workhorse+json")], Json(answer)).into_response())
}

/// Addresses of an object that is yet to be stored.
fn remote_object(shared: &Shared) -> Result<Value, ApiError> {
    let id = token::hex().map_err(ApiError::internal)?;
    let url = shared.storage_url("uploads", &id);
    Ok(json!({
        "ID": id,
        "GetURL": url,
        "StoreURL": url,
        "DeleteURL": url,
        "CustomPutHeaders": true,
        "PutHeaders": {},
        "SkipDelete": true,
        "MultipartUpload": { "PartSize": PART, "PartURLs": [url], "CompleteURL": url, "AbortURL": url },
    }))
}

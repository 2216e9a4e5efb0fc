//! What GitLab's own proxy says about a request that it passes on: that it did, and where it put
//! the uploaded file. Every word of it is signed.

use std::path::Path;

use axum::http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempPath;

use crate::api_error::ApiError;
use crate::jwt;
use crate::params::Params;
use crate::shared::Shared;

use super::receive::{Received, hex};

const API_REQUEST: &str = "gitlab-workhorse-api-request";
const MULTIPART_FIELDS: &str = "gitlab-workhorse-multipart-fields";
/// The name of the form field that describes the file.
const DESCRIPTION: &str = "file.gitlab-workhorse-upload";

fn claims(shared: &Shared, token: &str, secret: &str) -> Option<Value> {
    let now = shared.read(crate::state::World::now);
    jwt::verified(token, secret, now).filter(|claims| claims["iss"] == "gitlab-workhorse")
}

/// Refuses a request that did not come by way of Workhorse.
pub(super) fn check(shared: &Shared, headers: &HeaderMap, secret: &str) -> Result<(), ApiError> {
    let token = headers.get(API_REQUEST).and_then(|value| value.to_str().ok());
    token.and_then(|token| claims(shared, token, secret)).map(drop).ok_or_else(ApiError::forbidden)
}

/// The file that Workhorse has put somewhere, if the form had one.
pub(super) fn received(
    shared: &Shared,
    params: &Params,
    headers: &HeaderMap,
    secret: &str,
) -> Result<Option<Received>, ApiError> {
    check(shared, headers, secret)?;
    let bad = || ApiError::bad_request("Bad Request");
    let fields = headers.get(MULTIPART_FIELDS).and_then(|value| value.to_str().ok()).ok_or_else(bad)?;
    let fields = claims(shared, fields, secret).ok_or_else(ApiError::forbidden)?;
    if fields["rewritten_fields"].get("file").is_none() {
        // Only Workhorse may speak of files; a client that does so itself wants to be served one.
        return match params.names().any(|name| name.starts_with("file.")) {
            true => Err(bad()),
            false => Ok(None),
        };
    }
    let description = params.text(DESCRIPTION).and_then(|token| claims(shared, &token, secret)).ok_or_else(bad)?;
    let upload = &description["upload"];
    let text = |name: &str| upload[name].as_str().filter(|text| !text.is_empty());
    let path = match text("remote_id") {
        Some(id) => {
            let path = shared.upload_folder().join(file_name(id).ok_or_else(bad)?);
            if !path.is_file() {
                return Err(ApiError::missing_file());
            }
            path
        }
        None => {
            let path = Path::new(text("path").ok_or_else(bad)?);
            let name = path.file_name().ok_or_else(bad)?;
            let expected = shared.upload_folder().join(name);
            if path != expected || !expected.is_file() {
                return Err(bad());
            }
            expected
        }
    };
    let content = std::fs::read(&path).map_err(ApiError::internal)?;
    let target = shared.artifact_folder().join(path.file_name().ok_or_else(bad)?);
    std::fs::create_dir_all(shared.artifact_folder()).map_err(ApiError::internal)?;
    std::fs::rename(&path, &target).map_err(ApiError::internal)?;
    Ok(Some(Received {
        path: TempPath::try_from_path(target).map_err(ApiError::internal)?,
        filename: text("name").and_then(file_name).unwrap_or("artifacts.zip").to_owned(),
        size: content.len() as u64,
        sha256: hex(&Sha256::digest(&content)),
    }))
}

/// A name without folders.
fn file_name(text: &str) -> Option<&str> {
    Path::new(text).file_name()?.to_str()
}

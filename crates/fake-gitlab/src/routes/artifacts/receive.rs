//! A file on its way in.

use axum::extract::multipart::Field;
use axum::http::StatusCode;
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

use crate::api_error::ApiError;
use crate::shared::Shared;

/// A file that came in; removed again unless kept.
pub(super) struct Received {
    pub(super) path: TempPath,
    pub(super) filename: String,
    pub(super) size: u64,
    pub(super) sha256: String,
}

/// 413, also for what is only announced.
pub(super) fn too_large() -> ApiError {
    ApiError::message(
        StatusCode::PAYLOAD_TOO_LARGE,
        "413 Request Entity Too Large - file size has reached maximum size limit",
    )
}

/// Streams one form field of at most `limit` bytes to a file of its own.
pub(super) async fn receive(shared: &Shared, mut field: Field<'_>, limit: u64) -> Result<Received, ApiError> {
    let folder = shared.artifact_folder();
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
        if size > limit {
            return Err(too_large());
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
        sha256: hex(&digest.finalize()),
    })
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

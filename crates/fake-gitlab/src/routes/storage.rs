//! The object storage beside GitLab, on an address of its own: what is signed for may be read,
//! written and deleted; everything else is refused as S3 refuses it.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::params::Params;
use crate::shared::Shared;

/// Bytes of a file that are sent at once.
const CHUNK: usize = 64 << 10;

/// The routes of the storage. Uploads are of any size: GitLab has checked it before.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/{bucket}/{key}", get(read).put(write).post(complete).delete(delete))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

/// An error in S3's shape.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n"
    );
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

fn broken(problem: &std::io::Error) -> Response {
    match problem.kind() {
        std::io::ErrorKind::NotFound => {
            refusal(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
        }
        _ => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &problem.to_string()),
    }
}

/// Where an object lies, if the request is signed.
fn find(shared: &Shared, bucket: &str, key: &str, query: Option<&str>) -> Result<PathBuf, Box<Response>> {
    let signature = Params::from_query(query).text("X-Amz-Signature");
    if signature != Some(shared.storage_signature(bucket, key)) {
        return Err(Box::new(refusal(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )));
    }
    // A signed name is one that was made here, and no path.
    Ok(shared.scratch.join(bucket).join(key))
}

async fn read(
    State(shared): State<Arc<Shared>>,
    Path((bucket, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let path = match find(&shared, &bucket, &key, query.as_deref()) {
        Ok(path) => path,
        Err(refusal) => return *refusal,
    };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    send(path, range).await.unwrap_or_else(|problem| broken(&problem))
}

async fn send(path: PathBuf, range: Option<&str>) -> std::io::Result<Response> {
    let mut file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    let whole = [(header::CONTENT_TYPE, "application/octet-stream"), (header::ACCEPT_RANGES, "bytes")];
    let Some((first, last)) = range.and_then(|text| parse_range(text, size)) else {
        let body = Body::from_stream(ReaderStream::with_capacity(file, CHUNK));
        return Ok((whole, [(header::CONTENT_LENGTH, size.to_string())], body).into_response());
    };
    if first >= size {
        let out_of_range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, out_of_range).into_response());
    }
    let last = last.min(size - 1);
    file.seek(SeekFrom::Start(first)).await?;
    let part = file.take(last - first + 1);
    Ok((
        StatusCode::PARTIAL_CONTENT,
        whole,
        [
            (header::CONTENT_LENGTH, (last - first + 1).to_string()),
            (header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
        ],
        Body::from_stream(ReaderStream::with_capacity(part, CHUNK)),
    )
        .into_response())
}

/// First and last byte of `bytes=A-B`, `bytes=A-` or `bytes=-N`; none for what is no single range.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some((size.saturating_sub(count), size.saturating_sub(1)));
    }
    let first = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    (first <= last).then_some((first, last))
}

async fn write(
    State(shared): State<Arc<Shared>>,
    Path((bucket, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let path = match find(&shared, &bucket, &key, query.as_deref()) {
        Ok(path) => path,
        Err(refusal) => return *refusal,
    };
    match store(path, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(problem) => broken(&problem),
    }
}

async fn store(path: PathBuf, request: Request) -> std::io::Result<()> {
    let mut file = tokio::fs::File::create(path).await?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        file.write_all(&chunk.map_err(std::io::Error::other)?).await?;
    }
    file.flush().await
}

/// The end of an upload in parts, of which there is only one.
async fn complete(
    State(shared): State<Arc<Shared>>,
    Path((bucket, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    match find(&shared, &bucket, &key, query.as_deref()) {
        Ok(path) if path.is_file() => {
            let body = format!("<CompleteMultipartUploadResult><Key>{key}</Key></CompleteMultipartUploadResult>\n");
            ([(header::CONTENT_TYPE, "application/xml")], body).into_response()
        }
        Ok(_) => refusal(StatusCode::NOT_FOUND, "NoSuchUpload", "The specified upload does not exist."),
        Err(refusal) => *refusal,
    }
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Path((bucket, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let path = match find(&shared, &bucket, &key, query.as_deref()) {
        Ok(path) => path,
        Err(refusal) => return *refusal,
    };
    match tokio::fs::remove_file(path).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => broken(&problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_byte_ranges_are_understood() {
        for (text, range) in [
            ("bytes=0-0", Some((0, 0))),
            ("bytes=5-", Some((5, u64::MAX))),
            ("bytes=-3", Some((7, 9))),
            ("bytes=0-1,4-5", None),
            ("bytes=5-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse_range(text, 10), range, "{text}");
        }
    }
}

//! Git over smart HTTP: `git http-backend` as a CGI program over the bare copies.
//!
//! Nothing is buffered: the request body flows into the program while its answer flows out. Reads
//! only; pushing is refused by the copies' settings.

use std::process::Stdio;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio_util::io::ReaderStream;

use crate::api_error::ApiError;
use crate::git;
use crate::shared::Shared;
use crate::state::World;

/// Bytes that are passed on at once.
const CHUNK: usize = 64 << 10;

/// What Git asks for below a repository's address.
const ENDPOINTS: [&str; 3] = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];

/// Splits `/group/name.git/info/refs` into `group/name` and `/info/refs`.
fn split(path: &str) -> Option<(&str, &'static str)> {
    ENDPOINTS.iter().find_map(|endpoint| {
        let repository = path.strip_suffix(endpoint)?.trim_start_matches('/');
        Some((repository.strip_suffix(".git").unwrap_or(repository), *endpoint))
    })
}

/// Everything that is no other route: a repository, or nothing.
pub(crate) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Some((project, endpoint)) = split(&path) else {
        return ApiError::no_route(StatusCode::NOT_FOUND).into_response();
    };
    if !shared.read(|world| is_welcome(world, request.headers())) {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"GitLab\"")],
            "HTTP Basic: Access denied. The provided password or token is incorrect or your account has 2FA enabled and you must use a personal access token instead of a password.\n",
        )
            .into_response();
    }
    let mirror = shared.read(|world| world.project_by_path(project)?.mirror.clone());
    let Some(mirror) = mirror else {
        return (
            StatusCode::NOT_FOUND,
            "The project you were looking for could not be found or you don't have permission to view it.\n",
        )
            .into_response();
    };
    run_backend(&mirror, endpoint, request).await.unwrap_or_else(|problem| ApiError::internal(problem).into_response())
}

/// Basic authentication: any user with the token of a running job, or the private token, as the
/// password.
fn is_welcome(world: &World, headers: &HeaderMap) -> bool {
    let Some(password) = password(headers) else { return false };
    password == world.private_token || world.jobs.values().any(|job| job.token == password && job.status.is_executing())
}

fn password(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

async fn run_backend(mirror: &std::path::Path, endpoint: &str, request: Request) -> std::io::Result<Response> {
    let (parts, body) = request.into_parts();
    let mut command = git::command();
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", mirror)
        .env("PATH_INFO", endpoint)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REMOTE_USER", "gitlab-ci-token")
        .env("REMOTE_ADDR", "127.0.0.1");
    for (name, variable) in [
        (header::CONTENT_TYPE, "CONTENT_TYPE"),
        (header::CONTENT_LENGTH, "CONTENT_LENGTH"),
        (header::CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "GIT_PROTOCOL"),
    ] {
        if let Some(value) = parts.headers.get(name).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            let mut body = body.into_data_stream();
            while let Some(Ok(chunk)) = body.next().await {
                // Git ends early when it has read all it needs.
                if stdin.write_all(&chunk).await.is_err() {
                    break;
                }
            }
        });
    }
    if let Some(mut stderr) = child.stderr.take() {
        tokio::spawn(async move {
            let mut text = String::new();
            if stderr.read_to_string(&mut text).await.is_ok() && !text.is_empty() {
                tracing::debug!("git http-backend: {}", text.trim());
            }
        });
    }
    let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("git http-backend has no stdout"))?;
    read_answer(BufReader::with_capacity(CHUNK, stdout), child).await
}

/// Turns a CGI answer into an HTTP one: header lines, an empty line, the body.
async fn read_answer(mut stdout: BufReader<ChildStdout>, child: Child) -> std::io::Result<Response> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("git http-backend gave no answer"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            status = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    // The program lives as long as its answer is being read, and is killed if the client goes.
    let chunks =
        futures::stream::unfold((ReaderStream::with_capacity(stdout, CHUNK), child), async |(mut out, child)| {
            let chunk = out.next().await?;
            Some((chunk, (out, child)))
        });
    Ok((status, headers, Body::from_stream(chunks)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_repositories_are_recognised_with_and_without_git() {
        for (path, expected) in [
            ("/group/a.git/info/refs", Some(("group/a", "/info/refs"))),
            ("/g/s/a/git-upload-pack", Some(("g/s/a", "/git-upload-pack"))),
            ("/group/a.git/HEAD", None),
            ("/", None),
        ] {
            assert_eq!(split(path), expected, "{path}");
        }
    }
}

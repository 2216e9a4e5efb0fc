//! What happens to every request before it is served: recorded, checked, struck by faults.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use futures::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::cluster::Cluster;
use crate::fault::Act;
use crate::record;
use crate::status::ApiError;

pub(super) async fn guard(State(cluster): State<Arc<Cluster>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if path.starts_with("/-/fake/") {
        return if authorized(&cluster, request.headers()) {
            next.run(request).await
        } else {
            ApiError::unauthorized().into_response()
        };
    }
    let method = request.method().to_string();
    let number = cluster.record.arrived(record::Request {
        method: method.clone(),
        path: path.clone(),
        query: query.clone(),
        status: 0,
        at: clock::now_nanos(),
        agent: header(request.headers(), USER_AGENT.as_str()),
    });
    let act = cluster.faults.strike(&method, &path, &query);
    let response = match act {
        Some(act) => strike(&cluster, act, request, next).await,
        None => serve(&cluster, request, next).await,
    };
    cluster.record.answered(number, response.status().as_u16());
    response
}

async fn serve(cluster: &Cluster, request: Request, next: Next) -> Response {
    if authorized(cluster, request.headers()) {
        next.run(request).await
    } else {
        ApiError::unauthorized().into_response()
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// A wrong token is refused. No token at all is let in: client-go, and so kubectl, never sends one
/// over plain HTTP.
fn authorized(cluster: &Cluster, headers: &HeaderMap) -> bool {
    match header(headers, AUTHORIZATION.as_str()).as_str() {
        "" => true,
        given => given.strip_prefix("Bearer ") == Some(&cluster.token),
    }
}

async fn strike(cluster: &Cluster, act: Act, request: Request, next: Next) -> Response {
    match act {
        Act::Answer { code, retry_after, message } => ApiError::injected(code, &message, retry_after).into_response(),
        Act::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            serve(cluster, request, next).await
        }
        Act::Cut { bytes, ms, clean } => {
            let response = serve(cluster, request, next).await;
            cut(response, bytes.unwrap_or(u64::MAX), ms.map(Duration::from_millis), clean)
        }
        Act::Drop {} => close_connection(),
        Act::LoseAnswer {} => {
            let response = serve(cluster, request, next).await;
            drop(response);
            close_connection()
        }
        Act::Expire {} => {
            let gone = json!({"type": "ERROR", "object": ApiError::injected(410, "", None).to_status()});
            ([(CONTENT_TYPE, "application/json")], format!("{gone}\n")).into_response()
        }
        Act::Html { code } => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
            (code, Html(format!("<html><body><h1>{code}</h1></body></html>\n"))).into_response()
        }
    }
}

/// Ends the connection's task, and with it the connection, without a word to the client. The unwinding
/// stops at the task; the panic hook is not run.
fn close_connection() -> ! {
    resume_unwind(Box::new("connection dropped by a fault"))
}

/// Lets the body break off after so many bytes or so long.
fn cut(response: Response, bytes: u64, after: Option<Duration>, clean: bool) -> Response {
    struct Left {
        body: axum::body::BodyDataStream,
        bytes: u64,
        until: Option<Instant>,
        done: bool,
    }
    let (parts, body) = response.into_parts();
    let left =
        Left { body: body.into_data_stream(), bytes, until: after.map(|after| Instant::now() + after), done: false };
    let stream = futures::stream::unfold(left, move |mut left| async move {
        if left.done {
            return None;
        }
        let broken = || (!clean).then(|| Err(io::Error::other("cut by a fault")));
        let part = tokio::select! {
            biased;
            () = until(left.until) => None,
            () = std::future::ready(()), if left.bytes == 0 => None,
            part = left.body.next() => Some(part?),
        };
        let mut part = match part {
            Some(Ok(part)) => part,
            Some(Err(error)) => return Some((Err(io::Error::other(error)), left)),
            None => {
                left.done = true;
                // Gives the server a turn to send what it has, or head and bytes would break off, too.
                tokio::task::yield_now().await;
                return broken().map(|error| (error, left));
            }
        };
        part.truncate(usize::try_from(left.bytes).unwrap_or(usize::MAX));
        left.bytes -= part.len() as u64;
        Some((Ok(part), left))
    });
    Response::from_parts(parts, Body::from_stream(stream))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

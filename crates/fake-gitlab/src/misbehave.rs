//! What a fault does to a request, around or instead of its route.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use futures::StreamExt;

use crate::faults::{Action, Cut};
use crate::job::Trace;
use crate::server::call;
use crate::shared::Shared;

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
pub(crate) struct ConnectionCut;

/// Does to a request what a fault says.
pub(crate) async fn misbehave(
    shared: &Shared,
    router: &mut Router,
    request: Request<Body>,
    path: &str,
    action: Action,
) -> Result<Response<Body>, ConnectionCut> {
    if action.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(action.delay_ms)).await;
    }
    if action.lose_trace {
        let id = path.split('/').find_map(|segment| segment.parse::<u64>().ok());
        shared.write(|world| {
            if let Some(job) = id.and_then(|id| world.jobs.get_mut(&id)) {
                job.trace = Trace::default();
            }
        });
    }
    if action.cut == Some(Cut::Before) {
        return Err(ConnectionCut);
    }
    if action.cut == Some(Cut::Request) {
        read_half(request).await;
        return Err(ConnectionCut);
    }
    let status = action.status.or(action.offset.map(|_| StatusCode::RANGE_NOT_SATISFIABLE.as_u16()));
    let mut response = match status {
        None => call(router, request).await,
        Some(status) => {
            // Read to the end, so that the client sees the answer and not a reset.
            let mut body = request.into_body().into_data_stream();
            while let Some(Ok(_)) = body.next().await {}
            let mut response = Response::new(Body::from(action.body.unwrap_or_default()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            response
        }
    };
    if action.cut == Some(Cut::After) {
        return Err(ConnectionCut);
    }
    for (name, value) in &action.headers {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                response.headers_mut().insert(name, value);
            }
            _ => tracing::warn!("fault header `{name}` is not a header"),
        }
    }
    if let Some(range) = action.offset.and_then(|length| HeaderValue::from_str(&format!("0-{length}")).ok()) {
        response.headers_mut().insert(header::RANGE, range);
    }
    Ok(match action.cut {
        Some(Cut::Response) => cut_in_half(response),
        _ => response,
    })
}

/// Reads half of what the request says is its body, or one piece of a body of unknown length.
async fn read_half(request: Request<Body>) {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let half = length.and_then(|text| text.parse::<usize>().ok()).map_or(1, |length| length / 2);
    let mut body = request.into_body().into_data_stream();
    let mut read = 0;
    while read < half {
        match body.next().await {
            Some(Ok(piece)) => read += piece.len(),
            _ => break,
        }
    }
}

/// The same answer, whose body breaks off in its first piece. An empty body is announced as one of
/// one byte, so that the client sees that it is missing.
fn cut_in_half(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let length = body.size_hint().exact().map(|length| length.max(1));
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let first = body.into_data_stream().take(1).map(|piece| piece.map(|piece| piece.slice(..piece.len() / 2)));
    // The half must be on its way before the connection breaks.
    let rest = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err(axum::Error::new(ConnectionCut))
    });
    Response::from_parts(parts, Body::from_stream(first.chain(rest)))
}

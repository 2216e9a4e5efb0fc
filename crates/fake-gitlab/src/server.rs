//! The socket side: accepts connections, records every request, lets faults happen.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::misbehave::{ConnectionCut, misbehave};
use crate::record::{Record, own_headers};
use crate::shared::Shared;
use crate::token;

/// JSON bodies up to this size are kept in the record.
const RECORDED_JSON: usize = 64 << 10;

const REQUEST_ID: &str = "x-request-id";

/// The address a request came from, as a request extension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves until told to stop; its connections end with it.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(converse(stream, tls.clone(), peer.ip(), router.clone(), Arc::clone(&shared)));
                }
                Err(problem) => {
                    tracing::warn!("accept: {problem}");
                    // Out of descriptors: accept would fail at once again until some are closed.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, peer: IpAddr, router: Router, shared: Arc<Shared>) {
    if let Err(problem) = stream.set_nodelay(true) {
        tracing::debug!("nodelay: {problem}");
    }
    let Some(tls) = tls else { return exchange(stream, peer, router, shared).await };
    match tls.accept(stream).await {
        Ok(stream) => exchange(stream, peer, router, shared).await,
        // That clients refuse the certificate is what a wrong one is for.
        Err(problem) => tracing::debug!("handshake with {peer}: {problem}"),
    }
}

async fn exchange<S>(stream: S, peer: IpAddr, router: Router, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| answer(request, peer, router.clone(), Arc::clone(&shared)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(problem) = served {
        tracing::debug!("connection from {peer}: {problem}");
    }
}

/// What of a body went by.
#[derive(Default)]
struct Seen {
    size: u64,
    kept: Vec<u8>,
}

async fn answer(
    request: Request<Incoming>,
    peer: IpAddr,
    mut router: Router,
    shared: Arc<Shared>,
) -> Result<Response<Body>, ConnectionCut> {
    let (at, began) = (SystemTime::now(), Instant::now());
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Peer(peer));
    let method = parts.method.to_string();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let headers = own_headers(&parts.headers);
    let is_json =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));

    let seen = Arc::new(Mutex::new(Seen::default()));
    let body = observed(Body::new(body), Arc::clone(&seen), is_json);
    let request = Request::from_parts(parts, body);
    let action = shared.faults.hit(&method, &path);
    let mut answered = match action {
        None => Ok(call(&mut router, request).await),
        Some(action) => misbehave(&shared, &mut router, request, &path, action).await,
    };
    if let Ok(response) = &mut answered {
        name_request(response, headers.get(REQUEST_ID));
    }

    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    shared.records.add(Record {
        at,
        method,
        path,
        query,
        headers,
        body_size: seen.size,
        json: serde_json::from_slice(&seen.kept).ok(),
        status: answered.as_ref().ok().map(|response| response.status().as_u16()),
        response_headers: answered.as_ref().map(|response| response.headers().clone()).unwrap_or_default(),
        took: began.elapsed(),
    });
    answered
}

/// Every answer carries the request's id, the client's own if it gave one.
fn name_request(response: &mut Response<Body>, given: Option<&HeaderValue>) {
    let id = given.cloned().or_else(|| HeaderValue::from_str(&token::hex().ok()?).ok());
    if let Some(id) = id {
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
    }
}

pub(crate) async fn call(router: &mut Router, request: Request<Body>) -> Response<Body> {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The same body, with its size counted and, for short JSON, its bytes kept.
fn observed(body: Body, seen: Arc<Mutex<Seen>>, keep: bool) -> Body {
    Body::from_stream(body.into_data_stream().inspect(move |chunk| {
        let Ok(chunk) = chunk else { return };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.size += chunk.len() as u64;
        if keep && seen.size <= RECORDED_JSON as u64 {
            seen.kept.extend_from_slice(chunk);
        }
    }))
}

//! The HTTP side of `listen_address`: `/metrics` and `/health/ready`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::metrics;

/// Connections at one time: a few scrapers, no more.
const CONNECTIONS: usize = 16;
/// How long a client may take for the head of its request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Port of an address without one.
const PORT: u16 = 9252;

/// Where the page is asked for; whoever holds the other end answers with it.
pub(crate) type Pages = mpsc::Receiver<oneshot::Sender<String>>;
type Asking = mpsc::Sender<oneshot::Sender<String>>;

/// Listens at `address` until the process ends. Without an address, or where it cannot be used, nobody will ask.
pub(crate) async fn listen(address: &str) -> Pages {
    let (asking, pages) = mpsc::channel(1);
    if address.is_empty() {
        return pages;
    }
    match TcpListener::bind(with_port(address)).await {
        Ok(listener) => {
            let at = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
            tracing::info!("metrics are served at http://{at}/metrics");
            tokio::spawn(serve(listener, asking));
        }
        // The jobs are worth more than their numbers.
        Err(err) => tracing::error!("`listen_address` {address}: {err}; metrics are not served"),
    }
    pages
}

/// `:9252`, `0.0.0.0`, `[::]:9252`, `host:9252`.
fn with_port(address: &str) -> String {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.to_owned())
        }
        _ => (address.trim_end_matches(':'), PORT.to_string()),
    };
    let host = if host.is_empty() { "[::]" } else { host };
    format!("{host}:{port}")
}

async fn serve(listener: TcpListener, asking: Asking) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asking = asking.clone();
                tokio::spawn(async move {
                    converse(stream, asking).await;
                    drop(place);
                });
            }
            Err(err) => {
                tracing::warn!("metrics: {err}");
                tokio::time::sleep(Duration::from_secs(1)).await; // out of descriptors: it would fail at once again
            }
        }
    }
}

async fn converse(stream: TcpStream, asking: Asking) {
    let service = service_fn(|request| answer(request, &asking));
    let mut connection = hyper::server::conn::http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(err) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("metrics: {err}");
    }
}

async fn answer(request: Request<Incoming>, asking: &Asking) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = "text/plain; charset=utf-8";
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match page(asking).await {
            Some(page) => (StatusCode::OK, metrics::TEXT, page),
            None => (StatusCode::SERVICE_UNAVAILABLE, plain, "stopping\n".to_owned()),
        },
        (&Method::GET | &Method::HEAD, "/health/ready") => (StatusCode::OK, plain, "ready\n".to_owned()),
        (_, "/metrics" | "/health/ready") => (StatusCode::METHOD_NOT_ALLOWED, plain, "only GET and HEAD\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, plain, "there are /metrics and /health/ready\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

async fn page(asking: &Asking) -> Option<String> {
    let (reply, page) = oneshot::channel();
    asking.send(reply).await.ok()?;
    page.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_usual_one() {
        for (address, expected) in [
            ("127.0.0.1:9300", "127.0.0.1:9300"),
            (":9300", "[::]:9300"),
            ("127.0.0.1", "127.0.0.1:9252"),
            ("localhost:", "localhost:9252"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:9252"),
        ] {
            assert_eq!(with_port(address), expected, "{address}");
        }
    }
}

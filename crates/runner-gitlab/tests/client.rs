//! The client against a real server on a real socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes as BodyBytes;
use axum::extract::{Multipart, Query, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, patch, post};
use bytes::Bytes;
use runner_core::job::Tls;
use runner_core::secret::Secret;
use runner_gitlab::{Client, Direct, Error, Info, JobReply, Patch, Patched, Trust, Upload};

/// Serves `routes` on a free port until the test ends; returns the URL.
async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

fn client(url: &str) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
    Client::new(url, Trust::System(&Tls::default())).unwrap()
}

fn token() -> Secret {
    Secret::new("glcbt-hidden")
}

#[tokio::test]
async fn a_request_carries_the_headers_of_the_contract() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let routes = Router::new().route(
        "/sub/api/v4/jobs/42/trace",
        patch(move |headers: HeaderMap, body: BodyBytes| async move {
            *keep.lock().unwrap() = Some((headers, body));
            (StatusCode::ACCEPTED, [("x-gitlab-trace-update-interval", "7")], "202")
        }),
    );
    let client = client(&format!("{}/sub/", serve(routes).await));
    let piece =
        Patch { job: 42, token: &token(), start: 3, bytes: Bytes::from_static(b"\0ab\xff"), debug_trace: false };
    let answer = client.patch_trace(&piece).await.unwrap();
    assert_eq!(answer.outcome, Patched::Accepted);
    assert_eq!(answer.interval.unwrap().as_secs(), 7);

    let (headers, body) = seen.lock().unwrap().take().unwrap();
    assert_eq!(&body[..], b"\0ab\xff");
    for (name, value) in [
        ("job-token", "glcbt-hidden"),
        ("content-type", "text/plain"),
        ("content-range", "3-6"),
        ("content-length", "4"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(headers["user-agent"].to_str().unwrap().starts_with("gitlab-runner 19.4.0 ("));
    assert_eq!(headers["x-request-id"].len(), 32);
    assert!(headers.get("accept").is_none_or(|accept| accept != "application/json"));
}

#[tokio::test]
async fn a_job_comes_with_the_servers_request_id() {
    let routes = Router::new().route(
        "/api/v4/jobs/request",
        post(|| async {
            let headers = [("content-type", "application/json"), ("x-request-id", "theirs")];
            (StatusCode::CREATED, headers, r#"{"id":7,"token":"t"}"#)
        }),
    );
    let reply = client(&serve(routes).await).request_job(&token(), "s_1", None, &Info::default()).await.unwrap();
    let JobReply::Job { id, payload, correlation_id } = reply else { panic!("no job") };
    assert_eq!((id, payload.get(), &*correlation_id), (7, r#"{"id":7,"token":"t"}"#, "theirs"));
}

#[tokio::test]
async fn an_old_gitlab_that_verifies_in_plain_text_is_believed() {
    let routes = Router::new().route("/api/v4/runners/verify", post(|| async { "200" }));
    let credentials = client(&serve(routes).await).verify(&token(), "s_1", &Info::default()).await.unwrap();
    assert_eq!((credentials.id, credentials.token), (0, token()));
}

#[tokio::test]
async fn a_refused_token_is_told_from_a_server_that_fails() {
    for (status, refused) in [(403, true), (401, true), (500, false), (404, false)] {
        let status = StatusCode::from_u16(status).unwrap();
        let routes = Router::new().route("/api/v4/runners/verify", post(move || async move { status }));
        let err = client(&serve(routes).await).verify(&token(), "s_1", &Info::default()).await.unwrap_err();
        assert_eq!(err.is_refused(), refused, "{err}");
        assert!(!err.to_string().contains("hidden"), "{err}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_host_and_cause() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let err = client(&format!("http://{address}")).unregister(&token(), "s_1").await.unwrap_err();
    assert!(matches!(err, Error::Transport { .. }));
    let text = err.to_string();
    assert!(text.starts_with(&format!("unregistering the runner at {address}: cannot connect")), "{text}");
    assert!(text.contains("refused") && !text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_redirect_that_would_change_the_method_is_an_error_that_names_the_target() {
    let routes = Router::new().route(
        "/api/v4/jobs/request",
        post(|| async { (StatusCode::MOVED_PERMANENTLY, [("location", "https://gitlab.example.com/")]) }),
    );
    let err = client(&serve(routes).await).request_job(&token(), "s_1", None, &Info::default()).await.unwrap_err();
    assert!(err.to_string().ends_with("301 Moved Permanently to https://gitlab.example.com/"), "{err}");
}

#[tokio::test]
async fn a_redirect_that_repeats_the_request_is_followed() {
    let target = Router::new().route(
        "/moved",
        post(|headers: HeaderMap| async move {
            (if headers["runner-token"] == "glcbt-hidden" { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN })
                .into_response()
        }),
    );
    let location = format!("{}/moved", serve(target).await);
    let routes = Router::new().route(
        "/api/v4/jobs/request",
        post(move || async move { (StatusCode::TEMPORARY_REDIRECT, [("location", location)]) }),
    );
    let reply = client(&serve(routes).await).request_job(&token(), "s_1", None, &Info::default()).await.unwrap();
    assert!(matches!(reply, JobReply::None { last_update: None }));
}

fn upload<'a>(token: &'a Secret) -> Upload<'a> {
    Upload { job: 42, token, file_name: "out put.zip", format: "zip", artifact_type: "archive", expire_in: "" }
}

fn pieces(pieces: &[&'static str]) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect::<Vec<_>>())
}

#[tokio::test]
async fn artifacts_are_uploaded_as_one_chunked_file() {
    let routes = Router::new().route(
        "/api/v4/jobs/42/artifacts",
        post(|Query(query): Query<Vec<(String, String)>>, headers: HeaderMap, mut form: Multipart| async move {
            assert_eq!(headers["transfer-encoding"], "chunked");
            assert_eq!(headers["job-token"], "glcbt-hidden");
            let query: Vec<String> = query.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(query, ["artifact_format=zip", "artifact_type=archive"]);
            let field = form.next_field().await.unwrap().unwrap();
            assert_eq!((field.name(), field.file_name()), (Some("file"), Some("out put.zip")));
            assert_eq!(field.bytes().await.unwrap(), "one two");
            assert!(form.next_field().await.unwrap().is_none());
            StatusCode::CREATED
        }),
    );
    let token = token();
    client(&serve(routes).await).upload_artifacts(&upload(&token), pieces(&["one", " ", "two"])).await.unwrap();
}

#[tokio::test]
async fn an_upload_led_elsewhere_is_made_anew_there() {
    let target = Router::new().route(
        "/api/v4/jobs/42/artifacts",
        post(|mut form: Multipart| async move {
            assert_eq!(form.next_field().await.unwrap().unwrap().bytes().await.unwrap(), "abc");
            StatusCode::CREATED
        }),
    );
    let location = format!("{}/api/v4/jobs/42/artifacts", serve(target).await);
    let routes = Router::new().route(
        "/api/v4/jobs/42/artifacts",
        post(move |_: BodyBytes| async move { (StatusCode::TEMPORARY_REDIRECT, [("location", location)]) }),
    );
    let (first, token) = (client(&serve(routes).await), token());
    let err = first.upload_artifacts(&upload(&token), pieces(&["abc"])).await.unwrap_err();
    let moved = first.moved(err.moved_to().unwrap()).unwrap();
    moved.upload_artifacts(&upload(&token), pieces(&["abc"])).await.unwrap();
}

async fn downloaded(client: &Client, direct: Direct) -> Result<Vec<u8>, Error> {
    let mut body = client.download_artifacts(42, &token(), direct).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_direct_download_goes_to_the_object_storage_without_the_token() {
    let storage = Router::new().route(
        "/bucket/x",
        get(|request: Request| async move {
            assert_eq!(request.headers().get("job-token"), None);
            assert_eq!(request.uri().query(), Some("signature=1"));
            "from storage"
        }),
    );
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT] {
        let location = format!("{}/bucket/x?signature=1", serve(storage.clone()).await);
        let routes = Router::new().route(
            "/api/v4/jobs/42/artifacts",
            get(move |Query(query): Query<Vec<(String, String)>>| async move {
                match query.is_empty() {
                    true => "from GitLab".into_response(),
                    false => (status, [("location", location)]).into_response(),
                }
            }),
        );
        let client = client(&serve(routes).await);
        assert_eq!(downloaded(&client, Direct::Allowed).await.unwrap(), b"from storage");
        assert_eq!(downloaded(&client, Direct::No).await.unwrap(), b"from GitLab");
    }
}

#[tokio::test]
async fn a_download_that_is_not_there_or_not_allowed_is_told_by_status() {
    for status in [401, 403, 404, 500] {
        let code = StatusCode::from_u16(status).unwrap();
        let routes = Router::new().route("/api/v4/jobs/42/artifacts", get(move || async move { code }));
        let err = downloaded(&client(&serve(routes).await), Direct::No).await.unwrap_err();
        assert_eq!(err.status(), Some(status));
    }
}

#[test]
fn a_wrong_authority_file_is_named() {
    let tls = Tls { ca_file: Some("/no/such/ca.pem".into()), ..Tls::default() };
    let err = Client::new("https://gitlab.example.com", Trust::System(&tls)).unwrap_err();
    assert!(err.is_configuration());
    assert!(err.to_string().starts_with("`/no/such/ca.pem`: No such file"), "{err}");
    let err = Client::new("https://gitlab.example.com", Trust::Only { roots: &[], pem: b"text" }).unwrap_err();
    assert!(err.to_string().contains("no certificate"), "{err}");
}

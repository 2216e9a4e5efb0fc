//! A registry of container images that may want a password: what a pull asks for, and no more.
//!
//! It listens on the loopback device of the cluster's network, for which container runtimes need no TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::Digest;

/// Folder with the archives that `scripts/image` makes.
pub const IMAGES: &str = "RUNNER_TESTS_IMAGES";

/// The running registry; it has one image, `bb:1`.
pub struct Registry {
    address: SocketAddr,
    content: Arc<Content>,
    server: tokio::task::JoinHandle<()>,
}

struct Content {
    manifest: String,
    blobs: Vec<(String, Vec<u8>)>,
    /// What every request must bring, if there is a password.
    authorization: Option<String>,
    pulls: AtomicUsize,
}

impl Registry {
    /// A registry for everybody.
    pub async fn start() -> Self {
        Self::launch("127.0.0.1:0", None).await
    }

    /// One that lets in only who knows the password.
    pub async fn with_password(user: &str, password: &str) -> Self {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self::launch("127.0.0.1:0", Some(authorization)).await
    }

    /// One on an address that was free before.
    pub async fn at(address: SocketAddr) -> Self {
        Self::launch(&address.to_string(), None).await
    }

    /// An address where nobody listens.
    pub async fn free_address() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("a listener has an address")
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Reference of its image.
    pub fn image(&self) -> String {
        format!("{}/bb:1", self.address)
    }

    /// How many manifests it has given out.
    pub fn pulls(&self) -> usize {
        self.content.pulls.load(Ordering::Relaxed)
    }

    async fn launch(address: &str, authorization: Option<String>) -> Self {
        let (manifest, blobs) = content();
        let content = Arc::new(Content { manifest, blobs, authorization, pulls: AtomicUsize::new(0) });
        let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&content));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("the registry serves") });
        Self { address, content, server }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(content): State<Arc<Content>>, request: Request) -> Response {
    let brought = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if content.authorization.is_some() && brought != content.authorization.as_deref() {
        let refused = [(header::WWW_AUTHENTICATE, "Basic realm=\"images\"")];
        return (StatusCode::UNAUTHORIZED, refused, "unauthorized").into_response();
    }
    let path = request.uri().path();
    if path == "/v2/bb/manifests/1" || path == format!("/v2/bb/manifests/{}", digest_of(content.manifest.as_bytes())) {
        content.pulls.fetch_add(1, Ordering::Relaxed);
        return ([(header::CONTENT_TYPE, MANIFEST)], content.manifest.clone()).into_response();
    }
    match content.blobs.iter().find(|(name, _)| path == format!("/v2/bb/blobs/{name}")) {
        Some((_, blob)) => blob.clone().into_response(),
        None if path == "/v2/" => StatusCode::OK.into_response(),
        None => (StatusCode::NOT_FOUND, "not found").into_response(),
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Manifest and blobs of `bb.tar`.
fn content() -> (String, Vec<(String, Vec<u8>)>) {
    let folder = std::env::var_os(IMAGES).unwrap_or_else(|| panic!("{IMAGES} names no folder of images"));
    let archive = Path::new(&folder).join("bb.tar");
    let index: Value = serde_json::from_slice(&file(&archive, "manifest.json")).expect("an archive as of docker save");
    let blob = |name: &Value| {
        let bytes = file(&archive, name.as_str().expect("a name of a file in the archive"));
        (digest_of(&bytes), bytes)
    };
    let blobs = vec![blob(&index[0]["Config"]), blob(&index[0]["Layers"][0])];
    let describe = |kind: &str, (digest, bytes): &(String, Vec<u8>)| json!({"mediaType": format!("application/vnd.docker.{kind}"), "digest": digest, "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe("container.image.v1+json", &blobs[0]),
        "layers": [describe("image.rootfs.diff.tar", &blobs[1])],
    });
    (manifest.to_string(), blobs)
}

fn file(archive: &Path, name: &str) -> Vec<u8> {
    let output = Command::new("tar").arg("-xOf").arg(archive).arg(name).output().expect("tar runs");
    assert!(output.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn digest_of(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

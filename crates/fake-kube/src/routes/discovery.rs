//! Who this server is and what it serves.

use axum::Json;
use serde_json::{Value, json};

use crate::resource;

/// The Kubernetes release whose rules are followed.
const VERSION: &str = "v1.34.0-fake";

pub(super) async fn version() -> Json<Value> {
    Json(json!({
        "major": "1", "minor": "34", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    }))
}

pub(super) async fn api() -> Json<Value> {
    Json(json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
    }))
}

pub(super) async fn core() -> Json<Value> {
    Json(resource::discovery())
}

pub(super) async fn groups() -> Json<Value> {
    let version = json!({"groupVersion": "authorization.k8s.io/v1", "version": "v1"});
    Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{
        "name": "authorization.k8s.io", "versions": [version], "preferredVersion": version,
    }]}))
}

pub(super) async fn authorization() -> Json<Value> {
    Json(json!({"kind": "APIResourceList", "groupVersion": "authorization.k8s.io/v1", "resources": [{
        "name": "selfsubjectaccessreviews", "singularName": "selfsubjectaccessreview",
        "namespaced": false, "kind": "SelfSubjectAccessReview", "verbs": ["create"],
    }]}))
}

pub(super) async fn healthy() -> &'static str {
    "ok"
}

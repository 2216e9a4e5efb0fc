//! The HTTP side.

mod collection;
mod delete_options;
mod discovery;
mod fake;
mod front;
mod log;
mod object;
mod query;
mod review;
mod table;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::status::ApiError;

/// What handlers share.
pub(crate) type Shared = axum::extract::State<Arc<Cluster>>;

/// A larger body is refused, in bytes.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// Everything the server answers.
pub(crate) fn router(cluster: Arc<Cluster>) -> Router {
    let api = "/api/v1";
    Router::new()
        .route("/version", get(discovery::version))
        .route("/api", get(discovery::api))
        .route("/api/v1", get(discovery::core))
        .route("/apis", get(discovery::groups))
        .route("/apis/authorization.k8s.io/v1", get(discovery::authorization))
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(review::access))
        .route("/healthz", get(discovery::healthy))
        .route("/livez", get(discovery::healthy))
        .route("/readyz", get(discovery::healthy))
        .route(&format!("{api}/{{resource}}"), any(collection::everywhere))
        .route(&format!("{api}/{{resource}}/{{name}}"), any(object::cluster_wide))
        .route(&format!("{api}/namespaces/{{namespace}}/{{resource}}"), any(collection::in_namespace))
        .route(&format!("{api}/namespaces/{{namespace}}/{{resource}}/{{name}}"), any(object::in_namespace))
        .route(&format!("{api}/namespaces/{{namespace}}/{{resource}}/{{name}}/{{sub}}"), any(object::subresource))
        .route("/-/fake/requests", get(fake::requests))
        .route("/-/fake/faults", get(fake::faults).put(fake::set_faults))
        .route("/-/fake/compact", post(fake::compact))
        .route("/-/fake/pods/{namespace}/{name}/{order}", post(fake::order))
        .fallback(|| async { ApiError::no_such_path() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(from_fn_with_state(Arc::clone(&cluster), front::guard))
        .with_state(cluster)
}

/// A request that a handler has to take apart itself.
struct Call {
    method: Method,
    headers: HeaderMap,
    query: query::Query,
    body: Body,
}

impl Call {
    fn from_request(request: axum::extract::Request) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            method: parts.method,
            headers: parts.headers,
            query: query::Query::parse(parts.uri.query().unwrap_or_default()),
            body,
        }
    }

    /// The media type of the body, without parameters.
    fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let value = value.unwrap_or("application/json");
        value.split(';').next().unwrap_or_default().trim().to_owned()
    }

    fn accepts_table(&self) -> bool {
        let accept = self.headers.get("accept").and_then(|v| v.to_str().ok()).unwrap_or_default();
        accept.split(',').next().is_some_and(|first| first.contains("as=Table"))
    }

    async fn bytes(self) -> Result<Bytes, ApiError> {
        to_bytes(self.body, MAX_BODY).await.map_err(|_| ApiError::too_large())
    }

    /// The body as an object of this kind.
    async fn object(self, kind: &str) -> Result<Value, ApiError> {
        let media = self.media_type();
        if media != "application/json" {
            return Err(ApiError::unsupported_media_type("application/json"));
        }
        let bytes = self.bytes().await?;
        let object: Value = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {error}"))
        })?;
        let stated = object["kind"].as_str().unwrap_or(kind);
        let version = object["apiVersion"].as_str().unwrap_or("v1");
        if !object.is_object() || stated != kind || version != "v1" {
            return Err(ApiError::bad_request(format!(
                "{stated} in version {version:?} cannot be handled as a {kind}"
            )));
        }
        Ok(object)
    }
}

fn json(code: StatusCode, object: &Value) -> Response {
    (code, axum::Json(object)).into_response()
}

//! `/-/fake/…`: what a test asks of the fake itself. Needs the same token; is not recorded.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Shared;
use crate::delete::{self, Deletion};
use crate::faults::FaultSet;
use crate::kubelet::Order;
use crate::record::Request;
use crate::resource::PODS;
use crate::status::ApiError;
use crate::store::Key;

pub(super) async fn requests(State(cluster): Shared) -> Json<Vec<Request>> {
    Json(cluster.record.all())
}

pub(super) async fn faults(State(cluster): Shared) -> Json<FaultSet> {
    Json(cluster.faults.current())
}

pub(super) async fn set_faults(State(cluster): Shared, body: String) -> Result<Json<FaultSet>, ApiError> {
    let faults = serde_json::from_str(&body).map_err(|error| ApiError::bad_request(error.to_string()))?;
    cluster.faults.replace(faults);
    Ok(Json(cluster.faults.current()))
}

pub(super) async fn compact(State(cluster): Shared) -> StatusCode {
    cluster.store.compact();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
pub(super) struct Details {
    #[serde(default)]
    container: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    signal: Option<i32>,
}

/// `POST /-/fake/pods/NAMESPACE/NAME/{evict,oom-kill,kill,rotate-log,lose-node,delete}`.
pub(super) async fn order(
    State(cluster): Shared,
    Path((namespace, name, order)): Path<(String, String, String)>,
    Query(details): Query<Details>,
) -> Result<Response, ApiError> {
    let order = match order.as_str() {
        "evict" => Order::Evict(details.message.unwrap_or_else(|| EVICTED.to_owned())),
        "oom-kill" => Order::OomKill(details.container),
        "kill" => Order::Kill(details.container, details.signal.unwrap_or(9)),
        "rotate-log" => Order::RotateLog(details.container),
        "lose-node" => Order::LoseNode,
        "delete" => {
            let key = Key { resource: &PODS, namespace, name };
            delete::delete(&cluster.store, &key, &Deletion::default())?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        _ => return Err(ApiError::no_such_path()),
    };
    if cluster.kubelet.order(&namespace, &name, order) {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(ApiError::not_found(&PODS, &name))
    }
}

/// What the kubelet says when memory runs out.
pub(crate) const EVICTED: &str = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ";

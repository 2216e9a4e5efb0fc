//! The HTTP interface. Every route has an explicit body limit.

pub(crate) mod fake;
pub(crate) mod jobs;
pub(crate) mod request;
pub(crate) mod runners;
pub(crate) mod user;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};

use crate::api_error::ApiError;
use crate::state::Shared;

/// Parameters of any call but the two below.
const JSON_LIMIT: usize = 1 << 20;
/// One patch of a trace; runners send at most 1 MiB.
const TRACE_LIMIT: usize = 8 << 20;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let runner_api = Router::new()
        .route("/runners", post(runners::register).delete(runners::unregister))
        .route("/runners/verify", post(runners::verify))
        .route("/runners/managers", delete(runners::remove_manager))
        .route("/runners/reset_authentication_token", post(runners::reset))
        .route("/runners/{id}/reset_authentication_token", post(runners::reset_by_id))
        .route("/runners/router/discovery", get(runners::discover_router))
        .route("/user/runners", post(runners::create))
        .route("/jobs/request", post(request::request_job))
        .route("/jobs/{id}", put(jobs::update))
        .layer(DefaultBodyLimit::max(JSON_LIMIT));
    let traces = Router::new()
        .route("/jobs/{id}/trace", axum::routing::patch(jobs::append_trace))
        .layer(DefaultBodyLimit::max(TRACE_LIMIT));
    let own = Router::new()
        .route("/-/fake/jobs", post(fake::enqueue))
        .route("/-/fake/events", get(fake::events))
        .route("/-/fake/requests", get(fake::requests).delete(fake::forget_requests))
        .route("/-/fake/faults", get(fake::faults).put(fake::set_faults))
        .layer(DefaultBodyLimit::max(JSON_LIMIT));
    Router::new()
        .nest("/api/v4", runner_api.merge(traces))
        .merge(own)
        .fallback(async || ApiError::message(axum::http::StatusCode::NOT_FOUND, "404 Not Found"))
        .with_state(shared)
}

//! The HTTP interface. Every route has an explicit body limit.

pub(crate) mod artifacts;
pub(crate) mod fake;
pub(crate) mod git;
pub(crate) mod jobs;
mod pages;
mod pipelines;
mod projects;
pub(crate) mod request;
pub(crate) mod runners;
pub(crate) mod user;
mod user_jobs;
mod user_runners;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};

use crate::api_error::ApiError;
use crate::shared::Shared;

/// Parameters of any call but the two below.
const JSON_LIMIT: usize = 1 << 20;
/// One patch of a trace; runners send at most 1 MiB.
const TRACE_LIMIT: usize = 8 << 20;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let runner_api = Router::new()
        .route("/runners", post(runners::register).delete(runners::unregister).get(user_runners::list))
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
    let user_api = Router::new()
        .route("/version", get(projects::version))
        .route("/user", get(projects::user))
        .route("/runners/all", get(user_runners::list))
        .route("/runners/{id}", get(user_runners::get))
        .route("/runners/{id}/managers", get(user_runners::managers))
        .route("/runners/{id}/jobs", get(user_runners::jobs))
        .route("/projects", get(projects::list))
        .route("/projects/{id}", get(projects::get))
        .route("/projects/{id}/pipeline", post(pipelines::create))
        .route("/projects/{id}/pipelines", get(pipelines::list))
        .route("/projects/{id}/pipelines/{pipeline}", get(pipelines::get))
        .route("/projects/{id}/pipelines/{pipeline}/jobs", get(pipelines::jobs))
        .route("/projects/{id}/pipelines/{pipeline}/variables", get(pipelines::list_variables))
        .route("/projects/{id}/pipelines/{pipeline}/cancel", post(pipelines::cancel))
        .route("/projects/{id}/pipelines/{pipeline}/retry", post(pipelines::retry))
        .route("/projects/{id}/jobs", get(user_jobs::list))
        .route("/projects/{id}/jobs/{job}", get(user_jobs::get))
        .route("/projects/{id}/jobs/{job}/trace", get(user_jobs::trace))
        .route("/projects/{id}/jobs/{job}/artifacts", get(user_jobs::artifacts))
        .route("/projects/{id}/jobs/{job}/cancel", post(user_jobs::cancel))
        .route("/projects/{id}/jobs/{job}/retry", post(user_jobs::retry))
        .route("/projects/{id}/jobs/{job}/play", post(user_jobs::play))
        .route("/projects/{id}/jobs/{job}/erase", post(user_jobs::erase))
        .layer(DefaultBodyLimit::max(JSON_LIMIT));
    let own = Router::new()
        .route("/-/fake/jobs", post(fake::enqueue))
        .route("/-/fake/events", get(fake::events))
        .route("/-/fake/requests", get(fake::requests).delete(fake::forget_requests))
        .route("/-/fake/faults", get(fake::faults).put(fake::set_faults))
        .layer(DefaultBodyLimit::max(JSON_LIMIT));
    Router::new()
        .nest("/api/v4", runner_api.merge(traces).merge(artifacts::routes()).merge(user_api))
        .merge(own)
        .fallback(git::serve)
        .method_not_allowed_fallback(async || ApiError::no_route(StatusCode::METHOD_NOT_ALLOWED))
        .with_state(shared)
}

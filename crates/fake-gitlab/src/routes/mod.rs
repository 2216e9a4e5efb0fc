//! The HTTP interface. Every route has an explicit body limit.

mod artifacts;
mod discovery;
mod fake;
mod gate;
mod git;
mod groups;
mod job_auth;
mod jobs;
mod merge_requests;
mod pages;
mod pipelines;
mod project_variables;
mod projects;
mod registration;
mod repository;
mod request;
mod runners;
pub(crate) mod storage;
mod trace;
mod triggers;
mod user;
mod user_jobs;
mod user_runners;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};

use crate::api_error::ApiError;
use crate::shared::Shared;

/// Parameters of any call but those below.
const JSON_LIMIT: usize = 1 << 20;
/// A job request; Workhorse takes no more.
const JOB_REQUEST_LIMIT: usize = 32 << 10;
/// One patch of a trace; runners send at most 1 MiB.
const TRACE_LIMIT: usize = 8 << 20;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let job_requests = Router::new()
        .route("/jobs/request", post(request::request_job))
        .layer(DefaultBodyLimit::max(JOB_REQUEST_LIMIT));
    let traces =
        Router::new().route("/jobs/{id}/trace", patch(trace::append)).layer(DefaultBodyLimit::max(TRACE_LIMIT));
    let runner_api = Router::new()
        .route("/runners", post(registration::register).delete(runners::unregister))
        .route("/runners/verify", post(runners::verify))
        .route("/runners/managers", delete(runners::remove_manager))
        .route("/runners/reset_authentication_token", post(runners::reset))
        .route("/runners/{id}/reset_authentication_token", post(runners::reset_by_id))
        .route("/runners/router/discovery", get(discovery::job_router))
        .route("/jobs/{id}", put(jobs::update))
        .route("/jobs/{id}/runtime_environment_key", get(discovery::runtime_environment_key))
        .layer(DefaultBodyLimit::max(JSON_LIMIT))
        .merge(job_requests)
        .merge(traces)
        .merge(artifacts::routes())
        .layer(from_fn_with_state(Arc::clone(&shared), gate::migrations));
    let user_api = Router::new()
        .route("/version", get(projects::version))
        .route("/user", get(projects::user))
        .route("/user/runners", post(registration::create))
        .route("/runners", get(user_runners::list))
        .route("/runners/all", get(user_runners::list))
        .route("/metadata", get(projects::version))
        .route("/runners/{id}", get(user_runners::get).put(user_runners::update).delete(user_runners::delete))
        .route("/runners/{id}/managers", get(user_runners::managers))
        .route("/runners/{id}/jobs", get(user_runners::jobs))
        .route("/projects", get(projects::list))
        .route("/projects/{id}", get(projects::get).put(projects::update).delete(projects::delete))
        .route("/projects/{id}/job_token_scope/allowlist", post(projects::allow_job_tokens))
        .route("/projects/{id}/variables", get(project_variables::list).post(project_variables::create))
        .route(
            "/projects/{id}/variables/{key}",
            get(project_variables::get).put(project_variables::update).delete(project_variables::delete),
        )
        .route("/projects/{id}/triggers", get(triggers::list).post(triggers::create))
        .route("/projects/{id}/triggers/{trigger}", delete(triggers::delete))
        .route("/projects/{id}/trigger/pipeline", post(triggers::start))
        .route("/projects/{id}/merge_requests", get(merge_requests::list).post(merge_requests::create))
        .route("/projects/{id}/merge_requests/{iid}", get(merge_requests::get))
        .route("/projects/{id}/merge_requests/{iid}/pipelines", post(merge_requests::create_pipeline))
        .route("/groups", get(groups::list))
        .route("/groups/{id}", get(groups::get))
        .route("/projects/{id}/pipeline", post(pipelines::create))
        .route("/projects/{id}/pipelines", get(pipelines::list))
        .route("/projects/{id}/pipelines/latest", get(pipelines::latest))
        .route("/projects/{id}/pipelines/{pipeline}", get(pipelines::get).delete(pipelines::delete))
        .route("/projects/{id}/pipelines/{pipeline}/jobs", get(pipelines::jobs))
        .route("/projects/{id}/pipelines/{pipeline}/variables", get(pipelines::list_variables))
        .route("/projects/{id}/pipelines/{pipeline}/cancel", post(pipelines::cancel))
        .route("/projects/{id}/pipelines/{pipeline}/retry", post(pipelines::retry))
        .route("/projects/{id}/jobs", get(user_jobs::list))
        .route("/projects/{id}/jobs/{job}", get(user_jobs::get))
        .route("/projects/{id}/jobs/{job}/trace", get(user_jobs::trace))
        .route("/projects/{id}/jobs/{job}/artifacts", get(user_jobs::artifacts))
        .route("/projects/{id}/jobs/{job}/artifacts/{*path}", get(user_jobs::artifact_file))
        .route("/projects/{id}/repository/branches", get(repository::branches))
        .route("/projects/{id}/repository/branches/{branch}", get(repository::branch))
        .route("/projects/{id}/repository/tags", get(repository::tags))
        .route("/projects/{id}/repository/tags/{tag}", get(repository::tag))
        .route("/projects/{id}/repository/commits", get(repository::commits))
        .route("/projects/{id}/repository/commits/{commit}", get(repository::commit))
        .route("/projects/{id}/repository/tree", get(repository::tree))
        .route("/projects/{id}/repository/files/{path}", get(repository::file))
        .route("/projects/{id}/repository/files/{path}/raw", get(repository::raw_file))
        .route("/projects/{id}/ci/lint", get(repository::lint).post(repository::lint))
        .route("/projects/{id}/jobs/{job}/cancel", post(user_jobs::cancel))
        .route("/projects/{id}/jobs/{job}/retry", post(user_jobs::retry))
        .route("/projects/{id}/jobs/{job}/play", post(user_jobs::play))
        .route("/projects/{id}/jobs/{job}/erase", post(user_jobs::erase))
        .layer(DefaultBodyLimit::max(JSON_LIMIT));
    let own = Router::new()
        .route("/-/fake/jobs", post(fake::enqueue))
        .route("/-/fake/jobs/{id}", get(fake::job).put(fake::change_job))
        .route("/-/fake/runners", get(fake::runners))
        .route("/-/fake/settings", get(fake::settings).put(fake::change_settings))
        .route("/-/fake/events", get(fake::events))
        .route("/-/fake/requests", get(fake::requests).delete(fake::forget_requests))
        .route("/-/fake/faults", get(fake::faults).put(fake::set_faults))
        .layer(DefaultBodyLimit::max(JSON_LIMIT));
    Router::new()
        .nest("/api/v4", runner_api.merge(user_api))
        .merge(own)
        .fallback(git::serve)
        .method_not_allowed_fallback(async || ApiError::no_route(StatusCode::METHOD_NOT_ALLOWED))
        .with_state(shared)
}

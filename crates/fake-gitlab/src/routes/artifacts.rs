//! Artifact files: upload by the job that made them, download by the jobs that need them (GitLab
//! runner API: artifacts).

mod authorize;
mod download;
mod receive;
mod upload;
mod workhorse;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use crate::shared::Shared;

pub(super) use download::send_file;

/// The routes. Uploads have a limit of their own, see `receive`; nothing else has a body.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let uploads = Router::new()
        .route("/jobs/{id}/artifacts", axum::routing::post(upload::upload).get(download::download))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/jobs/{id}/artifacts/authorize", axum::routing::post(authorize::authorize))
        .layer(DefaultBodyLimit::max(super::JSON_LIMIT))
        .merge(uploads)
}

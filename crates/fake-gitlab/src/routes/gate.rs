//! What stands before every call of a runner.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use crate::api_error::ApiError;
use crate::shared::Shared;

/// While the database is being migrated runners are told to come back later, whoever they are.
pub(super) async fn migrations(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if shared.read(|world| world.settings.migrating) {
        let message = "Executing database migrations. Please retry later.";
        return Err(ApiError::message(StatusCode::TOO_MANY_REQUESTS, message).with_header("retry-after", 60));
    }
    Ok(next.run(request).await)
}

//! Who calls the user-facing API: there is one user, and one token for it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::shared::Shared;
use crate::variables::{USER_EMAIL, USER_LOGIN, USER_NAME};

/// Proof that a request carried the private token.
pub(crate) struct User;

impl FromRequestParts<Arc<Shared>> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let header_text = |name: &str| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let bearer = header_text(header::AUTHORIZATION.as_str())
            .and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
        let given = header_text("private-token")
            .or(bearer)
            .or_else(|| Params::from_query(parts.uri.query()).text("private_token"));
        let is_right = given.is_some_and(|token| shared.read(|world| world.private_token == token));
        if is_right { Ok(Self) } else { Err(ApiError::unauthorized()) }
    }
}

/// The user as it stands in jobs and pipelines.
pub(crate) fn user_json(external_url: &str) -> Value {
    json!({
        "id": 1,
        "username": USER_LOGIN,
        "name": USER_NAME,
        "state": "active",
        "locked": false,
        "avatar_url": null,
        "web_url": format!("{external_url}/{USER_LOGIN}"),
    })
}

/// What `GET /user` answers.
pub(crate) fn own_json(external_url: &str) -> Value {
    let mut user = user_json(external_url);
    user["email"] = json!(USER_EMAIL);
    user["is_admin"] = json!(true);
    user
}

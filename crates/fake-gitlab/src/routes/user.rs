//! Who calls the user-facing API: there is one user, with a token for everything and one for
//! reading.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::shared::Shared;
use crate::variables::{USER_EMAIL, USER_LOGIN, USER_NAME};

/// Proof that a request carried a user's token.
pub(crate) struct User;

/// Proof that it was a token that may change things.
pub(crate) struct Writer;

impl FromRequestParts<Arc<Shared>> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let given = token(parts).ok_or_else(ApiError::unauthorized)?;
        let is_known = shared.read(|world| [&world.private_token, &world.read_only_token].contains(&&given));
        if is_known { Ok(Self) } else { Err(ApiError::unauthorized()) }
    }
}

impl FromRequestParts<Arc<Shared>> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        User::from_request_parts(parts, shared).await?;
        let may_write = token(parts).is_some_and(|token| shared.read(|world| world.private_token == token));
        if may_write { Ok(Self) } else { Err(ApiError::insufficient_scope()) }
    }
}

/// The token of a request: either header, or the query.
fn token(parts: &Parts) -> Option<String> {
    let header_text = |name: &str| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let bearer =
        header_text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    header_text("private-token").or(bearer).or_else(|| Params::from_query(parts.uri.query()).text("private_token"))
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

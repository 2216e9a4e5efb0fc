//! Refusals in GitLab's shape: a status and `{"message": …}`, or `{"error": …}` for a missing
//! parameter.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What a route answers when it does not do what was asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// `{"message": …}` with any status.
    pub(crate) fn message(status: StatusCode, message: impl Into<Value>) -> Self {
        Self { status, body: json!({ "message": message.into() }), headers: Vec::new() }
    }

    /// 400 for a required parameter that is not there.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::parameter(format!("{parameter} is missing"))
    }

    /// 400 for a parameter that is there and wrong.
    pub(crate) fn parameter(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body: json!({ "error": error.into() }), headers: Vec::new() }
    }

    /// There is no such path, or not for this method.
    pub(crate) fn no_route(status: StatusCode) -> Self {
        let text = status.canonical_reason().unwrap_or_default();
        Self { status, body: json!({ "error": format!("{} {text}", status.as_u16()) }), headers: Vec::new() }
    }

    /// 400 with a reason.
    pub(crate) fn bad_request(reason: &str) -> Self {
        Self::message(StatusCode::BAD_REQUEST, format!("400 Bad request - {reason}"))
    }

    /// 401.
    pub(crate) fn unauthorized() -> Self {
        Self::message(StatusCode::UNAUTHORIZED, "401 Unauthorized")
    }

    /// 403 without a reason.
    pub(crate) fn forbidden() -> Self {
        Self::message(StatusCode::FORBIDDEN, "403 Forbidden")
    }

    /// 403 with a reason.
    pub(crate) fn forbidden_because(reason: &str) -> Self {
        Self::message(StatusCode::FORBIDDEN, format!("403 Forbidden - {reason}"))
    }

    /// 403 for a token that may only read.
    pub(crate) fn insufficient_scope() -> Self {
        let body = json!({
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided by the access token.",
            "scope": "api",
        });
        Self { status: StatusCode::FORBIDDEN, body, headers: Vec::new() }
    }

    /// 404 for a thing of the given kind.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::message(StatusCode::NOT_FOUND, format!("404 {what} Not Found"))
    }

    /// 500 for an uploaded object that is not where it should be.
    pub(crate) fn missing_file() -> Self {
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error - Missing file")
    }

    /// 500: the fake itself failed; what happened goes into the message.
    pub(crate) fn internal(problem: impl std::fmt::Display) -> Self {
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, format!("500 Internal Server Error - {problem}"))
    }

    /// The same refusal with one more header. A value that is no header text is left out.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl ToString) -> Self {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

/// An answer whose body is the status number as text, as Grape gives it.
pub(crate) fn plain_status(status: StatusCode) -> Response {
    let body = status.as_u16().to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

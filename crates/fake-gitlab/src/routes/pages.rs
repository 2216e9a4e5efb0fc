//! Lists in pages, with GitLab's headers.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::params::Params;

/// Most items of a page.
const LARGEST: i64 = 100;

/// The page of `items` that `page` and `per_page` ask for; `url` is the list's own address.
pub(super) fn page(items: &[Value], params: &Params, url: &str) -> Result<Response, ApiError> {
    let size = params.integer("per_page")?.unwrap_or(20);
    let number = params.integer("page")?.unwrap_or(1).max(1);
    if size < 1 {
        return Err(ApiError::parameter("per_page does not have a valid value"));
    }
    let size = size.min(LARGEST);
    let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let last = (total + size - 1) / size;
    let shown: Vec<&Value> = items
        .iter()
        .skip(usize::try_from((number - 1).saturating_mul(size)).unwrap_or(usize::MAX))
        .take(usize::try_from(size).unwrap_or_default())
        .collect();
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let link = |number: i64, relation: &str| format!("<{url}?page={number}&per_page={size}>; rel=\"{relation}\"");
    let mut links = vec![link(1, "first"), link(last.max(1), "last")];
    let neighbour = |number: i64| (1..=last).contains(&number).then_some(number);
    let next = neighbour(number + 1);
    let previous = neighbour(number - 1);
    links.extend(next.map(|number| link(number, "next")));
    links.extend(previous.map(|number| link(number, "prev")));
    let text = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    add("x-page", number.to_string());
    add("x-per-page", size.to_string());
    add("x-total", total.to_string());
    add("x-total-pages", last.max(1).to_string());
    add("x-next-page", text(next));
    add("x-prev-page", text(previous));
    add("link", links.join(", "));
    Ok((headers, Json(shown)).into_response())
}

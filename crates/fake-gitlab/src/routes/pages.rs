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
    if params.text("pagination").as_deref() == Some("keyset") {
        return by_key(items, params, url, usize::try_from(size).unwrap_or_default());
    }
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
    let others = others(params);
    let link =
        |number: i64, relation: &str| format!("<{url}?{others}page={number}&per_page={size}>; rel=\"{relation}\"");
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

/// The parameters that choose what is in the list, as the beginning of a query.
fn others(params: &Params) -> String {
    let place = ["page", "per_page", "pagination", "cursor", "private_token"];
    let chosen = params.names().filter(|name| !place.contains(name));
    let pairs = chosen.filter_map(|name| Some((name, params.text(name)?)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { query } else { format!("{query}&") }
}

/// A part of a path, such as a project's full path, as it stands between two slashes.
pub(super) fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The same by key: the link to what follows names the last item, so that nothing is counted and
/// new items move nothing.
fn by_key(items: &[Value], params: &Params, url: &str, size: usize) -> Result<Response, ApiError> {
    let after = params.integer("cursor")?;
    let start = match after {
        None => 0,
        Some(id) => items.iter().position(|item| item["id"].as_i64() == Some(id)).map_or(items.len(), |at| at + 1),
    };
    let shown: Vec<&Value> = items.iter().skip(start).take(size).collect();
    let mut headers = HeaderMap::new();
    let is_more = start + shown.len() < items.len();
    if let Some(last) = shown.last().and_then(|item| item["id"].as_i64()).filter(|_| is_more) {
        let others = others(params);
        let link = format!("<{url}?{others}pagination=keyset&per_page={size}&cursor={last}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.insert(HeaderName::from_static("link"), link);
        }
    }
    Ok((headers, Json(shown)).into_response())
}

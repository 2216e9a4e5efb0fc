//! Request parameters, wherever they are: query, JSON body or form body.
//!
//! GitLab reads all three alike, and takes a body without `Content-Type` for JSON. Unknown names
//! are ignored. The body wins over the query.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value, json};

use crate::api_error::ApiError;

/// All parameters of one request by name.
#[derive(Debug, Default)]
pub(crate) struct Params(Map<String, Value>);

impl Params {
    /// The parameters of a query string alone.
    pub(crate) fn from_query(query: Option<&str>) -> Self {
        let mut params = Self::default();
        params.add_form(query.unwrap_or_default().as_bytes());
        params
    }

    /// Adds a parameter, or replaces it.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), Value::String(value));
    }

    /// A parameter as text; numbers and booleans are written out. Null counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// A parameter that must be there; an empty text counts as missing.
    pub(crate) fn required(&self, name: &str) -> Result<String, ApiError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| ApiError::missing(name))
    }

    /// A boolean, also written as text or digit.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name).as_deref() {
            None | Some("") => Ok(None),
            Some("true" | "1" | "t" | "on") => Ok(Some(true)),
            Some("false" | "0" | "f" | "off") => Ok(Some(false)),
            Some(_) => Err(ApiError::parameter(format!("{name} is invalid"))),
        }
    }

    /// A whole number; the empty text counts as absent.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.text(name).as_deref() {
            None | Some("") => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(ApiError::parameter(format!("{name} is invalid"))),
            },
        }
    }

    /// A list, given as an array or separated by commas; blanks around items are cut.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        let items: Vec<String> = match self.0.get(name)? {
            Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::String(text) => text.split(',').map(str::to_owned).collect(),
            _ => return None,
        };
        Some(items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value itself.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// `a=1`, `list[]=1` and `list[][key]=1`, as Rails reads them.
    fn add_form(&mut self, bytes: &[u8]) {
        for (name, value) in url::form_urlencoded::parse(bytes) {
            let value = Value::String(value.into_owned());
            let Some((list, member)) = name.split_once("[]") else {
                self.0.insert(name.into_owned(), value);
                continue;
            };
            let member = member.strip_prefix('[').and_then(|member| member.strip_suffix(']'));
            let list = self.0.entry(list).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else { continue };
            match (member, items.last_mut()) {
                (None, _) => items.push(value),
                // A name that is there already begins the next object.
                (Some(member), Some(Value::Object(last))) if !last.contains_key(member) => {
                    last.insert(member.to_owned(), value);
                }
                (Some(member), _) => items.push(json!({ member: value })),
            }
        }
    }

    fn add_json(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => {
                self.0.extend(members);
                Ok(())
            }
            Ok(_) => Ok(()), // `null` is what gitlab-runner sends to reset a token by id
            Err(problem) => Err(ApiError::parameter(format!("The provided request body is not valid JSON: {problem}"))),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let mut params = Self::from_query(request.uri().query());
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("application/json")
            .to_ascii_lowercase();
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let text = status.canonical_reason().unwrap_or("Bad Request");
            ApiError::message(status, format!("{} {text}", status.as_u16()))
        })?;
        if kind.starts_with("application/x-www-form-urlencoded") {
            params.add_form(&body);
        } else if kind.starts_with("application/json") {
            params.add_json(&body)?;
        } else if !body.is_empty() {
            return Err(ApiError::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "415 Unsupported Media Type"));
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_hold_lists_and_lists_of_objects() {
        let params = Params::from_query(Some(
            "a=1&tags[]=x&tags[]=y&variables[][key]=A&variables[][value]=1&variables[][key]=B",
        ));
        assert_eq!(params.integer("a").unwrap(), Some(1));
        assert_eq!(params.list("tags").unwrap(), ["x", "y"]);
        assert_eq!(params.value("variables").unwrap(), &json!([{"key": "A", "value": "1"}, {"key": "B"}]));
    }
}

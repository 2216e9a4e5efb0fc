//! A record of every request, for assertions and for looking at what a runner really sends.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::clock::stamp;

/// Older records are dropped beyond this many.
const KEPT: usize = 20_000;

/// Headers, query parameters and JSON members that are hidden unless asked for.
const SECRET_NAMES: [&str; 9] = [
    "job-token",
    "runner-token",
    "private-token",
    "authorization",
    "cookie",
    "token",
    "private_token",
    "job_token",
    "password",
];

/// One request and what became of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// When the request's head was there.
    pub at: SystemTime,
    /// `GET`, `PATCH`, …
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query without the question mark; empty if there is none.
    pub query: String,
    /// Request headers; names are in lower case.
    pub headers: HeaderMap,
    /// Bytes of body that were read.
    pub body_size: u64,
    /// The body if it was JSON of at most 64 KiB.
    pub json: Option<Value>,
    /// The answer's status; none if the connection was cut instead.
    pub status: Option<u16>,
    /// The answer's headers.
    pub response_headers: HeaderMap,
    /// Until the answer's head was there.
    pub took: Duration,
}

impl Record {
    /// As the HTTP interface shows it, tokens hidden unless `secrets`.
    pub(crate) fn to_json(&self, secrets: bool) -> Value {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(url::form_urlencoded::parse(self.query.as_bytes()).map(|(name, value)| {
                match is_secret(&name) && !secrets {
                    true => (name, "[redacted]".into()),
                    false => (name, value),
                }
            }))
            .finish();
        json!({
            "at": stamp(self.at),
            "method": self.method,
            "path": self.path,
            "query": query,
            "headers": headers(&self.headers, secrets),
            "body_size": self.body_size,
            "json": self.json.clone().map(|body| if secrets { body } else { redacted(body) }),
            "status": self.status,
            "response_headers": headers(&self.response_headers, secrets),
            "took_ms": self.took.as_secs_f64() * 1000.0,
        })
    }
}

/// A copy that does not keep the connection's read buffer alive, as a clone would.
pub(crate) fn own_headers(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?)))
        .collect()
}

fn is_secret(name: &str) -> bool {
    SECRET_NAMES.contains(&name.to_ascii_lowercase().as_str())
}

fn headers(headers: &HeaderMap, secrets: bool) -> Value {
    let shown: Map<String, Value> = headers
        .iter()
        .map(|(name, value)| {
            let text = if is_secret(name.as_str()) && !secrets {
                "[redacted]".into()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), Value::String(text))
        })
        .collect();
    Value::Object(shown)
}

fn redacted(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let value = match is_secret(&name) && value.is_string() {
                    true => json!("[redacted]"),
                    false => redacted(value),
                };
                (name, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(redacted).collect(),
        other => other,
    }
}

/// All requests in the order in which they were answered.
#[derive(Debug, Default)]
pub(crate) struct Records {
    list: Mutex<VecDeque<Record>>,
    added: watch::Sender<u64>,
}

impl Records {
    pub(crate) fn add(&self, record: Record) {
        {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if list.len() == KEPT {
                list.pop_front();
            }
            list.push_back(record);
        }
        self.added.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn all(&self) -> Vec<Record> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn find(&self, fits: &impl Fn(&Record) -> bool) -> Option<Record> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|record| fits(record)).cloned()
    }

    /// Waits for a request that fits; looks at those that are already there first.
    pub(crate) async fn wait_for(&self, fits: impl Fn(&Record) -> bool) -> Record {
        let mut added = self.added.subscribe();
        loop {
            added.borrow_and_update();
            if let Some(found) = self.find(&fits) {
                return found;
            }
            if added.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_hidden_in_query_headers_and_body_unless_asked_for() {
        let mut header = HeaderMap::new();
        header.insert("job-token", "secret1".parse().unwrap());
        let record = Record {
            at: SystemTime::now(),
            method: "PUT".into(),
            path: "/x".into(),
            query: "token=secret2&a=b".into(),
            headers: header,
            body_size: 1,
            json: Some(json!({"token": "secret3", "list": [{"password": "secret4"}]})),
            status: Some(200),
            response_headers: HeaderMap::new(),
            took: Duration::ZERO,
        };
        let hidden = record.to_json(false).to_string();
        assert!(!hidden.contains("secret") && hidden.contains("a=b"), "{hidden}");
        let shown = record.to_json(true).to_string();
        for secret in ["secret1", "secret2", "secret3", "secret4"] {
            assert!(shown.contains(secret), "{shown}");
        }
    }
}

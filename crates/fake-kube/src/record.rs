//! The record of every request, so that tests can count them.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without the query, e.g. `/api/v1/namespaces/ci/pods`.
    pub path: String,
    /// The query as it came, without `?`.
    pub query: String,
    /// The status of the answer; `0` while there is none, and for ever if the connection was dropped.
    pub status: u16,
    /// When it came: RFC 3339, UTC.
    pub at: String,
    /// The client's `User-Agent`.
    pub agent: String,
}

impl Request {
    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
    }
}

/// All requests so far.
#[derive(Debug, Default)]
pub(crate) struct Record {
    requests: Mutex<Vec<Request>>,
}

impl Record {
    /// Notes a request that arrived; the number is for [`Record::answered`].
    pub(crate) fn arrived(&self, request: Request) -> usize {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
        requests.len() - 1
    }

    /// Notes the answer's status.
    pub(crate) fn answered(&self, number: usize, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // Absent if the record was emptied meanwhile.
        if let Some(request) = requests.get_mut(number) {
            request.status = status;
        }
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

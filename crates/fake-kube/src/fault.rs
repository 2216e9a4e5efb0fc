//! A rule for requests: which are hit, and how.

use serde::{Deserialize, Serialize};

/// A rule: requests that match suffer `act`, `times` times.
///
/// As JSON: `{"method":"GET","path":"/log","times":1,"act":{"cut":{"bytes":4096}}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The method; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A part of the path, e.g. `/pods/`; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A part of the query, e.g. `watch=`; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u64,
    /// How many requests are hit; no limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What happens to them.
    pub act: Act,
}

/// What happens to a request that is hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Answered with this status instead of being served.
    Answer {
        /// The HTTP status, e.g. 503.
        code: u16,
        /// Seconds for a `Retry-After` header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        /// The message in the `Status`; the usual one of this code if empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// Served after a pause.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Served, but the body breaks off.
    Cut {
        /// After this many bytes of the body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// After this many milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
        /// Ends as if complete, instead of in the middle of a chunk.
        #[serde(default)]
        clean: bool,
    },
    /// The connection is closed without an answer, and the request has no effect.
    Drop {},
    /// The request takes effect, and then the connection is closed without an answer.
    LoseAnswer {},
    /// A watch answers at once with an `ERROR` event 410.
    Expire {},
    /// Not an HTTP API at all: an HTML page, as from a proxy in between.
    Html {
        /// The HTTP status.
        code: u16,
    },
}

impl Fault {
    /// A rule for every request; narrow it with the other methods.
    pub fn new(act: Act) -> Self {
        Self { method: None, path: None, query: None, skip: 0, times: None, act }
    }

    /// Requests are answered with `code`.
    pub fn answer(code: u16) -> Self {
        Self::new(Act::Answer { code, retry_after: None, message: String::new() })
    }

    /// Requests are answered with 429 and `Retry-After: seconds`.
    pub fn too_many_requests(seconds: u64) -> Self {
        Self::new(Act::Answer { code: 429, retry_after: Some(seconds), message: String::new() })
    }

    /// Log streams break off, in the middle of a chunk, after `bytes`.
    pub fn cut_logs_after(bytes: u64) -> Self {
        Self::new(Act::Cut { bytes: Some(bytes), ms: None, clean: false }).path("/log")
    }

    /// Watches break off `ms` milliseconds after they began.
    pub fn cut_watches_after_ms(ms: u64) -> Self {
        Self::new(Act::Cut { bytes: None, ms: Some(ms), clean: false }).query("watch=")
    }

    /// Only this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only paths that contain this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only queries that contain this.
    #[must_use]
    pub fn query(mut self, part: &str) -> Self {
        self.query = Some(part.to_owned());
        self
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Not the first `skip` requests.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Whether this request is meant.
    pub(crate) fn hits(&self, method: &str, path: &str, query: &str) -> bool {
        let part = |part: &Option<String>, whole: &str| part.as_ref().is_none_or(|part| whole.contains(part.as_str()));
        self.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method))
            && part(&self.path, path)
            && part(&self.query, query)
    }
}

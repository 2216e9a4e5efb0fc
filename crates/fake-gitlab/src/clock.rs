//! Times as GitLab writes them: RFC 3339 in UTC with milliseconds.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// `2022-01-11T14:39:24.000Z`.
pub(crate) fn stamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// The same as a JSON string, or null.
pub(crate) fn stamp_or_null(at: Option<SystemTime>) -> Value {
    at.map_or(Value::Null, |at| Value::String(stamp(at)))
}

/// Seconds from `start` to `end`, or to now while there is no end; 0 if the clock went back.
pub(crate) fn seconds(start: Option<SystemTime>, end: Option<SystemTime>) -> Option<f64> {
    let start = start?;
    let end = end.unwrap_or_else(SystemTime::now);
    Some(end.duration_since(start).unwrap_or(Duration::ZERO).as_secs_f64())
}

//! How often a token may call (GitLab: rate limits of the runner API).

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use serde_json::json;

use crate::api_error::ApiError;

/// Calls are counted per minute.
const WINDOW: Duration = Duration::from_secs(60);

/// Windows that are over are forgotten when there are this many.
const KEPT: usize = 10_000;

/// What is counted apart from everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    JobRequest,
    TracePatch,
    JobCall,
}

/// The calls of the last minute by bucket and token.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(HashMap<(Bucket, String), (SystemTime, u64)>);

impl RateLimits {
    /// Counts a call; 429 if it is one too many. A `limit` of 0 is none.
    pub(crate) fn count(&mut self, bucket: Bucket, token: &str, limit: u64, now: SystemTime) -> Result<(), ApiError> {
        if limit == 0 {
            return Ok(());
        }
        let is_over = |began: SystemTime| now.duration_since(began).is_ok_and(|age| age >= WINDOW);
        if self.0.len() >= KEPT {
            self.0.retain(|_, (began, _)| !is_over(*began));
        }
        let (began, calls) = self.0.entry((bucket, token.to_owned())).or_insert((now, 0));
        if is_over(*began) {
            (*began, *calls) = (now, 0);
        }
        *calls += 1;
        if *calls <= limit {
            return Ok(());
        }
        let reset = *began + WINDOW;
        let stamp = reset.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let message = json!({ "error": "This endpoint has been requested too many times. Try again later." });
        Err(ApiError::message(StatusCode::TOO_MANY_REQUESTS, message)
            .with_header("retry-after", WINDOW.as_secs())
            .with_header("ratelimit-limit", limit)
            .with_header("ratelimit-observed", *calls)
            .with_header("ratelimit-remaining", 0)
            .with_header("ratelimit-reset", stamp)
            .with_header("ratelimit-resettime", httpdate::fmt_http_date(reset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_after_a_minute_and_tokens_and_buckets_are_apart() {
        let start = SystemTime::now();
        let mut limits = RateLimits::default();
        let mut at =
            |bucket, token: &str, seconds| limits.count(bucket, token, 2, start + Duration::from_secs(seconds)).is_ok();
        assert!(at(Bucket::JobCall, "a", 0) && at(Bucket::JobCall, "a", 59) && !at(Bucket::JobCall, "a", 59));
        assert!(at(Bucket::JobCall, "b", 59) && at(Bucket::TracePatch, "a", 59));
        assert!(at(Bucket::JobCall, "a", 60));
    }
}

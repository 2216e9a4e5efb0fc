//! Which answers of the API server are worth another try, and for how long.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use kube::Error;

/// How long a call is repeated while the API server is down, slow or busy.
const BUDGET: Duration = Duration::from_secs(300);

/// Longest time one call may take; the client itself has no read timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// An error of the API server in the words a user understands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It answered, and that was no.
    #[error("{message}")]
    Refused { code: u16, reason: String, message: String },
    /// It did not answer, or not in time.
    #[error("{0}")]
    Unreachable(String),
}

impl ApiError {
    /// HTTP status; 0 if there was no answer.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Unreachable(_) => 0,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { code, reason, .. } => match code {
                429 | 500 | 502 | 503 | 504 => true,
                // "the object has been modified", "namespace is being terminated" and the like say Conflict, a taken name AlreadyExists
                409 => reason == "Conflict",
                _ => false,
            },
        }
    }
}

impl From<Error> for ApiError {
    fn from(err: Error) -> Self {
        match err {
            Error::Api(status) => Self::Refused {
                code: status.code,
                reason: status.reason.clone(),
                message: if status.message.is_empty() {
                    format!("HTTP status {}", status.code)
                } else {
                    status.message.clone()
                },
            },
            other => Self::Unreachable(innermost(&other)),
        }
    }
}

impl ApiError {
    /// What went wrong with a watch.
    pub(crate) fn from_watch(err: kube::runtime::watcher::Error) -> Self {
        use kube::runtime::watcher::Error as Watch;
        match err {
            Watch::InitialListFailed(err) | Watch::WatchStartFailed(err) | Watch::WatchFailed(err) => err.into(),
            Watch::WatchError(status) => Error::Api(status).into(),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// The deepest cause, which says what happened ("Connection refused") where the outer ones say that something did.
fn innermost(err: &(dyn std::error::Error + 'static)) -> String {
    let mut err = err;
    while let Some(source) = err.source() {
        err = source;
    }
    err.to_string()
}

/// Pauses between two tries: 0.2 s doubling to 15 s with jitter, until the budget is used up.
fn pauses() -> impl Iterator<Item = Duration> {
    let builder = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(15))
        .with_total_delay(Some(BUDGET))
        .without_max_times()
        .with_jitter();
    builder.build()
}

/// Makes `call` until it succeeds, fails for good, or the budget is used up. `what` names it in the log.
pub(crate) async fn retry<T, F>(what: &str, mut call: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = kube::Result<T>>,
{
    let mut pauses = pauses();
    loop {
        let err = match tokio::time::timeout(CALL_TIMEOUT, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(err)) => ApiError::from(err),
            Err(_) => ApiError::Unreachable(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
        };
        if !err.is_passing() {
            return Err(err);
        }
        let Some(pause) = pauses.next() else { return Err(err) };
        tracing::warn!("{what}: {err}; trying again in {:.1} s", pause.as_secs_f64());
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str) -> ApiError {
        ApiError::Refused { code, reason: reason.to_owned(), message: String::new() }
    }

    #[test]
    fn only_passing_trouble_is_retried() {
        for code in [429, 500, 502, 503, 504] {
            assert!(refused(code, "").is_passing(), "{code}");
        }
        for code in [400, 401, 403, 404, 422] {
            assert!(!refused(code, "").is_passing(), "{code}");
        }
        assert!(refused(409, "Conflict").is_passing() && !refused(409, "AlreadyExists").is_passing());
        assert!(ApiError::Unreachable(String::new()).is_passing());
    }
}

//! Which answers are tried again, and when: the layer around each request of the contract.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use crate::error::Error;

/// Attempts in total, the first included.
pub const ATTEMPTS: usize = 5;

/// Calls `request` until it comes to an outcome, fails for a reason that lasts, or [`ATTEMPTS`] have been made; then its last error.
///
/// Repeated are the statuses of [`Error::is_retryable`], after the time the server asked for, else after 100 ms, doubling, with
/// jitter, at most 60 s. Not repeated are transport errors: whether the other side has acted on the request is unknown.
/// Dropping the future stops the waiting. Source: GitLab runner contract, retry layer.
pub async fn retry<T, F: Future<Output = Result<T, Error>>>(request: impl FnMut() -> F) -> Result<T, Error> {
    retry_within(Duration::MAX, request).await
}

/// Like [`retry`], but hands the error out when the server asks for a wait longer than `longest`: the caller can let go of what it
/// holds, and then wait as long.
pub async fn retry_within<T, F: Future<Output = Result<T, Error>>>(
    longest: Duration,
    request: impl FnMut() -> F,
) -> Result<T, Error> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_factor(2.0)
        .with_max_delay(Duration::from_secs(60))
        .with_max_times(ATTEMPTS - 1)
        .with_jitter();
    request
        .retry(backoff)
        .when(Error::is_retryable)
        .adjust(|err, delay| Some(err.wait().unwrap_or(delay?)).filter(|wait| *wait <= longest))
        .notify(|err, delay| tracing::debug!("{err}: trying again in {delay:?}"))
        .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;
    use crate::error::Call;

    fn status(status: u16, wait: Option<Duration>) -> Error {
        Error::Status { call: Call::UpdateJob, host: "h".into(), status, message: String::new(), wait, location: None }
    }

    #[tokio::test(start_paused = true)]
    async fn statuses_that_pass_are_tried_five_times_and_others_once() {
        for (code, attempts) in [
            (408, 5),
            (429, 5),
            (500, 5),
            (501, 1),
            (502, 5),
            (503, 5),
            (504, 5),
            (505, 1),
            (511, 1),
            (512, 5),
            (599, 5),
            (404, 1),
            (409, 1),
        ] {
            let tried = Cell::new(0);
            let result = retry(|| async {
                tried.set(tried.get() + 1);
                Err::<(), _>(status(code, None))
            });
            assert_eq!(result.await.unwrap_err().status(), Some(code));
            assert_eq!(tried.get(), attempts, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_says_how_long_to_wait() {
        let start = Instant::now();
        let tried = Cell::new(0);
        let result = retry(|| async {
            tried.set(tried.get() + 1);
            if tried.get() < 3 { Err(status(429, Some(Duration::from_secs(60)))) } else { Ok(tried.get()) }
        });
        assert_eq!(result.await.unwrap(), 3);
        assert_eq!(start.elapsed().as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_is_left_to_the_caller() {
        let (start, tried) = (Instant::now(), Cell::new(0));
        let result = retry_within(Duration::from_secs(2), || async {
            tried.set(tried.get() + 1);
            Err::<(), _>(status(429, Some(Duration::from_secs(tried.get()))))
        });
        assert_eq!(result.await.unwrap_err().wait(), Some(Duration::from_secs(3)));
        assert_eq!((tried.get(), start.elapsed().as_secs()), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_word_from_the_server_the_wait_doubles() {
        let start = Instant::now();
        let result = retry(|| async { Err::<(), _>(status(503, None)) });
        result.await.unwrap_err();
        let waited = start.elapsed(); // 0.1 + 0.2 + 0.4 + 0.8 s, jitter at most doubles each
        assert!((1500..=3010).contains(&waited.as_millis()), "{waited:?}");
    }

    #[tokio::test]
    async fn transport_errors_are_not_tried_again() {
        let tried = Cell::new(0);
        let result = retry(|| async {
            tried.set(tried.get() + 1);
            Err::<(), _>(Error::Transport { call: Call::UpdateJob, host: "h".into(), why: "reset".into() })
        });
        result.await.unwrap_err();
        assert_eq!(tried.get(), 1);
    }
}

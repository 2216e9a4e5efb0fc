//! The runner's own time limits of single stages: used only where they are shorter than the job's.

use std::time::Duration;

use runner_core::duration::GoDuration;

/// How long a stage may take in a job of this `timeout`; the text says why the runner's setting `key` is not used.
pub(crate) fn stage_limit(key: &str, configured: Option<GoDuration>, timeout: Duration) -> (Duration, Option<String>) {
    let Some(limit) = configured else { return (timeout, None) };
    let whole = GoDuration::from(timeout);
    match limit.to_std() {
        Some(limit) if !limit.is_zero() && limit <= timeout => (limit, None),
        Some(time) if !time.is_zero() => {
            (timeout, Some(format!("{key} ({limit}) exceeds job timeout ({whole}); using job timeout")))
        }
        _ => (timeout, Some(format!("{key} ({limit}) must be greater than 0; using job timeout ({whole})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j105_j106_a_limit_holds_only_within_the_jobs_time() {
        let timeout = Duration::from_secs(600);
        for (configured, limit, warning) in [
            (None, 600, None),
            (Some("30s"), 30, None),
            (Some("10m"), 600, None),
            (Some("0"), 600, Some("prepare_timeout (0s) must be greater than 0; using job timeout (10m0s)")),
            (Some("-1s"), 600, Some("prepare_timeout (-1s) must be greater than 0; using job timeout (10m0s)")),
            (Some("1h"), 600, Some("prepare_timeout (1h0m0s) exceeds job timeout (10m0s); using job timeout")),
        ] {
            let configured = configured.map(|text| text.parse().unwrap());
            let (found, text) = stage_limit("prepare_timeout", configured, timeout);
            assert_eq!((found.as_secs(), text.as_deref()), (limit, warning), "{configured:?}");
        }
    }
}

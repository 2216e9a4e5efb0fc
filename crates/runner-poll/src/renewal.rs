//! A runner's token is exchanged for a new one before it expires.
//!
//! Source: GitLab runner contract, token rotation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use jiff::Timestamp;
use runner_config::renewal::{self, Renewal};
use runner_core::config::{self, Runner};
use runner_core::secret::short_token;
use runner_gitlab::retry::retry;

use crate::source::Source;

/// How much of a token's life is used.
const SHARE: f64 = 0.75;
/// When to try again after a failure.
pub(crate) const AGAIN: Duration = Duration::from_secs(5 * 60);
/// When to try again to save a token that GitLab has given: the old one is invalid.
const SAVE_AGAIN: Duration = Duration::from_secs(10);
/// Switches the renewal off.
const OFF: &str = "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION";

/// How long from `now` until the runner's token is to be renewed; `None` is never.
pub(crate) fn at(runner: &Runner, now: SystemTime) -> Option<Duration> {
    let text = runner.token_expires_at.as_ref()?.text()?;
    let until =
        |why: &str| tracing::warn!("runner `{}`: its token expires at {text} and is not renewed: {why}", runner.name);
    let Some(expires) = time(runner.token_expires_at.as_ref()) else {
        until("that is no time with an offset from UTC");
        return None;
    };
    if runner.feature_flags.get(OFF) == Some(&true) {
        until(&format!("{OFF} is on"));
        return None;
    }
    // Without a beginning, what is left counts.
    let obtained = time(runner.token_obtained_at.as_ref()).unwrap_or(now).min(expires);
    let life = expires.duration_since(obtained).unwrap_or_default();
    Some((obtained + life.mul_f64(SHARE)).duration_since(now).unwrap_or_default())
}

fn time(time: Option<&config::Timestamp>) -> Option<SystemTime> {
    time?.text()?.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// Exchanges the token of `source` in the file at `path`.
pub(crate) async fn renew(path: PathBuf, source: Arc<Source>) -> anyhow::Result<()> {
    let runner = source.runner.clone();
    let prepared = tokio::task::spawn_blocking(move || Renewal::prepare(&path, &runner.url, &runner.token));
    let renewal = prepared.await.context("preparing the file")??;
    let new = retry(|| source.client.reset_token(&source.runner.token)).await?;
    let until = new.token_expires_at.as_deref();
    let keys = renewal::keys(&new.token, SystemTime::now(), until);
    while let Err(err) = renewal.finish(&keys) {
        tracing::error!("runner `{}`: its new token cannot be saved: {err}; trying again", source.title());
        tokio::time::sleep(SAVE_AGAIN).await;
    }
    let (short, until) = (short_token(new.token.expose()), until.unwrap_or("never"));
    tracing::info!("runner `{}`: token renewed to {short}, expires {until}", source.title());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::source;

    fn at_second(obtained: &str, expires: &str, more: &str) -> Option<u64> {
        let text = format!("token = \"t\"\ntoken_obtained_at = {obtained}\ntoken_expires_at = {expires}\n{more}");
        let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        at(&source(&text).runner, now.into()).map(|wait| wait.as_secs())
    }

    #[test]
    fn p21_a_token_is_renewed_after_three_quarters_of_its_life() {
        let begin = "2026-01-01T00:00:00Z";
        for (obtained, expires, expected) in [
            (begin, "2026-01-01T00:01:40Z", Some(75)),
            (begin, "2026-01-01T02:01:40+02:00", Some(75)),
            (begin, "\"2026-01-01T00:01:40.000Z\"", Some(75)),
            ("2025-12-31T23:59:00Z", "2026-01-01T00:01:00Z", Some(30)),
            ("2025-01-01T00:00:00Z", "2026-01-01T00:00:01Z", Some(0)),
            ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", Some(0)),
            ("0001-01-01T00:00:00Z", "2026-01-01T00:01:40Z", Some(75)),
            (begin, "0001-01-01T00:00:00Z", None),
            (begin, "2026-01-01T00:01:40", None),
        ] {
            assert_eq!(at_second(obtained, expires, ""), expected, "{obtained} to {expires}");
        }
    }

    #[test]
    fn p23_the_feature_flag_leaves_the_token_alone() {
        for (on, expected) in [("true", None), ("false", Some(75))] {
            let flag = format!("[runners.feature_flags]\nFF_DISABLE_AUTOMATIC_TOKEN_ROTATION = {on}\n");
            assert_eq!(at_second("2026-01-01T00:00:00Z", "2026-01-01T00:01:40Z", &flag), expected);
        }
    }
}

//! Ends a job that cannot be run: GitLab has given it to us, so somebody must say why it failed.

use bytes::Bytes;
use runner_core::failure::FailureReason;
use runner_core::secret::Secret;
use runner_core::text;
use runner_gitlab::retry::retry;
use runner_gitlab::{Client, Error, Info, JobUpdate, LogOutput, Patch, UpdateState};
use serde::Deserialize;

/// The least that must be readable of a payload to end its job.
#[derive(Deserialize)]
pub(crate) struct Claim {
    /// Job token.
    pub(crate) token: Secret,
}

/// Reports the job as failed by the system, with `why` in its log.
///
/// The log is the lesser part: if it is not taken, the result is still sent.
pub(crate) async fn hand_back(client: &Client, info: &Info, job: u64, token: &Secret, why: &str) -> Result<(), Error> {
    let line = Bytes::from(text::error(&format!("Job failed (system failure): {why}")));
    let patch = Patch { job, token, start: 0, bytes: line.clone(), debug_trace: false };
    let output = match retry(|| client.patch_trace(&patch)).await {
        Ok(_) => Some(LogOutput { crc32: crc32fast::hash(&line), bytes: line.len() as u64 }),
        Err(err) => {
            tracing::warn!("job {job}: {err}");
            None
        }
    };
    fail(client, info, job, token, FailureReason::RunnerSystemFailure, output).await
}

/// Reports the job as failed for `reason`.
pub(crate) async fn fail(
    client: &Client,
    info: &Info,
    job: u64,
    token: &Secret,
    reason: FailureReason,
    output: Option<LogOutput>,
) -> Result<(), Error> {
    let (state, failure_reason) = (UpdateState::Failed, Some(reason));
    let update = JobUpdate { job, token, info, state, failure_reason, exit_code: None, output };
    // 202 and 412 concern the log only; the result is noted in every case.
    retry(|| client.update_job(&update)).await.map(drop)
}

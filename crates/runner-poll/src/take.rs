//! From GitLab's answer to the line: the job becomes durable, is confirmed, and is printed.

use std::sync::Arc;
use std::time::Duration;

use runner_cli::state::{JobDir, StateDir, StateError};
use runner_cli::stdout::{Closed, Output};
use runner_core::control::Cancel;
use runner_core::failure::FailureReason;
use runner_core::job::{JobLine, Payload, RunnerRef};
use runner_core::line;
use runner_core::secret::Secret;
use runner_gitlab::retry::retry;
use runner_gitlab::{Client, Info, JobStatus, JobUpdate, Trust, UpdateState, Updated};

use crate::handback::{Claim, fail, hand_back};

/// How long GitLab may take to confirm a job. The window of a GitLab that waits for it is two minutes.
const CONFIRM: Duration = Duration::from_secs(60);

/// Where a job goes on its way to the line.
#[derive(Debug, Clone)]
pub(crate) struct Taker {
    pub(crate) state: Arc<StateDir>,
    pub(crate) output: Output,
}

/// A job that is in the state directory: nothing can lose it any more.
#[derive(Debug)]
pub(crate) struct Stored {
    dir: JobDir,
    line: Vec<u8>,
    token: Secret,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Its line is printed.
    Printed,
    /// It is not to be run, and GitLab knows.
    Dropped,
    /// The state directory did not take it; GitLab was told that it failed.
    NoRoom(StateError),
    /// Nobody reads the lines any more. The job stays in the state directory.
    Closed,
}

/// GitLab's word on a job that is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Run,
    /// Canceled meanwhile, or another's: send nothing more.
    Forget,
    /// To be canceled gracefully; there is nothing to clean up yet.
    Cancel,
}

impl Taker {
    /// Makes a job durable that GitLab has just given. One that cannot be kept is handed back.
    pub(crate) async fn store(&self, client: &Client, info: &Info, job: JobLine) -> Result<Stored, Taken> {
        let payload = match Payload::parse(&job.payload) {
            Ok(payload) => payload,
            Err(err) => {
                refuse(client, info, &job, &format!("the job's payload cannot be read: {err}")).await;
                return Err(Taken::Dropped);
            }
        };
        let (state, key, line) = (Arc::clone(&self.state), job.key(), line::encode(&job));
        let made = tokio::task::spawn_blocking(move || state.create_job(&key, &line).map(|dir| (dir, line)));
        match made.await {
            Ok(Ok((dir, line))) => Ok(Stored { dir, line, token: payload.token }),
            Ok(Err(err)) => {
                refuse(client, info, &job, &format!("the runner cannot store the job: {err}")).await;
                Err(Taken::NoRoom(err))
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Confirms a stored job to GitLab and prints it.
    pub(crate) async fn begin(&self, client: &Client, info: &Info, job: Stored) -> Taken {
        self.confirm_and_print(client, info, &job.dir, &job.token, job.line).await
    }

    /// Prints a job again that was found in the state directory.
    ///
    /// Without a journal nobody downstream has seen it, and GitLab may not have been told: then it is confirmed, as a new one.
    pub(crate) async fn resume(&self, dir: &JobDir) -> Taken {
        let mut job: JobLine = match read(dir) {
            Ok(job) => job,
            Err(why) => {
                tracing::error!("{}: {why}; it is left alone and keeps its slot", dir.path().display());
                return Taken::Dropped;
            }
        };
        job.resume = true;
        let bytes = line::encode(&job);
        if dir.journal_path().exists() {
            return self.print(bytes).await;
        }
        match (Client::new(&job.runner.url, Trust::System(&job.runner.tls)), Payload::parse(&job.payload)) {
            (Ok(client), Ok(payload)) => {
                self.confirm_and_print(&client, &Info::default(), dir, &payload.token, bytes).await
            }
            // The confirmation is worth less than the job.
            _ => self.print(bytes).await,
        }
    }

    async fn confirm_and_print(
        &self,
        client: &Client,
        info: &Info,
        dir: &JobDir,
        token: &Secret,
        line: Vec<u8>,
    ) -> Taken {
        let id = dir.key().id;
        match confirm(client, info, id, token).await {
            Verdict::Run => {}
            Verdict::Forget => {
                tracing::info!("job {id}: GitLab does not want it any more");
                return self.remove(dir);
            }
            Verdict::Cancel => match fail(client, info, id, token, FailureReason::JobCanceled, None).await {
                Ok(()) => {
                    tracing::info!("job {id}: canceled before it began");
                    return self.remove(dir);
                }
                // The rest of the pipe has more patience: it gets the job together with the order to cancel it.
                Err(err) => {
                    tracing::warn!("job {id}: {err}");
                    if let Err(err) = dir.set_cancel(Cancel::Canceling) {
                        tracing::error!("job {id}: {err}");
                    }
                }
            },
        }
        self.print(line).await
    }

    async fn print(&self, line: Vec<u8>) -> Taken {
        match self.output.write(line).await {
            Ok(()) => Taken::Printed,
            Err(Closed) => Taken::Closed,
        }
    }

    fn remove(&self, dir: &JobDir) -> Taken {
        if let Err(err) = self.state.remove_job(dir.key()) {
            tracing::error!("{err}");
        }
        Taken::Dropped
    }
}

/// Tells GitLab that the job runs. What cannot be told now is told by the log's delivery, so failures do not count.
async fn confirm(client: &Client, info: &Info, job: u64, token: &Secret) -> Verdict {
    let state = UpdateState::Running;
    let update = JobUpdate { job, token, info, state, failure_reason: None, exit_code: None, output: None };
    let told = tokio::time::timeout(CONFIRM, retry(|| client.update_job(&update)));
    let Ok(told) = told.await else {
        tracing::warn!(
            "job {job}: {} did not answer within {} s; it is run all the same",
            client.host(),
            CONFIRM.as_secs()
        );
        return Verdict::Run;
    };
    match told {
        Ok(answer) if answer.outcome == Updated::Gone || answer.job_status.is_some_and(JobStatus::aborts) => {
            Verdict::Forget
        }
        Ok(answer) if answer.job_status == Some(JobStatus::Canceling) => Verdict::Cancel,
        Ok(_) => Verdict::Run,
        Err(err) => {
            tracing::warn!("job {job}: {err}; it is run all the same");
            Verdict::Run
        }
    }
}

/// Hands the job back; the log says so in every case.
pub(crate) async fn refuse(client: &Client, info: &Info, job: &JobLine, why: &str) {
    tracing::error!("job {} of {}: {why}", job.id, client.host());
    let Ok(claim) = serde_json::from_str::<Claim>(job.payload.get()) else {
        tracing::error!("job {} of {}: it has no token, so GitLab cannot be told", job.id, client.host());
        return;
    };
    if let Err(err) = hand_back(client, info, job.id, &claim.token, why).await {
        tracing::error!("job {}: GitLab cannot be told that it failed: {err}", job.id);
    }
}

/// The job line for a payload.
pub(crate) fn job_line(id: u64, runner: RunnerRef, payload: Box<serde_json::value::RawValue>) -> JobLine {
    JobLine::new(id, runner, payload)
}

fn read(dir: &JobDir) -> Result<JobLine, String> {
    let text = dir.read_job().map_err(|err| err.to_string())?;
    match line::Line::decode(text.trim_end()) {
        Ok(line::Line::Job(job)) => Ok(*job),
        Ok(_) => Err("job.json holds no job line".to_owned()),
        Err(err) => Err(format!("job.json: {err}")),
    }
}

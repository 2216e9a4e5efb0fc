//! Brings a job from GitLab's answer into the state directory and from there to the line.

use std::sync::Arc;

use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::stdout::Closed;
use runner_core::event::JobKey;
use runner_core::job::RunnerRef;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{LAST_WORD, LOOK_AGAIN, Poll, STORE};
use crate::source::Source;
use crate::take::{Stored, Taken, job_line, refuse};

/// A job that has been stored, or has not.
pub(super) struct Storing {
    source: Arc<Source>,
    key: JobKey,
    job: Result<Stored, Taken>,
}

impl Poll {
    /// Prints the jobs of the state directory again.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<()> {
        let signals = self.signals.clone();
        let mut resumed = JoinSet::new();
        for dir in self.taker.state.jobs().exit(Exit::Io)? {
            let taker = self.taker.clone();
            resumed.spawn(async move { taker.resume(&dir).await });
        }
        tokio::select! {
            () = signals.stop.cancelled() => {}
            taken = resumed.join_all() => {
                let printed = taken.iter().filter(|taken| matches!(taken, Taken::Printed)).count();
                if printed > 0 {
                    tracing::info!("{printed} unfinished jobs go on");
                }
            }
        }
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        source: Arc<Source>,
        id: u64,
        payload: Box<serde_json::value::RawValue>,
        correlation_id: String,
    ) {
        let runner = &source.runner;
        let mut job = job_line(
            id,
            RunnerRef {
                name: runner.name.clone(),
                url: runner.url.clone(),
                short_token: runner.short_token().to_owned(),
                system_id: self.system_id.clone(),
                id: (runner.id > 0).then_some(runner.id),
                tls: runner.tls(),
                concurrent_id: 0,
                concurrent_project_id: 0,
                correlation_id,
                config: runner.to_line_config(),
            },
            payload,
        );
        let key = job.key();
        let numbers = self.slots.claim(&key, source.id(), project_of(job.payload.get()));
        let taker = self.taker.clone();
        self.storing.spawn(async move {
            let Some(numbers) = numbers else {
                refuse(&source.client, &source.info, &job, "an earlier run of this job is not finished here").await;
                return Storing { source, key, job: Err(Taken::Dropped) };
            };
            job.runner.concurrent_id = numbers.concurrent;
            job.runner.concurrent_project_id = numbers.project;
            tracing::info!("job {id} of {} for runner `{}`", source.client.host(), source.title());
            let job = taker.store(&source.client, &source.info, job).await;
            Storing { source, key, job }
        });
    }

    pub(super) fn stored(&mut self, Storing { source, key, job }: Storing) -> anyhow::Result<()> {
        match job {
            Ok(job) => {
                let taker = self.taker.clone();
                self.taking.spawn(async move { (key, taker.begin(&source.client, &source.info, job).await) });
            }
            Err(taken) => drop(self.settle(&key, taken)?),
        }
        Ok(())
    }

    /// Stores what GitLab has given, for the next start.
    pub(super) async fn secure(&mut self) {
        let answers = async {
            while let Some(asked) = self.asking.join_next().await {
                // A request that failed brought no job.
                if let Ok(asked) = asked {
                    self.heard(asked);
                }
            }
        };
        if tokio::time::timeout(LAST_WORD, answers).await.is_err() {
            tracing::debug!("a request for a job was cut short");
        }
        let stores = async { while self.storing.join_next().await.is_some() {} };
        if tokio::time::timeout(STORE, stores).await.is_err() {
            tracing::error!("a job that GitLab gave could not be stored within {} s", STORE.as_secs());
        }
    }

    /// Returns whether the job was printed.
    pub(super) fn settle(&mut self, key: &JobKey, taken: Taken) -> anyhow::Result<bool> {
        self.slots.settle(key);
        self.stale = true; // its folder may be gone again, or was never made
        match taken {
            Taken::Printed => Ok(true),
            Taken::Dropped => Ok(false),
            Taken::NoRoom(err) => {
                tracing::error!("{err}; no jobs are taken for {} s", LOOK_AGAIN.as_secs());
                self.not_before = Instant::now() + LOOK_AGAIN;
                Ok(false)
            }
            Taken::Closed => Err(failure(Exit::NeighbourLost, Closed)),
        }
    }
}

fn project_of(payload: &str) -> u64 {
    #[derive(Default, Deserialize)]
    struct Peek {
        job_info: Info,
    }
    #[derive(Default, Deserialize)]
    struct Info {
        project_id: u64,
    }
    // An unreadable payload is handed back in the next step, which says what is wrong with it.
    serde_json::from_str::<Peek>(payload).unwrap_or_default().job_info.project_id
}

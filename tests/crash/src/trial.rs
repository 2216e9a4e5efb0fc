//! One trial: a world, jobs, faults, calm, and then the check of everything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use fake_gitlab::{JobReport, JobStatus};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::check;
use crate::faults::Faults;
use crate::schedule::{Planned, Schedule};
use crate::shape::Shape;
use crate::supervisor::Supervisor;
use crate::world::World;

/// Once nothing is wrong any more, everything has to end within this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Jobs that were handed out and of which nothing was heard are looked for after this time without any news.
const SILENCE: Duration = Duration::from_secs(3);

/// Beyond the time that GitLab waits for a runner's word that it goes on with a job, in seconds.
const LAPSE: u64 = 150;

/// What a trial found.
pub(crate) struct Outcome {
    pub(crate) schedule: Schedule,
    pub(crate) violations: Vec<String>,
    /// Which faults of the schedule happened.
    pub(crate) happened: Vec<bool>,
    /// How often the pipe was started.
    pub(crate) runs: usize,
    pub(crate) took: Duration,
    pub(crate) folder: PathBuf,
}

/// Name of the job of this number in the schedule.
pub(crate) fn name_of(job: usize) -> String {
    format!("j{job}")
}

/// Runs the trial of `schedule` in `folder`.
pub(crate) async fn run(schedule: Schedule, folder: &Path) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let world = World::start(folder).await.context("starting the servers")?;
    let mut supervisor = Supervisor::start(world.places.clone());
    let (happened, harmed, mut violations) = disturbed(&world, &supervisor, &schedule).await?;
    match timeout(PATIENCE, all_ended(&world, &schedule.jobs)).await {
        Ok(()) => {}
        Err(_) => violations.extend(hanging(&world)),
    }
    let runs = supervisor.runs();
    match timeout(PATIENCE, supervisor.drain()).await {
        Ok(ended) => violations.extend(ended?),
        Err(_) => violations.push("the pipe does not end when it is drained".to_owned()),
    }
    violations.extend(check::jobs(&world, &schedule.jobs, &harmed));
    violations.extend(check::nothing_left(&world).await);
    violations.extend(check::secrets_in_logs(&world));
    drop(supervisor);
    if !violations.is_empty() {
        check::keep_evidence(&world)?;
    }
    let folder = folder.to_owned();
    Ok(Outcome { schedule, violations, happened, runs, took: began.elapsed(), folder })
}

/// Enqueues the jobs and lets the faults happen. Returns which happened, whose pods were harmed, and secrets that were seen.
async fn disturbed(
    world: &World,
    supervisor: &Supervisor,
    schedule: &Schedule,
) -> anyhow::Result<(Vec<bool>, BTreeSet<String>, Vec<String>)> {
    let faults = Faults::new(world, supervisor);
    let began = Instant::now();
    let enqueued = async {
        let all = schedule.jobs.iter().enumerate().map(|(number, job)| enqueue(world, began, number, job));
        futures::future::try_join_all(all).await.map(drop)
    };
    let all = futures::future::join_all(schedule.faults.iter().map(|fault| faults.strike(fault)));
    // A moment that is told by traffic may never come. When all else is over it is not waited for.
    let calm = async {
        let result = enqueued.await;
        let last = schedule.faults.iter().map(|fault| fault.latest()).max().unwrap_or_default();
        sleep_until(began + last).await;
        faults.end();
        result
    };
    let secrets = tokio::select! {
        never = check::secrets_in_sight(world, supervisor) => never,
        (happened, enqueued) = async { tokio::join!(all, calm) } => {
            enqueued?;
            faults.end();
            return Ok((happened, faults.harmed(), Vec::new()));
        }
    };
    Ok((Vec::new(), faults.harmed(), vec![secrets]))
}

/// Enqueues a job at its time, and cancels it at its time.
async fn enqueue(world: &World, began: Instant, number: usize, job: &Planned) -> anyhow::Result<()> {
    sleep_until(began + job.at).await;
    let name = name_of(number);
    let id = world.gitlab.enqueue(job.shape.spec(&name, &world.places.runs())).await?;
    if let Shape::Canceled(after) = job.shape {
        sleep(after).await;
        world.gitlab.cancel(id);
    }
    Ok(())
}

/// Returns when every job has ended, also those that GitLab had to hand out a second time.
async fn all_ended(world: &World, jobs: &[Planned]) {
    let mut seen = 0;
    loop {
        let open: Vec<_> = (0..jobs.len()).filter_map(|job| unfinished(world, job)).collect();
        if open.is_empty() {
            return;
        }
        for (job, report) in &open {
            let is_before = matches!(report.status, JobStatus::Pending | JobStatus::Running);
            if matches!(jobs[*job].shape, Shape::Canceled(_)) && is_before {
                world.gitlab.cancel(report.id); // the cancel met the attempt before this one
            }
        }
        match timeout(SILENCE, world.gitlab.wait_events(seen)).await {
            Ok(news) => seen += news.len(),
            Err(_) if open.iter().any(|(_, report)| report.status == JobStatus::Pending) => {
                world.gitlab.change_settings(|settings| settings.clock_ahead += LAPSE);
            }
            Err(_) => {}
        }
    }
}

/// The present attempt of a job, if it has not ended.
fn unfinished(world: &World, job: usize) -> Option<(usize, JobReport)> {
    let name = name_of(job);
    let last = world.gitlab.jobs().into_iter().rev().find(|report| report.name == name)?;
    (!last.status.is_finished()).then_some((job, last))
}

fn hanging(world: &World) -> Vec<String> {
    let open = world.gitlab.jobs().into_iter().filter(|job| !job.status.is_finished());
    open.map(|job| format!("{} (job {}) hangs: {}", job.name, job.id, job.status.as_str())).collect()
}

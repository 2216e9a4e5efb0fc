//! Which job of a pipeline may run now, and what a set of jobs amounts to.
//!
//! The rules are GitLab's: a job waits for the jobs before it (its `needs`, else all earlier
//! stages); their composite status and the job's `when` decide whether it runs, waits for a person
//! or is skipped.

use std::time::SystemTime;

use crate::job::{Job, JobStatus};
use crate::plan::When;
use crate::state::World;

/// What a set of jobs amounts to. An empty set is a success. With `dag` the jobs are one job's
/// `needs`, where a skipped one means that the job is skipped too.
fn composite<'a>(jobs: impl Iterator<Item = &'a Job> + Clone, dag: bool) -> JobStatus {
    use JobStatus::{Canceled, Canceling, Created, Failed, Manual, Pending, Running, Scheduled, Skipped, Success};
    let ignored = |job: &Job| job.allow_failure && job.status == Manual;
    let any = |wanted: &[JobStatus]| {
        jobs.clone().any(|job| !job.is_forgiven() && !ignored(job) && wanted.contains(&job.status))
    };
    // Forgiven failures count as successes, ignored manual jobs fit everywhere.
    let only = |wanted: &[JobStatus], forgiven_fit: bool| {
        jobs.clone().all(|job| {
            ignored(job) || (job.is_forgiven() && forgiven_fit) || (!job.is_forgiven() && wanted.contains(&job.status))
        })
    };
    if jobs.clone().next().is_none() {
        return Success;
    }
    if dag && (any(&[Skipped]) || jobs.clone().all(ignored)) {
        return Skipped;
    }
    if jobs.clone().all(|job| job.status == Skipped) || (any(&[Skipped]) && only(&[Skipped], false)) {
        return Skipped;
    }
    if only(&[Success, Skipped], true) {
        return Success;
    }
    if any(&[Canceling]) {
        return Canceling;
    }
    if only(&[Canceled, Success, Skipped], true) {
        return Canceled;
    }
    if only(&[Created, Skipped], true) {
        return Created;
    }
    if only(&[Pending, Created, Skipped], true) {
        return Pending;
    }
    if any(&[Running, Pending]) {
        return Running;
    }
    if any(&[Manual]) {
        return Manual;
    }
    if any(&[Scheduled]) {
        return Scheduled;
    }
    if any(&[Created]) {
        return Running;
    }
    Failed
}

/// The jobs of a pipeline that count: those that no retry has replaced.
pub(crate) fn latest_jobs(world: &World, pipeline: u64) -> Vec<&Job> {
    world
        .pipelines
        .get(&pipeline)
        .into_iter()
        .flat_map(|pipeline| &pipeline.jobs)
        .filter_map(|id| world.jobs.get(id))
        .filter(|job| !job.retried)
        .collect()
}

/// The status GitLab shows for a pipeline.
pub(crate) fn pipeline_status(world: &World, pipeline: u64) -> JobStatus {
    composite(latest_jobs(world, pipeline).into_iter(), false)
}

/// Moves every waiting job of a pipeline whose turn has come, until nothing moves any more.
pub(crate) fn advance(world: &mut World, pipeline: u64) {
    loop {
        let moves: Vec<(u64, JobStatus)> = {
            let jobs = latest_jobs(world, pipeline);
            jobs.iter()
                .filter(|job| job.status == JobStatus::Created)
                .filter_map(|job| Some((job.id, next_status(job, &jobs)?)))
                .collect()
        };
        if moves.is_empty() {
            break;
        }
        for (id, status) in moves {
            world.set_status(id, status);
        }
    }
    let now = world.now();
    let status = pipeline_status(world, pipeline);
    let started = latest_jobs(world, pipeline).iter().filter_map(|job| job.started_at).min();
    if let Some(pipeline) = world.pipelines.get_mut(&pipeline) {
        pipeline.started_at = pipeline.started_at.or(started);
        pipeline.finished_at = status.is_finished().then(|| pipeline.finished_at.unwrap_or(now));
    }
}

/// What a created job becomes now; none while it has to wait.
fn next_status(job: &Job, jobs: &[&Job]) -> Option<JobStatus> {
    let is_before = |other: &Job| match &job.plan.needs {
        Some(needs) => needs.iter().any(|need| need.job == other.plan.name),
        None => other.plan.stage_index < job.plan.stage_index,
    };
    let before = jobs.iter().copied().filter(|other| is_before(other));
    let is_over =
        |other: &Job| other.status.is_finished() || (other.status == JobStatus::Manual && other.allow_failure);
    if !before.clone().all(is_over) {
        return None;
    }
    let dag = job.plan.needs.is_some();
    let outcome = composite(before, dag);
    let runs = match job.plan.when {
        When::OnSuccess | When::Manual | When::Delayed(_) => {
            outcome == JobStatus::Success || (outcome == JobStatus::Skipped && !dag)
        }
        When::OnFailure => outcome == JobStatus::Failed,
        When::Always => true,
    };
    Some(match job.plan.when {
        _ if !runs => JobStatus::Skipped,
        When::Manual if !job.played => JobStatus::Manual,
        When::Delayed(_) if !job.played => JobStatus::Scheduled,
        _ => JobStatus::Pending,
    })
}

/// The delayed jobs whose time has come, and when the next one's comes.
pub(crate) fn due(world: &World) -> (Vec<u64>, Option<SystemTime>) {
    let now = world.now();
    let scheduled = world.jobs.values().filter(|job| job.status == JobStatus::Scheduled);
    let times: Vec<(u64, SystemTime)> = scheduled.filter_map(|job| Some((job.id, job.scheduled_at?))).collect();
    let due = times.iter().filter(|(_, at)| *at <= now).map(|(id, _)| *id).collect();
    (due, times.iter().map(|(_, at)| *at).filter(|at| *at > now).min())
}

/// Skipped jobs that come after `id` wait again, because `id` is run again.
pub(crate) fn reopen_after(world: &mut World, id: u64) {
    let Some(job) = world.jobs.get(&id) else { return };
    let stage_index = job.plan.stage_index;
    let jobs = latest_jobs(world, job.pipeline);
    let mut names = vec![job.plan.name.clone()];
    let mut reopened = Vec::new();
    // Once per job at most: each round must find one more dependent job.
    loop {
        let found = jobs.iter().find(|job| {
            let depends = match &job.plan.needs {
                Some(needs) => needs.iter().any(|need| names.contains(&need.job)),
                None => job.plan.stage_index > stage_index,
            };
            job.status == JobStatus::Skipped && depends && !reopened.contains(&job.id)
        });
        let Some(job) = found else { break };
        names.push(job.plan.name.clone());
        reopened.push(job.id);
    }
    for id in reopened {
        world.set_status(id, JobStatus::Created);
    }
}

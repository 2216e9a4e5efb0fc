//! `workflow:auto_cancel`: pipelines that end early.

use crate::job::JobStatus;
use crate::progress::{latest_jobs, pipeline_status};
use crate::state::World;

/// Cancels older pipelines of the same ref that a new commit makes pointless.
pub(crate) fn redundant(world: &mut World, id: u64) {
    let Some(new) = world.pipelines.get(&id) else { return };
    let older: Vec<u64> = world
        .pipelines
        .values()
        .filter(|old| old.id < id && (old.project, &old.ref_name) == (new.project, &new.ref_name))
        .filter(|old| old.commit.sha != new.commit.sha && !pipeline_status(world, old.id).is_finished())
        .map(|old| old.id)
        .collect();
    for old in older {
        let jobs = latest_jobs(world, old);
        let has_begun = jobs.iter().any(|job| job.started_at.is_some() && !job.plan.interruptible);
        let mode = world.pipelines.get(&old).and_then(|old| old.auto_cancel.on_new_commit).unwrap_or("conservative");
        let canceled: Vec<u64> = match mode {
            "none" => Vec::new(),
            "interruptible" => jobs.iter().filter(|job| job.plan.interruptible).map(|job| job.id).collect(),
            // A job that must not be interrupted protects all others once it has begun.
            _ if has_begun => Vec::new(),
            _ => jobs.iter().map(|job| job.id).collect(),
        };
        cancel(world, canceled);
    }
}

/// Cancels what is left of a pipeline whose job failed, where the definition says so.
pub(crate) fn after_failure(world: &mut World, pipeline: u64) {
    let all = world.pipelines.get(&pipeline).is_some_and(|it| it.auto_cancel.on_job_failure == Some("all"));
    let jobs = latest_jobs(world, pipeline);
    if all && jobs.iter().any(|job| job.status == JobStatus::Failed && !job.allow_failure) {
        let left = jobs.iter().filter(|job| !job.status.is_finished()).map(|job| job.id).collect();
        cancel(world, left);
    }
}

/// From the end, so that no job starts because an earlier one was canceled.
fn cancel(world: &mut World, jobs: Vec<u64>) {
    for job in jobs.into_iter().rev() {
        world.cancel(job);
    }
}

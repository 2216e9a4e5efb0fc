//! The stages around artifacts: which entries of the job, in which order.

use std::collections::BTreeMap;

use super::artifacts::collect::{Wanted, collect};
use super::artifacts::transfer;
use super::failure::Failure;
use super::git::Git;
use super::job::Job;
use super::lines::{Level, line};
use super::local::Local;
use super::log::Log;

/// Whether some dependency has artifacts.
pub(crate) fn are_to_be_downloaded(job: &Job) -> bool {
    job.payload.dependencies.iter().any(|dependency| !dependency.artifacts_file.filename.is_empty())
}

/// Whether artifacts are to be uploaded after a script that has succeeded, or has not.
pub(crate) fn are_to_be_uploaded(job: &Job, success: bool) -> bool {
    let wants = |artifact: &runner_core::job::Artifact| {
        artifact.untracked || !artifact.paths.is_empty() || !artifact.exclude.is_empty()
    };
    !job.line.runner.url.is_empty() && job.payload.artifacts.iter().any(|a| a.when.fits(success) && wants(a))
}

/// Brings the artifacts of earlier jobs.
pub(crate) async fn download(job: &Job, log: &Log) -> Result<(), Failure> {
    let client = transfer::client(job)?;
    for dependency in job.payload.dependencies.iter().filter(|d| !d.artifacts_file.filename.is_empty()) {
        transfer::download(job, log, &client, dependency).await?;
    }
    Ok(())
}

/// Uploads the job's artifacts; the first entry that fails ends it.
pub(crate) async fn upload(
    job: &Job,
    log: &Log,
    git: &Git<'_>,
    local: &Local,
    env: &BTreeMap<String, String>,
    success: bool,
) -> Result<(), Failure> {
    let client = transfer::client(job)?;
    for artifact in job.payload.artifacts.iter().filter(|artifact| artifact.when.fits(success)) {
        log.notice("Uploading artifacts...");
        let untracked = if artifact.untracked { Some(untracked(git, local, log).await) } else { None };
        let wanted = Wanted { paths: artifact.paths.clone(), exclude: artifact.exclude.clone(), untracked };
        let files = {
            let (project, env, log) = (job.folders.project.clone(), env.clone(), log.clone());
            let collecting = tokio::task::spawn_blocking(move || collect(&project, &wanted, &env, &log)).await;
            collecting.map_err(|err| Failure::system(format!("collecting the artifacts: {err}")))?
        };
        if files.is_empty() {
            line(log, Level::Error, "No files to upload", &[]);
            continue;
        }
        if files.iter().any(|path| path.starts_with(".git")) {
            line(log, Level::Warning, "Part of .git directory is on the list of files to archive", &[]);
            line(log, Level::Warning, "This may introduce unexpected problems", &[]);
        }
        transfer::upload(job, log, &client, artifact, &files, env).await?;
    }
    Ok(())
}

/// What Git does not track; a folder that is no checkout has nothing that Git knows of.
pub(crate) async fn untracked(git: &Git<'_>, local: &Local, log: &Log) -> Vec<std::path::PathBuf> {
    git.untracked(local).await.unwrap_or_else(|err| {
        line(log, Level::Warning, &format!("untracked: {err}"), &[]);
        Vec::new()
    })
}

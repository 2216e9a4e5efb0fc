//! The files of this machine that a pod's plan needs: read here, so that the plan itself stays pure.

use std::path::Path;

use runner_core::failure::FailureReason;

use crate::cli::PodArgs;
use crate::job::Job;
use crate::pod::{Files, PodInput, PodPlan, PullChoice, Refusal, patch_paths, plan};

/// The plan for one attempt at `job`.
pub(crate) fn plan_pod(
    job: &Job,
    attempt: u32,
    policies: &PullChoice,
    via: &str,
    args: &PodArgs,
) -> Result<PodPlan, Refusal> {
    let files = &read(job).map_err(|message| Refusal {
        reason: FailureReason::RunnerConfigurationError,
        message,
        notes: Vec::new(),
    })?;
    let Job { line, payload, runner, variables, flags, owner, .. } = job;
    let replay = job.replay.as_deref();
    plan(&PodInput { line, payload, runner, variables, flags, owner, attempt, replay, policies, via, args, files })
}

fn read(job: &Job) -> Result<Files, String> {
    let text = |path: &str| std::fs::read_to_string(Path::new(path)).map_err(|err| format!("reading {path}: {err}"));
    let ca = job.line.runner.tls.ca_file.as_deref().map(text).transpose()?;
    let patches = patch_paths(&job.runner, &job.flags).into_iter().map(|path| Ok((path.to_owned(), text(path)?)));
    Ok(Files { ca, patches: patches.collect::<Result<_, String>>()? })
}

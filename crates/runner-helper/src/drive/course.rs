//! One job from its first stage to its result: the stages in their order, and what follows what.
//!
//! Source: GitLab Runner's stage contract: after a failure of the sources no user step and no `after_script`; after a failed, timed
//! out or gracefully canceled script `after_script` and the uploads for failed jobs; after the job's own timeout or an abort nothing.

mod scripts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use runner_core::text;

use super::build::Build;
use super::cache;
use super::failure::Failure;
use super::files::{Owner, give, make, remove_file, write};
use super::git::Git;
use super::handed_over;
use super::hooks::{Hooks, run_hooks};
use super::job::Job;
use super::limits::{Limits, Phase, Stop};
use super::local::Local;
use super::log::Log;
use super::pause::Pause;
use super::readiness;
use super::uploads;

/// The variable that holds how the script has ended.
const STATUS: &str = "CI_JOB_STATUS";

/// How a stage can end other than well.
#[derive(Debug)]
enum Broken {
    /// It failed.
    Failed(Failure),
    /// The whole job was stopped in it.
    Stopped(Stop),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A stage that may be tried more than once.
#[derive(Debug, Clone, Copy)]
struct Stage {
    name: &'static str,
    heading: &'static str,
    phase: Phase,
    /// In all.
    attempts: u32,
}

/// A job on its way.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    job: &'a Job,
    log: Log,
    limits: Limits,
    local: Local,
    /// The build container, unless it was lost.
    build: Option<Build>,
    git: Git<'a>,
    /// `CI_JOB_STATUS`.
    status: &'static str,
}

impl<'a> Course<'a> {
    /// A job that has not begun.
    pub(crate) fn new(job: &'a Job, log: Log, limits: Limits, local: Local, build: Build) -> Self {
        let (git, warnings) = Git::new(job, log.clone());
        // All in one message, as the original shows them.
        let warnings: Vec<&str> = job.warnings.iter().chain(&warnings).map(String::as_str).collect();
        if !warnings.is_empty() {
            log.warn(&warnings.join("\n"));
        }
        Self { job, log, limits, local, build: Some(build), git, status: "running" }
    }

    /// Runs all stages; returns the build container and how the job ended.
    pub(crate) async fn run(mut self, via: &str) -> (Option<Build>, Result<(), Failure>) {
        let result = match self.stages(via).await {
            Ok(()) => Ok(()),
            Err(Broken::Failed(failure)) => Err(failure),
            Err(Broken::Stopped(stop)) => Err(self.limits.failure(stop)),
        };
        (self.build, result)
    }

    async fn stages(&mut self, via: &str) -> Result<(), Broken> {
        self.prepare(via).await?;
        let mut result = match self.before_script().await {
            Ok(()) => self.script().await?,
            Err(Broken::Failed(failure)) => Err(failure),
            Err(stopped) => return Err(stopped),
        };
        let success = result.is_ok();
        let saved = failed(self.save_caches(success).await)?;
        let uploaded = failed(self.upload_artifacts(success).await)?;
        result = result.and(saved).and(uploaded);
        self.clean_up().await?;
        Ok(result?)
    }

    /// The rest of a section that the executor has opened.
    async fn prepare(&mut self, via: &str) -> Result<(), Broken> {
        self.log.stage("prepare_script");
        let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let via = if via.is_empty() { String::new() } else { format!(" via {via}") };
        self.log.work(format!("Running on {host}{via}...\n").as_bytes());
        // What an earlier job handed over is not for this one.
        let cleaned = remove_file(&self.job.env_file()).map_err(Broken::from);
        let ready = until_stopped(&self.limits, Phase::Before, readiness::wait(self.job, &self.log)).await;
        let result = cleaned.and(ready);
        self.end("prepare_script", &result);
        result
    }

    async fn before_script(&mut self) -> Result<(), Broken> {
        self.get_sources().await?;
        self.restore_caches().await?;
        self.download_artifacts().await
    }

    async fn get_sources(&mut self) -> Result<(), Broken> {
        let stage = Stage {
            name: "get_sources",
            heading: "Getting source from Git repository",
            phase: Phase::Sources,
            attempts: self.job.settings.get_sources_attempts,
        };
        self.limits.begin_sources();
        let sources = async |course: &mut Self| {
            course.write_files()?;
            let hooks = course.git.has_sources();
            let (mut env, job) = (course.environment(), course.job);
            let owner = course.owner();
            let (git, local) = (&course.git, &mut course.local);
            env.extend(git.hook_environment());
            let body = async {
                git.prepare(local).await?;
                if hooks {
                    run_hooks(job, local, &env, Hooks::Pre).await?;
                }
                git.sources(local).await?;
                if hooks {
                    run_hooks(job, local, &env, Hooks::Post).await?;
                }
                give_to(owner, [&job.folders.project, &job.folders.temp])?;
                git.reject_credentials(local).await;
                Ok(())
            };
            until_stopped(&course.limits, stage.phase, body).await
        };
        self.tried(stage, sources, async |course: &mut Self| course.clear_worktree().await).await
    }

    async fn clear_worktree(&mut self) -> Result<(), Broken> {
        let name = "clear_worktree";
        let heading = "Deleting all tracked and untracked files due to source fetch failure";
        self.open(name, heading, Phase::Sources)?;
        let result = until_stopped(&self.limits, Phase::Sources, self.git.clear(&self.local)).await;
        self.end(name, &result);
        result
    }

    async fn restore_caches(&mut self) -> Result<(), Broken> {
        if !cache::is_to_be_restored(self.job) {
            return Ok(());
        }
        let stage = Stage {
            name: "restore_cache",
            heading: "Restoring cache",
            phase: Phase::Before,
            attempts: self.job.settings.restore_cache_attempts,
        };
        let restore = async |course: &mut Self| {
            until_stopped(&course.limits, stage.phase, cache::restore(course.job, &course.log)).await?;
            Ok(give_to(course.owner(), [&course.job.folders.cache, &course.job.folders.project])?)
        };
        self.tried(stage, restore, async |_: &mut Self| Ok(())).await
    }

    async fn download_artifacts(&mut self) -> Result<(), Broken> {
        if !uploads::are_to_be_downloaded(self.job) {
            return Ok(());
        }
        let stage = Stage {
            name: "download_artifacts",
            heading: "Downloading artifacts",
            phase: Phase::Before,
            attempts: self.job.settings.artifact_download_attempts,
        };
        let download = async |course: &mut Self| {
            until_stopped(&course.limits, stage.phase, uploads::download(course.job, &course.log)).await?;
            Ok(give_to(course.owner(), [&course.job.folders.cache, &course.job.folders.project])?)
        };
        self.tried(stage, download, async |_: &mut Self| Ok(())).await
    }

    /// Runs a stage until it succeeds, as often as it may be tried; `between` comes before each further try and is part of it.
    async fn tried(
        &mut self,
        stage: Stage,
        mut body: impl AsyncFnMut(&mut Self) -> Result<(), Broken>,
        mut between: impl AsyncFnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut pause = Pause::new(self.job.flags.is_on("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY"));
        let mut result = self.once(stage, &mut body).await;
        for _ in 1..stage.attempts {
            if !matches!(result, Err(Broken::Failed(_))) {
                break;
            }
            self.log.warn("Retrying...");
            self.sleep(stage.phase, pause.next()).await?;
            result = match between(self).await {
                Ok(()) => self.once(stage, &mut body).await,
                broken => broken,
            };
        }
        result
    }

    async fn once(
        &mut self,
        stage: Stage,
        body: &mut impl AsyncFnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.open(stage.name, stage.heading, stage.phase)?;
        let result = body(self).await;
        self.end(stage.name, &result);
        result
    }

    async fn save_caches(&mut self, success: bool) -> Result<(), Broken> {
        if !cache::is_to_be_saved(self.job, success) {
            return Ok(());
        }
        let (name, heading) = if success {
            ("archive_cache", "Saving cache for successful job")
        } else {
            ("archive_cache_on_failure", "Saving cache for failed job")
        };
        self.open(name, heading, Phase::After)?;
        let env = self.environment();
        let save = cache::save(self.job, &self.log, &self.git, &self.local, &env, success);
        let result = until_stopped(&self.limits, Phase::After, save).await;
        self.end(name, &result);
        result
    }

    async fn upload_artifacts(&mut self, success: bool) -> Result<(), Broken> {
        if !uploads::are_to_be_uploaded(self.job, success) {
            return Ok(());
        }
        let (name, heading) = if success {
            ("upload_artifacts_on_success", "Uploading artifacts for successful job")
        } else {
            ("upload_artifacts_on_failure", "Uploading artifacts for failed job")
        };
        self.open(name, heading, Phase::After)?;
        let env = self.environment();
        let upload = uploads::upload(self.job, &self.log, &self.git, &self.local, &env, success);
        let result = until_stopped(&self.limits, Phase::After, upload).await;
        self.end(name, &result);
        result
    }

    async fn clean_up(&mut self) -> Result<(), Broken> {
        let name = "cleanup_file_variables";
        self.open(name, "Cleaning up project directory and file based variables", Phase::After)?;
        let files = self.job.variables.iter().filter(|v| v.file).map(|v| self.job.variable_file(&v.key));
        let mut cleaned = files.chain([self.job.env_file()]).try_for_each(|file| remove_file(&file));
        self.git.reject_credentials(&self.local).await;
        if self.job.flags.is_on("FF_ENABLE_JOB_CLEANUP") {
            cleaned = cleaned.and(self.git.clean_up(&self.local).await);
        }
        cleaned = cleaned.and(self.git.forget());
        if self.git.has_sources() {
            cleaned = cleaned.and(self.git.clean_locks());
        }
        if let Err(failure) = cleaned {
            crate::error::report(&failure.message); // as in the original the job does not fail for it
        }
        self.end(name, &Ok(()));
        Ok(())
    }

    /// Environment of the next script: the job's variables, its status, and what scripts have handed over.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut env = self.job.environment();
        // A variable of the job of that name is stronger, as it is in the original.
        if !self.job.payload.variables.iter().any(|variable| variable.key == STATUS) {
            env.insert(STATUS.to_owned(), self.status.to_owned());
        }
        let handed = handed_over::read(&self.job.env_file());
        for warning in handed.warnings {
            self.log.warn(&warning);
        }
        env.extend(handed.variables);
        env
    }

    /// Writes the file variables, and makes the file through which scripts hand variables over.
    fn write_files(&self) -> Result<(), Failure> {
        make(&self.job.folders.temp)?;
        for variable in self.job.variables.iter().filter(|v| v.file) {
            let value = self.job.variables.expanded_value(variable);
            write(&self.job.variable_file(&variable.key), &value)?;
        }
        let file = self.job.env_file();
        handed_over::prepare(&file).map_err(|err| Failure::system(format!("create `{}`: {err}", file.display())))
    }

    /// Who is to own what the helper writes, where that is not everybody's (`FF_DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR`).
    fn owner(&self) -> Option<Owner> {
        self.build.as_ref().filter(|_| self.job.keeps_umask()).map(Build::user)
    }

    async fn sleep(&self, phase: Phase, time: Duration) -> Result<(), Broken> {
        until_stopped(&self.limits, phase, async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Begins a stage; a job that is over begins none.
    fn open(&self, name: &str, heading: &str, phase: Phase) -> Result<(), Broken> {
        if let Some(stop) = self.limits.stop_now(phase) {
            return Err(Broken::Stopped(stop));
        }
        self.log.stage(name);
        if self.job.payload.features.trace_sections {
            self.log.marker(&text::section_start(SystemTime::now(), name));
        }
        self.log.runner(&text::heading(heading));
        Ok(())
    }

    fn end(&self, name: &str, result: &Result<(), Broken>) {
        self.close(name);
        if let Err(Broken::Stopped(Stop::Deadline | Stop::SourcesDeadline)) = result {
            self.warn_of_timeout(name);
        }
    }

    fn close(&self, name: &str) {
        self.log.flush_work();
        if self.job.payload.features.trace_sections {
            self.log.marker(&text::section_end(SystemTime::now(), name));
        }
    }

    fn warn_of_timeout(&self, name: &str) {
        self.log.warn(&format!(
            "{name} could not run to completion because the timeout was exceeded. For more control over job and script \
             timeouts see: https://docs.gitlab.com/ci/runners/configure_runners/#set-script-and-after_script-timeouts"
        ));
    }
}

/// Gives folders to `owner`, if there is one.
fn give_to(owner: Option<Owner>, folders: [&PathBuf; 2]) -> Result<(), Failure> {
    let Some(owner) = owner else { return Ok(()) };
    folders.into_iter().filter(|folder| folder.exists()).try_for_each(|folder| give(folder, owner))
}

/// A stage's failure, which lets the job go on; what stops the whole job is the error.
fn failed(result: Result<(), Broken>) -> Result<Result<(), Failure>, Broken> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(Broken::Failed(failure)) => Ok(Err(failure)),
        Err(stopped) => Err(stopped),
    }
}

/// Runs `body` unless the job is stopped; then `body` is dropped, and what it started is killed.
async fn until_stopped(
    limits: &Limits,
    phase: Phase,
    body: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Broken> {
    tokio::select! {
        result = body => Ok(result?),
        stop = limits.stop(phase) => Err(Broken::Stopped(stop)),
    }
}

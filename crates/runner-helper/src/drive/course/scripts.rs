//! The user's steps and `after_script`: run in the build container, each within its time, and stopped from outside.

use std::time::Duration;

use runner_core::failure::FailureReason;
use runner_core::flags::parse_bool;
use runner_core::job::Step;
use tokio::time::Instant;

use super::{Broken, Course};
use crate::drive::build::Lost;
use crate::drive::failure::{Failure, check};
use crate::drive::limits::{Phase, Stop, Wish, script_timeout};
use crate::drive::policy;
use crate::drive::script::{Place, Script, shells};
use crate::wire::Run;

/// Time between TERM and KILL for a script that is stopped.
const GRACE: Duration = Duration::from_secs(10);
/// The same when the job is canceled for good and nobody reads on.
const GRACE_AT_ABORT: Duration = Duration::from_secs(1);
/// Time of `after_script`, if the job does not say.
const AFTER_SCRIPT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

impl Course<'_> {
    /// The user's steps and `after_script`. The outer error ends the whole job.
    pub(super) async fn script(&mut self) -> Result<Result<(), Failure>, Broken> {
        policy::tell(self.job, &self.log);
        let left = self.limits.left();
        let (script_limit, after_limit) = self.script_limits(left);
        let began = Instant::now();
        let mut result = Ok(());
        for step in self.job.payload.steps.iter().filter(|step| step.name != "after_script") {
            match self.step(step, script_limit.map(|limit| began + limit)).await {
                Ok(()) => {}
                Err(Broken::Failed(failure)) => {
                    result = Err(failure);
                    break;
                }
                Err(Broken::Stopped(Stop::Canceling)) => {
                    result = Err(self.limits.failure(Stop::Canceling));
                    break;
                }
                Err(stopped) => return Err(stopped),
            }
        }
        self.status = match &result {
            Ok(()) => "success",
            Err(failure) => match failure.reason {
                FailureReason::JobCanceled => "canceled",
                FailureReason::JobExecutionTimeout => "timedout",
                _ => "failed",
            },
        };
        // Where no script could run, none runs after it: the container is lost.
        let possible = result.is_ok() || self.build.is_some();
        let after = self.job.payload.steps.iter().find(|step| step.name == "after_script");
        if let Some(step) = after.filter(|step| !step.script.is_empty() && possible) {
            match self.after_script(step, after_limit).await {
                Ok(()) => {}
                Err(Broken::Failed(failure)) if self.ignores_after_script() => {
                    let what = failure.message;
                    self.log.warn(&format!("after_script failed, but job will continue unaffected: {what}"));
                }
                Err(Broken::Failed(failure)) => result = result.and(Err(failure)),
                Err(stopped) => return Err(stopped),
            }
        }
        Ok(result)
    }

    fn script_limits(&self, left: Duration) -> (Option<Duration>, Option<Duration>) {
        let limit = |name: &str, default: Option<Duration>| {
            let (wish, warning) = script_timeout(name, &self.job.variables.value(name), left);
            if let Some(warning) = warning {
                self.log.warn(&warning);
            }
            match wish {
                Wish::Default => default,
                Wish::Job => None,
                Wish::Time(time) => Some(time),
            }
        };
        (limit("RUNNER_SCRIPT_TIMEOUT", None), limit("RUNNER_AFTER_SCRIPT_TIMEOUT", Some(AFTER_SCRIPT_TIMEOUT)))
    }

    fn ignores_after_script(&self) -> bool {
        parse_bool(&self.job.variables.value("AFTER_SCRIPT_IGNORE_ERRORS")).unwrap_or(true)
    }

    async fn step(&mut self, step: &Step, until: Option<Instant>) -> Result<(), Broken> {
        let name = format!("step_{}", step.name.to_lowercase());
        self.open(&name, &format!("Executing \"{name}\" stage of the job script"), Phase::Script)?;
        let mut script = Script::new(self.job, self.environment(), Place::Project);
        let config = &self.job.config;
        script.commands("pre_build_script", config.pre_build_script.as_deref());
        if step.name == "release" {
            let expanded: Vec<String> = step.script.iter().map(|line| self.job.variables.expand(line)).collect();
            script.commands("release_step", expanded.iter().map(String::as_str));
        } else {
            script.commands("script_step", step.script.iter().map(String::as_str));
        }
        script.commands("post_build_script", config.post_build_script.as_deref());
        let result = self.user_script(&name, script, Phase::Script, until).await;
        self.end(&name, &result);
        match &result {
            Err(Broken::Stopped(Stop::Canceling)) => self.log.warn("script canceled externally (UI, API)"),
            Err(Broken::Failed(failure)) if failure.reason == FailureReason::JobExecutionTimeout => {
                self.warn_of_timeout(&name);
            }
            _ => {}
        }
        result
    }

    async fn after_script(&mut self, step: &Step, limit: Option<Duration>) -> Result<(), Broken> {
        let name = "after_script";
        self.open(name, "Running after_script", Phase::After)?;
        let mut script = Script::new(self.job, self.environment(), Place::Project);
        script.notice("Running after script...");
        script.commands("after_script_step", step.script.iter().map(String::as_str));
        let until = limit.map(|limit| Instant::now() + limit);
        let mut result = self.user_script(name, script, Phase::After, until).await;
        self.end(name, &result);
        if let Err(Broken::Failed(failure)) = &mut result
            && failure.reason == FailureReason::JobExecutionTimeout
        {
            self.warn_of_timeout(name);
            *failure = Failure::system("build aborted");
        }
        result
    }

    /// Runs a script in the build container until it ends or is stopped; then nothing of it runs any more.
    async fn user_script(
        &mut self,
        name: &str,
        script: Script<'_>,
        phase: Phase,
        until: Option<Instant>,
    ) -> Result<(), Broken> {
        self.write_files()?;
        let (text, env) = script.finish();
        let run = Run { name: name.to_owned(), shells: shells(self.job.config.shell.as_deref()), script: text, env };
        let limits = &self.limits;
        let Some(build) = &mut self.build else { return Err(Failure::lost().into()) };
        let time = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            build.start(run).await?;
            build.ended().await
        };
        let (grace, broken) = tokio::select! {
            ended = ended => return match ended {
                Ok(end) => Ok(check(end)?),
                Err(Lost::Start(why)) => Err(Failure::system(format!("start the script: {why}")).into()),
                Err(Lost::Container) => {
                    self.build = None;
                    Err(Failure::lost().into())
                }
            },
            stop = limits.stop(phase) => {
                let grace = if stop == Stop::Canceled { GRACE_AT_ABORT } else { GRACE };
                (grace, Broken::Stopped(stop))
            }
            () = time => {
                let message = "script timeout: context deadline exceeded";
                (GRACE, Failure::new(message, FailureReason::JobExecutionTimeout).into())
            }
        };
        if build.stop(grace).await.is_err() {
            self.build = None;
        }
        Err(broken)
    }
}

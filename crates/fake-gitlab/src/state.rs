//! Everything the server knows: projects, runners, pipelines, jobs, and how they change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::ci::Compiled;
use crate::job::{Job, JobReport, JobStatus, Trace};
use crate::plan::{AllowFailure, JobPlan, When};
use crate::project::{Group, Pipeline, PipelineOrigin, Project};
use crate::rate_limit::RateLimits;
use crate::runner::Runner;
use crate::settings::Settings;
use crate::{Error, auto_cancel, coverage, progress, token};

/// A change of a job's state, one line of the event stream.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// The job after the change.
    pub job: JobReport,
}

/// Projects, runners, pipelines and jobs.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) registration_token: String,
    pub(crate) private_token: String,
    /// A user's token that may only read.
    pub(crate) read_only_token: String,
    pub(crate) settings: Settings,
    pub(crate) rate_limits: RateLimits,
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) projects: BTreeMap<u64, Project>,
    pub(crate) runners: BTreeMap<u64, Runner>,
    pub(crate) pipelines: BTreeMap<u64, Pipeline>,
    pub(crate) jobs: BTreeMap<u64, Job>,
    /// Every state change since the start.
    pub(crate) events: Vec<Event>,
    /// The last number of each kind.
    pub(crate) last_id: BTreeMap<&'static str, u64>,
}

impl World {
    /// What time it is on the server.
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.settings.clock_ahead)
    }

    /// The next number of a kind, from 1.
    pub(crate) fn next_id(&mut self, kind: &'static str) -> u64 {
        let last = self.last_id.entry(kind).or_insert(0);
        *last += 1;
        *last
    }

    pub(crate) fn project_by_path(&self, path: &str) -> Option<&Project> {
        self.projects.values().find(|project| project.path == path)
    }

    pub(crate) fn group_by_path(&self, path: &str) -> Option<&Group> {
        self.groups.values().find(|group| group.path == path)
    }

    pub(crate) fn project_path(&self, id: u64) -> &str {
        self.projects.get(&id).map_or("", |project| project.path.as_str())
    }

    /// Makes a pipeline under a number taken with `next_id`, and starts what can start. Older
    /// pipelines that it makes pointless are canceled.
    pub(crate) fn add_pipeline(&mut self, id: u64, origin: PipelineOrigin, compiled: Compiled) -> Result<(), Error> {
        let now = self.now();
        let iid = 1 + self.pipelines.values().filter(|other| other.project == origin.project).count() as u64;
        let is_protected = self.projects.get(&origin.project).is_some_and(|project| project.protects(&origin));
        let pipeline = Pipeline {
            name: compiled.name,
            auto_cancel: compiled.auto_cancel,
            ..Pipeline::new(id, iid, is_protected, origin, now)
        };
        self.pipelines.insert(id, pipeline);
        for plan in compiled.plans {
            self.add_job(id, Arc::new(plan))?;
        }
        auto_cancel::redundant(self, id);
        progress::advance(self, id);
        Ok(())
    }

    /// Adds a job in state `created` to a pipeline.
    pub(crate) fn add_job(&mut self, pipeline: u64, plan: Arc<JobPlan>) -> Result<u64, Error> {
        let token = token::random("glcbt-64_")?;
        let now = self.now();
        let id = self.next_id("job");
        let project = self.pipelines.get(&pipeline).map_or(0, |pipeline| pipeline.project);
        self.jobs.insert(
            id,
            Job {
                id,
                token,
                project,
                pipeline,
                allow_failure: plan.allow_failure == AllowFailure::Always,
                plan,
                status: JobStatus::Created,
                runner: None,
                trace: Trace::default(),
                pending_state: None,
                artifacts: Vec::new(),
                dotenv: Vec::new(),
                exit_code: None,
                failure_reason: None,
                claimed_checksum: None,
                retried: false,
                played: false,
                scheduled_at: None,
                tries: 0,
                coverage: None,
                created_at: now,
                queued_at: None,
                started_at: None,
                finished_at: None,
                erased_at: None,
                updated_at: now,
                watched_at: None,
                token_expires_at: None,
                acknowledge_by: None,
                session_url: None,
                runtime_environment_key: None,
                trace_locked: false,
                races_to_lose: 0,
            },
        );
        if let Some(pipeline) = self.pipelines.get_mut(&pipeline) {
            pipeline.jobs.push(id);
        }
        self.note(id);
        Ok(id)
    }

    /// Moves a job to a state, with its times, its event and the runners' queue values.
    pub(crate) fn set_status(&mut self, id: u64, status: JobStatus) {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.status == status {
            return;
        }
        job.status = status;
        job.updated_at = now;
        match status {
            JobStatus::Pending => job.queued_at = Some(now),
            JobStatus::Scheduled => {
                if let When::Delayed(seconds) = job.plan.when {
                    job.scheduled_at = now.checked_add(Duration::from_secs(seconds));
                }
            }
            JobStatus::Running => job.started_at = Some(now),
            JobStatus::Created => job.finished_at = None,
            status if status.is_finished() => job.finished_at = Some(now),
            _ => {}
        }
        if status == JobStatus::Pending {
            self.tick_queues(id);
        }
        self.note(id);
    }

    /// Ends a job and lets its pipeline go on.
    pub(crate) fn finish(&mut self, id: u64, status: JobStatus, failure_reason: Option<&str>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.failure_reason = failure_reason.map(str::to_owned);
        job.pending_state = None;
        job.acknowledge_by = None;
        if status == JobStatus::Success {
            job.exit_code = Some(0);
        }
        if let (AllowFailure::ExitCodes(codes), Some(code)) = (&job.plan.allow_failure, job.exit_code) {
            job.allow_failure = codes.contains(&code);
        }
        job.coverage = job.plan.coverage.as_deref().and_then(|pattern| coverage::find(pattern, job.trace.bytes()));
        let pipeline = job.pipeline;
        self.set_status(id, status);
        self.free_resource(id);
        if status == JobStatus::Failed && self.is_tried_again(id) {
            match self.retry(id) {
                Ok(Some(again)) => {
                    let tries = self.jobs.get(&id).map_or(0, |job| job.tries);
                    if let Some(job) = self.jobs.get_mut(&again) {
                        job.tries = tries + 1;
                    }
                    return;
                }
                Ok(None) => {}
                Err(problem) => tracing::warn!("job {id} cannot be tried again: {problem}"),
            }
        }
        auto_cancel::after_failure(self, pipeline);
        progress::advance(self, pipeline);
    }

    /// Whether `retry` of a failed job lets it run once more.
    fn is_tried_again(&self, id: u64) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let retry = &job.plan.retry;
        let reason = job.failure_reason.as_deref().unwrap_or("unknown_failure");
        let by_code = job.exit_code.is_some_and(|code| retry.exit_codes.contains(&code));
        let is_for_all = retry.reasons.is_empty() && retry.exit_codes.is_empty();
        let by_reason = retry.reasons.iter().any(|wanted| wanted == reason);
        job.tries < retry.most && (is_for_all || by_code || by_reason)
    }

    /// Cancels a job as GitLab does: at once, or by way of `canceling` when the machine that runs
    /// it said that it stops gracefully.
    pub(crate) fn cancel(&mut self, id: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        match job.status {
            JobStatus::Created | JobStatus::Pending | JobStatus::Manual | JobStatus::Scheduled => {
                self.finish(id, JobStatus::Canceled, None);
            }
            JobStatus::Running => {
                let graceful = job.runner.as_ref().is_some_and(|(runner, system_id)| {
                    self.runners
                        .get(runner)
                        .and_then(|runner| runner.manager(system_id))
                        .is_some_and(|manager| manager.has("cancel_gracefully"))
                });
                if graceful {
                    self.set_status(id, JobStatus::Canceling);
                } else {
                    self.finish(id, JobStatus::Canceled, None);
                }
            }
            _ => {}
        }
    }

    /// Replaces a finished job by a new one of the same plan, which runs at once; none if it
    /// cannot be repeated.
    pub(crate) fn retry(&mut self, id: u64) -> Result<Option<u64>, Error> {
        let Some(again) = self.repeat(id)? else { return Ok(None) };
        self.enqueue_now(again);
        Ok(Some(again))
    }

    /// The same without starting it: its turn comes as in a new pipeline. Jobs that were skipped
    /// because of the old one wait again.
    pub(crate) fn repeat(&mut self, id: u64) -> Result<Option<u64>, Error> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(None) };
        let is_repeatable = matches!(job.status, JobStatus::Success | JobStatus::Failed | JobStatus::Canceled);
        if !is_repeatable || job.retried {
            return Ok(None);
        }
        job.retried = true;
        let (pipeline, plan) = (job.pipeline, Arc::clone(&job.plan));
        let again = self.add_job(pipeline, plan)?;
        if let Some(job) = self.jobs.get_mut(&again) {
            job.played = true;
        }
        progress::reopen_after(self, again);
        Ok(Some(again))
    }

    /// Starts a manual or delayed job; false if it is none.
    pub(crate) fn play(&mut self, id: u64) -> bool {
        match self.jobs.get_mut(&id) {
            Some(job) if matches!(job.status, JobStatus::Manual | JobStatus::Scheduled) => job.played = true,
            _ => return false,
        }
        progress::reopen_after(self, id);
        self.enqueue_now(id);
        true
    }

    fn enqueue_now(&mut self, id: u64) {
        self.set_status(id, JobStatus::Pending);
        if let Some(pipeline) = self.jobs.get(&id).map(|job| job.pipeline) {
            progress::advance(self, pipeline);
        }
    }

    /// Appends the job's present state to the events.
    fn note(&mut self, id: u64) {
        if let Some(job) = self.jobs.get(&id) {
            let event = Event { at: crate::clock::stamp(self.now()), job: job.report(self.project_path(job.project)) };
            self.events.push(event);
        }
    }

    /// All jobs as reports, in order of their numbers.
    pub(crate) fn reports(&self) -> Vec<JobReport> {
        self.jobs.values().map(|job| job.report(self.project_path(job.project))).collect()
    }
}

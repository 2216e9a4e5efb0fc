//! Runners in the state: how they come, which jobs they may take, and how they learn of new ones.

use std::time::{Duration, SystemTime};

use crate::job::{Job, JobStatus};
use crate::runner::{Runner, RunnerSpec, RunnerType};
use crate::state::World;
use crate::{Error, token};

impl World {
    /// Adds a runner with a fresh token, or with the given one.
    pub(crate) fn add_runner(
        &mut self,
        spec: RunnerSpec,
        created_by_user: bool,
        token: Option<String>,
    ) -> Result<&mut Runner, Error> {
        let prefix = if created_by_user { "glrt-" } else { "" };
        let token = match token {
            Some(token) => token,
            None => token::random(&format!("{prefix}{}", spec.kind.token_mark()))?,
        };
        let queue_value = token::hex()?;
        let id = self.next_id("runner");
        let now = self.now();
        let token_expires_at = self.token_expiry(spec.kind);
        Ok(self.runners.entry(id).or_insert(Runner {
            id,
            token,
            token_expires_at,
            spec,
            created_by_user,
            created_at: now,
            updated_at: now,
            contacted_at: None,
            managers: Vec::new(),
            queue_value,
            name: None,
            ip_address: None,
            has_asked: !created_by_user,
        }))
    }

    /// The runner a token belongs to; expired tokens belong to nobody.
    pub(crate) fn runner_by_token(&self, token: &str) -> Option<&Runner> {
        let now = self.now();
        self.runners.values().find(|runner| runner.token == token && !runner.is_expired(now))
    }

    /// When a token that is given to a runner of this kind now ends, if ever.
    pub(crate) fn token_expiry(&self, kind: RunnerType) -> Option<SystemTime> {
        let lifetime = match kind {
            RunnerType::InstanceType => self.settings.runner_token_lifetime,
            RunnerType::GroupType => self.settings.group_runner_token_lifetime,
            RunnerType::ProjectType => self.settings.project_runner_token_lifetime,
        };
        self.now().checked_add(Duration::from_secs(lifetime?))
    }

    /// Whether the project or group that a runner is for is gone.
    pub(crate) fn is_orphaned(&self, runner: &Runner) -> bool {
        let owner = runner.spec.owner.as_deref();
        match runner.spec.kind {
            RunnerType::InstanceType => false,
            RunnerType::ProjectType => owner.is_none_or(|path| self.project_by_path(path).is_none()),
            RunnerType::GroupType => owner.is_none_or(|path| !self.groups.values().any(|group| group.path == path)),
        }
    }

    /// Whether a runner may take a job at all, whatever their states.
    pub(crate) fn may_take(&self, runner: &Runner, job: &Job) -> bool {
        let Some(project) = self.projects.get(&job.project) else { return false };
        let protected = self.pipelines.get(&job.pipeline).is_some_and(|pipeline| pipeline.is_protected);
        let owned = match (runner.spec.kind, runner.spec.owner.as_deref()) {
            (RunnerType::InstanceType, _) => project.shared_runners_enabled,
            (RunnerType::ProjectType, Some(owner)) => owner == project.path,
            (RunnerType::GroupType, Some(owner)) => {
                project.path.strip_prefix(owner).is_some_and(|rest| rest.starts_with('/'))
            }
            (_, None) => false,
        };
        let tags = &job.plan.tags;
        let tagged = if tags.is_empty() {
            runner.spec.run_untagged
        } else {
            tags.iter().all(|tag| runner.spec.tags.contains(tag))
        };
        owned && !project.pending_delete && tagged && (protected || !runner.spec.protected_only)
    }

    /// Whether another job of its resource group has been given away and not ended.
    pub(crate) fn waits_for_resource(&self, job: &Job) -> bool {
        let Some(group) = &job.plan.resource_group else { return false };
        self.jobs.values().any(|other| {
            let has_it = other.status.is_executing() || other.acknowledge_by.is_some();
            has_it && other.project == job.project && other.plan.resource_group.as_ref() == Some(group)
        })
    }

    /// Tells the runners of the jobs that waited for the resource group of one that has ended.
    pub(crate) fn free_resource(&mut self, id: u64) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.plan.resource_group.is_some()) else { return };
        let (project, group) = (job.project, &job.plan.resource_group);
        let waits = |other: &&Job| {
            other.status == JobStatus::Pending && other.project == project && other.plan.resource_group == *group
        };
        let waiting: Vec<u64> = self.jobs.values().filter(waits).map(|other| other.id).collect();
        waiting.into_iter().for_each(|id| self.tick_queues(id));
    }

    /// Pauses or resumes a runner. Its queue is another one then, and its queue value too.
    pub(crate) fn pause(&mut self, token: &str, paused: bool) {
        let runner = self.runners.values_mut().find(|runner| runner.token == token);
        if let Some(runner) = runner {
            runner.spec.paused = paused;
            let id = runner.id;
            self.tick_queue(id);
        }
    }

    fn tick_queue(&mut self, runner: u64) {
        // Without random bytes the old value would stay, and a job would be overlooked.
        let value = token::hex().unwrap_or_else(|_| format!("{:032x}", self.events.len()));
        if let Some(runner) = self.runners.get_mut(&runner) {
            runner.queue_value = value;
        }
    }

    /// Gives a new queue value to the runners that could take the job.
    pub(crate) fn tick_queues(&mut self, id: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let runners: Vec<u64> =
            self.runners.values().filter(|runner| self.may_take(runner, job)).map(|runner| runner.id).collect();
        for runner in runners {
            self.tick_queue(runner);
        }
    }
}

//! Giving a pending job to the runner that asks (GitLab runner API: jobs/request, two-phase
//! commit).

use std::time::Duration;

use serde_json::Value;
use url::{Host, Url};

use crate::job::JobStatus;
use crate::payload;
use crate::shared::Shared;
use crate::state::World;

/// How long a runner may prepare before it says again that it goes on.
pub(crate) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(120);

/// Who asks, and what it said about itself.
pub(crate) struct Asking<'a> {
    pub(crate) runner: u64,
    pub(crate) system_id: &'a str,
    pub(crate) features: &'a Value,
    pub(crate) session_url: Option<&'a str>,
}

/// What an asking runner gets.
pub(crate) enum Assignment {
    /// There is nothing for it.
    None,
    /// There is a job, and it could not be given away.
    Conflict,
    /// The payload of the job that is now its own.
    Job(Value),
}

/// Takes the oldest pending job the runner may have; jobs that need a feature the runner lacks
/// fail on the way.
pub(crate) fn assign(shared: &Shared, world: &mut World, asking: &Asking<'_>) -> Assignment {
    let has = |feature: &str| asking.features[feature] == true;
    loop {
        let Some(runner) = world.runners.get(&asking.runner) else { return Assignment::None };
        let mut waiting = world.jobs.values().filter(|job| {
            let is_free = job.status == JobStatus::Pending && job.acknowledge_by.is_none();
            is_free && world.may_take(runner, job) && !world.waits_for_resource(job)
        });
        let Some(job) = waiting.next() else { return Assignment::None };
        let id = job.id;
        if let Some(feature) = missing_feature(world, id, has) {
            tracing::info!("job {id} needs `{feature}`, which runner {} lacks", asking.runner);
            world.finish(id, JobStatus::Failed, Some("runner_unsupported"));
            continue;
        }
        let is_refused = asking.session_url.is_some_and(|url| !world.settings.allow_local_requests && is_local(url));
        let now = world.now();
        let expiry = world.settings.job_token_lifetime.and_then(|age| now.checked_add(Duration::from_secs(age)));
        let waits = world.settings.two_phase_commit && has("two_phase_job_commit");
        let Some(job) = world.jobs.get_mut(&id) else { return Assignment::None };
        if is_refused || job.races_to_lose > 0 {
            job.races_to_lose = job.races_to_lose.saturating_sub(1);
            return Assignment::Conflict;
        }
        job.runner = Some((asking.runner, asking.system_id.to_owned()));
        job.token_expires_at = expiry;
        job.session_url = asking.session_url.map(str::to_owned);
        if waits {
            job.acknowledge_by = Some(now + ACKNOWLEDGE_WITHIN);
        } else {
            world.set_status(id, JobStatus::Running);
        }
        let (Some(runner), Some(job)) = (world.runners.get(&asking.runner), world.jobs.get(&id)) else {
            return Assignment::None;
        };
        match payload::build(shared, world, job, runner) {
            Some(payload) => return Assignment::Job(payload),
            None => {
                if let Some(job) = world.jobs.get_mut(&id) {
                    job.session_url = None;
                }
                world.finish(id, JobStatus::Failed, Some("scheduler_failure"));
            }
        }
    }
}

/// A feature that a job needs and a runner does not have, if there is one.
fn missing_feature(world: &World, id: u64, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let job = world.jobs.get(&id)?;
    let is_for_merge_request =
        world.pipelines.get(&job.pipeline).is_some_and(|pipeline| pipeline.merge_request.is_some());
    let uses = [
        ("refspecs", is_for_merge_request),
        ("vault_secrets", world.settings.licensed && !job.plan.secrets.is_empty()),
    ];
    let by_server = uses.into_iter().find(|(feature, used)| *used && !has(feature)).map(|(feature, _)| feature);
    by_server.or_else(|| job.plan.unsupported_by(&has))
}

/// Whether an address leads to the machine itself; one that cannot be read is taken for such.
fn is_local(address: &str) -> bool {
    match Url::parse(address).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => true,
    }
}

/// Jobs whose runner did not say in time that it goes on are tried again.
pub(crate) fn take_back_lapsed(world: &mut World) {
    let now = world.now();
    let lapsed: Vec<u64> = world
        .jobs
        .values()
        .filter(|job| job.status == JobStatus::Pending && job.acknowledge_by.is_some_and(|at| at <= now))
        .map(|job| job.id)
        .collect();
    for id in lapsed {
        world.finish(id, JobStatus::Failed, Some("runner_provisioning_timeout"));
        if let Err(problem) = world.retry(id) {
            tracing::warn!("job {id} cannot be tried again: {problem}");
        }
    }
}

//! When a job was handed out, when its script started, when it was done.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use tests::{World, trace};

/// A line of a script that says when it is run.
pub(crate) const SAY_TIME: &str = "echo started at $(date +%s.%N)";

/// One job, in seconds since 1970.
pub(crate) struct Times {
    pub(crate) handed_out: f64,
    pub(crate) started: f64,
    pub(crate) done: f64,
}

/// The times of `jobs`, which are all that this GitLab has handed out after `before` others. They were handed out in order.
pub(crate) fn times(world: &World, before: usize, jobs: &[u64]) -> Vec<Times> {
    let requests = world.gitlab.requests();
    let handed_out = requests.iter().filter(|r| r.path == "/api/v4/jobs/request" && r.status == Some(201));
    let handed_out = handed_out.map(|request| seconds(request.at + request.took)).skip(before);
    jobs.iter()
        .zip(handed_out)
        .map(|(id, handed_out)| Times { handed_out, started: started(world, *id), done: done(world, *id) })
        .collect()
}

fn started(world: &World, id: u64) -> f64 {
    let log = trace::text(&world.gitlab.trace(id));
    let said = log.lines().find_map(|line| line.strip_prefix("started at "));
    said.and_then(|at| at.trim().parse().ok()).unwrap_or_else(|| panic!("job {id} does not say when it started: {log}"))
}

fn done(world: &World, id: u64) -> f64 {
    let events = world.gitlab.events();
    let last = events.iter().rfind(|event| event.job.id == id).expect("a job that ended has events");
    let at: Timestamp = last.at.parse().expect("an event has a time");
    at.as_millisecond() as f64 / 1e3
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs_f64()
}

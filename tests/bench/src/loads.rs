//! The loads: one job after another, forty at once, and a pipe that is killed.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fake_gitlab::{JobReport, JobSpec, JobStatus};
use rustix::process::Signal;
use tests::{Tool, World, WorldBuilder, trace};

use crate::median::Measured;
use crate::processes::{cpu_ms, memory_mib};
use crate::times::{SAY_TIME, times};

/// Jobs one after another, behind one that is not counted.
const TIMES: usize = 7;

/// Jobs at once.
const MANY: usize = 40;

/// How long each of the many sleeps, in seconds.
const SLEEP: u32 = 30;

/// From when GitLab handed a job out.
#[derive(Default)]
pub(crate) struct Latencies {
    pub(crate) starts: Measured,
    pub(crate) done: Measured,
}

/// What many jobs at once take.
pub(crate) struct Many {
    pub(crate) starts: Measured,
    /// Less the time that each slept.
    pub(crate) done: Measured,
    /// To the API server, for each job.
    pub(crate) requests: f64,
    pub(crate) streams: f64,
    /// Requests that enter a container, of all jobs.
    pub(crate) entered: usize,
    pub(crate) cpu_ms: f64,
    pub(crate) job_mib: f64,
    pub(crate) idle_mib: f64,
}

/// What a restart of the pipe costs.
pub(crate) struct Restart {
    lost: usize,
    left: usize,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.lost, self.left)
    }
}

fn world() -> WorldBuilder {
    World::builder().alone().log_level("warn").head("concurrent = 100\ncheck_interval = 1")
}

/// Jobs that clone a small project and say when their script starts.
pub(crate) async fn one_by_one() -> Latencies {
    let project = tempfile::tempdir().expect("a folder for the project");
    make_project(project.path());
    let world = world().gitlab(|gitlab| gitlab.project("bench/app", project.path())).start().await;
    let pipe = world.pipe();
    let mut latencies = Latencies::default();
    for n in 0..=TIMES {
        let job = world.run(JobSpec::script([SAY_TIME]).project("bench/app")).await;
        expect_success(&world, &job);
        if n > 0 {
            let times = &times(&world, n, &[job.id])[0];
            latencies.starts.add(times.started - times.handed_out);
            latencies.done.add(times.done - times.handed_out);
        }
        world.cluster_is_empty().await;
    }
    world.leaves_nothing(pipe).await;
    latencies
}

/// Many jobs that are enqueued before the pipe is there.
pub(crate) async fn many_at_once() -> Many {
    let world = world().start().await;
    let pipe = world.pipe();
    // The first job makes clients and watches.
    expect_success(&world, &world.run(JobSpec::script([SAY_TIME])).await);
    world.cluster_is_empty().await;
    let (idle_mib, cpu, asked) = (memory_mib(&pipe), cpu_ms(&pipe), world.kube.requests().len());
    let mut jobs = Vec::new();
    for _ in 0..MANY {
        let spec = JobSpec::script([SAY_TIME, &format!("sleep {SLEEP}")]);
        jobs.push(world.gitlab.enqueue(spec).await.expect("the job can be enqueued"));
    }
    for id in &jobs {
        world.log_shows(*id, "started at ").await;
    }
    let busy_mib = memory_mib(&pipe);
    for id in &jobs {
        expect_success(&world, &world.finished(*id).await);
    }
    world.cluster_is_empty().await;
    let cpu_ms = cpu_ms(&pipe) - cpu;
    let requests = &world.kube.requests()[asked..];
    let is = |part: &str| requests.iter().filter(|request| request.path.ends_with(part)).count();
    let (streams, entered) = (is("/log"), is("/exec") + is("/attach"));
    let mut many = Many {
        starts: Measured::default(),
        done: Measured::default(),
        requests: (requests.len() - streams) as f64 / MANY as f64,
        streams: streams as f64 / MANY as f64,
        entered,
        cpu_ms: cpu_ms / MANY as f64,
        job_mib: (busy_mib - idle_mib) / MANY as f64,
        idle_mib,
    };
    for times in times(&world, 1, &jobs) {
        many.starts.add(times.started - times.handed_out);
        many.done.add(times.done - times.handed_out - f64::from(SLEEP));
    }
    world.leaves_nothing(pipe).await;
    many
}

/// Five jobs run while all three tools are killed; what becomes of them once the tools are started again.
pub(crate) async fn restart() -> Restart {
    let world = world().start().await;
    let mut pipe = world.pipe();
    let mut jobs = Vec::new();
    for _ in 0..5 {
        let spec = JobSpec::script([SAY_TIME, "sleep 5", "echo went on"]);
        jobs.push(world.gitlab.enqueue(spec).await.expect("the job can be enqueued"));
    }
    for id in &jobs {
        world.log_shows(*id, "started at ").await;
    }
    for tool in [Tool::Poll, Tool::Exec, Tool::Trace] {
        pipe.signal(tool, Signal::KILL);
    }
    pipe.wait().await;
    let pipe = world.pipe();
    let mut lost = 0;
    for id in jobs {
        let job = world.finished(id).await;
        let went_on = trace::text(&world.gitlab.trace(id)).contains("\nwent on\n");
        lost += usize::from(job.status != JobStatus::Success || !went_on);
    }
    pipe.drain().await;
    // What goes has a grace of some seconds.
    tokio::time::sleep(Duration::from_secs(10)).await;
    Restart { lost, left: world.kube.pods().await.len() }
}

fn expect_success(world: &World, job: &JobReport) {
    let log = || trace::text(&world.gitlab.trace(job.id));
    assert_eq!(job.status, JobStatus::Success, "{}", log());
}

/// A repository with one commit of a few files.
fn make_project(dir: &Path) {
    for n in 0..20 {
        std::fs::write(dir.join(format!("file-{n}")), format!("{n}\n").repeat(100)).expect("the folder can be written");
    }
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=bench", "-c", "user.email=bench@example.com"]).args(args).current_dir(dir);
        assert!(git.status().expect("git is installed").success(), "git {args:?}");
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "files"]);
}

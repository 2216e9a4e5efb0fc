//! The tool as a whole: lines in, a task per job, the end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::signals::Signals;
use runner_cli::state::{JobDir, StateDir};
use runner_cli::stdin::{Ending, Lines, Received};
use runner_cli::stdout::{Closed, Output};
use runner_cli::watch::Watcher;
use runner_core::control::{ANNOTATION_JOB_KEY, ANNOTATION_OWN_NAMESPACE};
use runner_core::event::{Hello, JobKey, State};
use runner_core::job::JobLine;
use runner_core::line::{Line, encode, encode_end};
use tokio::task::JoinSet;

use crate::cli::{Cli, Format, PodArgs};
use crate::client::{Cluster, Clusters};
use crate::execute::execute;
use crate::intake::Intake;
use crate::job::Job;
use crate::objects::Objects;
use crate::own_namespace::OwnNamespace;
use crate::pod::is_of_runner;
use crate::retry::ApiError;
use crate::watch::{Namespace, PodWatch, Watches};

/// Name of the tool, in messages and locks.
pub(crate) const TOOL: &str = "runner-exec-k8s";

/// Pods that belong to no job are looked for this often.
const SWEEP: Duration = Duration::from_secs(300);

/// What all jobs share.
pub(crate) struct World {
    pub(crate) clusters: Clusters,
    pub(crate) output: Output,
    pub(crate) format: Format,
    pub(crate) watcher: Watcher,
    pub(crate) host_name: String,
    pub(crate) pods: PodArgs,
    watches: Watches,
    /// A name for this run of the tool.
    run: String,
    /// Set in a live pipe, where jobs have folders: fed by a producer that can continue, read by runner-trace.
    state: Option<StateDir>,
    running: Mutex<HashSet<JobKey>>,
    /// Short tokens of the runners whose jobs came by. Others' pods are none of ours, even with our system id: another pipe of
    /// this machine may use the namespace.
    runners: Mutex<HashSet<String>>,
}

/// Runs jobs until the input ends, the output closes, or a signal comes.
pub(crate) async fn run(args: Cli, signals: Signals) -> anyhow::Result<Exit> {
    let intake = Intake::new(&args);
    let mut lines = Lines::stdin().context("reading standard input")?;
    let output = Output::stdout().context("writing standard output")?;
    if args.format() == Format::Ndjson {
        output.write(encode(&Hello::resumable(TOOL))).await?;
    }
    // The first line tells whether jobs come from a live producer, and so whether they have folders.
    let first = tokio::select! {
        line = lines.next() => line,
        () = output.closed() => return Ok(Exit::NeighbourLost),
        () = signals.stop.cancelled() => return Ok(signals.stopped()),
    };
    let resumable =
        first.as_ref().is_some_and(|first| matches!(&first.line, Ok(Line::Hello(hello)) if hello.resumable));
    let state =
        if resumable && is_piped() && args.format() == Format::Ndjson { Some(args.state.open(TOOL)?) } else { None };
    if state.is_none() && args.state.state_dir.is_some() {
        tracing::info!("this is no live pipe, so the state directory is not used");
    }
    let world = Arc::new(World {
        clusters: Clusters::new(&args),
        output,
        format: args.format(),
        watcher: Watcher::new().context("watching files").exit(Exit::Io)?,
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pods: args.pods.clone(),
        watches: Watches::default(),
        run: run_name(),
        state,
        running: Mutex::default(),
        runners: Mutex::default(),
    });
    let mut jobs = Jobs { world: Arc::clone(&world), intake, tasks: JoinSet::new(), all_succeeded: true };
    let exit = jobs.serve(&mut lines, first, &signals).await?;
    if exit == Exit::Done && !jobs.all_succeeded && !args.ignore_job_result {
        return Ok(Exit::JobFailed);
    }
    Ok(exit)
}

struct Jobs {
    world: Arc<World>,
    intake: Intake,
    tasks: JoinSet<anyhow::Result<State>>,
    all_succeeded: bool,
}

impl Jobs {
    async fn serve(&mut self, lines: &mut Lines, first: Option<Received>, signals: &Signals) -> anyhow::Result<Exit> {
        let world = Arc::clone(&self.world);
        let mut reading = match first {
            Some(first) => {
                self.take(first).await?;
                true
            }
            None => false,
        };
        while reading || !self.tasks.is_empty() {
            tokio::select! {
                line = lines.next(), if reading => match line {
                    Some(line) => self.take(line).await?,
                    None => reading = false,
                },
                Some(done) = self.tasks.join_next() => self.ended(done)?,
                () = world.output.closed() => return Ok(Exit::NeighbourLost),
                () = signals.drain.cancelled(), if reading => reading = false,
                () = signals.stop.cancelled() => {
                    self.stop().await;
                    return Ok(signals.stopped());
                }
            }
            if !reading && !signals.drain.is_cancelled() && lines.ending() == Ending::Lost {
                return Ok(Exit::NeighbourLost);
            }
        }
        if let Ending::Failed(why) = lines.ending()
            && !signals.drain.is_cancelled()
        {
            return Err(failure(Exit::Io, anyhow::anyhow!("reading standard input: {why}")));
        }
        if world.format == Format::Ndjson {
            world.output.write(encode_end()).await?;
        }
        world.output.flush().await?;
        Ok(Exit::Done)
    }

    /// Begins the job of a line. Lines that are none are passed on, or are reported and skipped.
    async fn take(&mut self, received: Received) -> anyhow::Result<()> {
        let Received { number, text, line } = received;
        let line = match line {
            Ok(line) => line,
            Err(err) => {
                tracing::error!("line {number}: {err}");
                self.all_succeeded = false;
                return Ok(());
            }
        };
        if matches!(line, Line::Unknown) && self.world.format == Format::Ndjson {
            self.world.output.write((text + "\n").into_bytes()).await?;
            return Ok(());
        }
        let job = match self.intake.job(line)? {
            None => return Ok(()),
            Some(job) => job.and_then(|line| self.world.job(line)),
        };
        match job {
            Ok(Some(job)) => self.start(job),
            Ok(None) => {}
            Err(err) => {
                tracing::error!("line {number}: {err}");
                self.all_succeeded = false;
            }
        }
        Ok(())
    }

    fn start(&mut self, job: Job) {
        if !self.world.running().insert(job.key.clone()) {
            tracing::debug!("job {} runs already", job.key);
            return;
        }
        self.world.runners().insert(job.line.runner.short_token.clone());
        let world = Arc::clone(&self.world);
        self.tasks.spawn(async move {
            let key = job.key.clone();
            let state = execute(&world, job).await;
            world.running().remove(&key);
            state
        });
    }

    fn ended(&mut self, done: Result<anyhow::Result<State>, tokio::task::JoinError>) -> anyhow::Result<()> {
        match done {
            Ok(Ok(state)) => self.all_succeeded &= state == State::Success,
            // Somebody closed the output: the loop sees that by itself and exits.
            Ok(Err(err)) if err.is::<Closed>() => {}
            Ok(Err(err)) => return Err(err),
            Err(err) => {
                tracing::error!("a job's task ended by itself: {err}");
                self.all_succeeded = false;
            }
        }
        Ok(())
    }

    /// Jobs with a folder go on without us. Those without one would never be found again, so their pods go.
    async fn stop(&mut self) {
        self.tasks.abort_all();
        if self.world.state.is_none() {
            let sweeps = self.world.watches.all().into_iter().map(|(client, namespace)| async move {
                for pod in namespace.all() {
                    delete(&client, &pod).await;
                }
            });
            let all = futures::future::join_all(sweeps);
            if tokio::time::timeout(Duration::from_secs(10), all).await.is_err() {
                tracing::warn!("the API server does not answer; pods may be left behind");
            }
        }
    }
}

impl World {
    /// The job of a line, with its folder if there is one; `None` if it is over already.
    fn job(&self, line: JobLine) -> Result<Option<Job>, String> {
        let dir = self.state.as_ref().map(|state| state.job(&line.key())).filter(JobDir::exists);
        if self.state.is_some() && dir.is_none() {
            // Its folder was there when the line was printed. Running the job without it could run it a second time.
            tracing::info!("job {}: its folder is gone, so it is finished", line.key());
            return Ok(None);
        }
        let (owner, replay) = match (&dir, line.runner.system_id.as_str()) {
            (Some(_), id) if !id.is_empty() => (id.to_owned(), None),
            (Some(_), _) => (self.host_name.clone(), None),
            // The pods of this run alone, so that no other executor's sweep takes them for its own.
            (None, _) => (format!("replay-{}", self.run), Some(self.run.clone())),
        };
        Job::read(line, dir, label_value(&owner), replay).map(Some)
    }

    /// A view of one pod, through the one watch of its namespace; an empty one means all.
    pub(crate) fn pod_watch(self: &Arc<Self>, cluster: Cluster, namespace: &str, pod: &str, owner: &str) -> PodWatch {
        let found = self.watches.namespace(cluster, namespace, owner, |client, new| {
            if self.state.is_some() {
                tokio::spawn(sweep(Arc::clone(self), Arc::clone(new), client.clone()));
            }
        });
        found.pod(pod)
    }

    /// An answer that every job would get ends the tool: the cluster does not know who we are.
    pub(crate) fn refused(&self, err: &ApiError) -> anyhow::Result<()> {
        match err.code() {
            401 => Err(failure(Exit::Refused, anyhow::anyhow!("the cluster refused our credentials: {err}"))),
            _ => Ok(()),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashSet<JobKey>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runners(&self) -> MutexGuard<'_, HashSet<String>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the pod was made for a job of ours that is over.
    fn is_orphan(&self, pod: &Pod) -> bool {
        if !self.runners().iter().any(|token| is_of_runner(pod, token)) {
            return false;
        }
        let Some(job) = pod.annotations().get(ANNOTATION_JOB_KEY) else { return false };
        let Some((id, host)) = job.split_once('@') else { return false };
        let Ok(id) = id.parse() else { return false };
        let key = JobKey { id, host: host.to_owned() };
        let has_folder = self.state.as_ref().is_some_and(|state| state.job(&key).exists());
        !has_folder && !self.running().contains(&key)
    }
}

/// Deletes the pods of ours that belong to no job: at each complete list, and every few minutes.
async fn sweep(world: Arc<World>, namespace: Arc<Namespace>, client: Client) {
    let mut lists = namespace.lists();
    loop {
        tokio::select! {
            changed = lists.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(SWEEP) => {}
        }
        for pod in namespace.all() {
            if pod.metadata.deletion_timestamp.is_some() || !world.is_orphan(&pod) {
                continue;
            }
            tracing::info!("pod {} belongs to no job any more, deleting it", pod.name_any());
            delete(&client, &pod).await;
        }
    }
}

/// Deletes a pod that nobody needs, and the namespace that was made for it.
async fn delete(client: &Client, pod: &Pod) {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    let objects = Objects::new(client, &namespace);
    if let Err(err) = objects.delete_pod(&name, &pod.uid().unwrap_or_default(), None).await {
        tracing::warn!("pod {name} could not be deleted: {err}");
    }
    if pod.annotations().contains_key(ANNOTATION_OWN_NAMESPACE) {
        OwnNamespace::new(client, &namespace).delete().await;
    }
}

/// Whether standard input is a pipe, behind which a producer can live, and not a file.
fn is_piped() -> bool {
    let kind = rustix::fs::fstat(std::io::stdin()).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
    matches!(kind, Ok(rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket))
}

/// Eight random hex digits.
fn run_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each of these from the system's randomness.
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{:08x}", random >> 32)
}

/// `text` as the value of a label: at most 63 of its letters, digits, `-`, `_` and `.`, the ends alphanumeric.
fn label_value(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let kept = kept.get(..63).unwrap_or(&kept);
    kept.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

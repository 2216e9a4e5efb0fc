//! Attending a job while its pod runs: frames become events, the pod's status becomes a verdict, a cancel becomes an annotation.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use runner_cli::stdout::Closed;
use runner_cli::watch::Watch;
use runner_core::control::Cancel;
use runner_core::duration::GoDuration;
use runner_core::failure::FailureReason;
use runner_core::frame::{Body, Frame, Outcome};
use runner_core::text;
use tokio::time::Instant;

use crate::aside::Surroundings;
use crate::control::Control;
use crate::events::Events;
use crate::follow::{Followed, HELPER, LogOf, follow};
use crate::job::Job;
use crate::objects::Objects;
use crate::pod::ServicePlan;
use crate::pull::{StartFailure, start_failure};
use crate::replay::Replay;
use crate::status;
use crate::verdict::Verdict;
use crate::watch::{PodWatch, Seen};

/// After `canceled` nobody waits for the log: the pod has this long to end by itself.
const ABORT_GRACE: Duration = Duration::from_secs(10);

/// When the build container has ended, the log of the job, or the container's status, has this long to tell what happened.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A pod that is being deleted, or is gone, has this long to deliver the rest of its log.
const LEAVING_GRACE: Duration = Duration::from_secs(60);

/// The helper ends the job in time; this long after that it must be stuck.
const OVERTIME: Duration = Duration::from_secs(600);

/// How a pod's part in the job ended.
pub(crate) enum End {
    /// The job has its result.
    Verdict(Verdict),
    /// The pod never began the job, and waiting will not help.
    NeverStarted(StartFailure),
}

/// How long a job may take to begin, over all its pods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrepareLimit {
    time: Duration,
    over: Instant,
}

impl PrepareLimit {
    /// `time` from now.
    pub(crate) fn from_now(time: Duration) -> Self {
        Self { time, over: Instant::now() + time }
    }

    fn verdict(self) -> Verdict {
        let message = format!("prepare timeout: exceeded timeout of {}", GoDuration::from(self.time));
        Verdict::failed(FailureReason::JobExecutionTimeout, message)
    }
}

/// One job and its pod.
pub(crate) struct Attend<'a> {
    pub(crate) job: &'a Job,
    pub(crate) objects: &'a Objects,
    pub(crate) events: &'a mut Events,
    pub(crate) folder: Option<&'a Watch>,
    pub(crate) namespace: &'a str,
    pub(crate) name: String,
    pub(crate) watch: PodWatch,
    pub(crate) services: &'a [ServicePlan],
    /// When an earlier run of ours last wrote something of this job.
    pub(crate) since: Option<Timestamp>,
    /// Whether there is another pull policy to try for a container: then a pull that may pass is not waited for.
    pub(crate) has_fallback: &'a (dyn Fn(&str) -> bool + Sync),
}

struct Progress {
    control: Control,
    started: bool,
    /// The services that the job waits for are there.
    services_ready: bool,
    /// The version of the pod that was looked at last, and whether the job had begun then.
    looked: Option<(Option<String>, bool)>,
    outcome: Option<Outcome>,
    told: Option<Cancel>,
    replay: Replay,
    deadline: Instant,
    on_deadline: Verdict,
    /// The deadline is the one for starting.
    is_start_timeout: bool,
    last: Option<std::sync::Arc<Pod>>,
    waiting: String,
    noise: Vec<String>,
}

impl Progress {
    /// The job ends with `verdict` unless it has ended in time.
    fn end_after(&mut self, time: Duration, verdict: Verdict) {
        self.deadline = Instant::now() + time;
        self.on_deadline = verdict;
        self.is_start_timeout = false;
    }

    /// The same, unless it is to end sooner already.
    fn end_within(&mut self, time: Duration, verdict: Verdict) {
        if Instant::now() + time < self.deadline {
            self.end_after(time, verdict);
        }
    }
}

impl Attend<'_> {
    /// Attends the job to its end. `prepare` limits its beginning, unless an earlier run of ours has seen that.
    pub(crate) async fn run(mut self, prepare: Option<PrepareLimit>) -> Result<End, Closed> {
        let start_timeout = self.job.kubernetes.start_timeout();
        let mut at = Progress {
            control: Control::new(self.objects.pods.clone(), self.name.clone()),
            started: prepare.is_none(),
            services_ready: false,
            looked: None,
            outcome: None,
            told: None,
            replay: Replay::default(),
            deadline: Instant::now() + start_timeout,
            on_deadline: Verdict::system("waiting for pod running: timed out waiting for pod to start"),
            is_start_timeout: true,
            last: None,
            waiting: String::new(),
            noise: Vec::new(),
        };
        match prepare {
            Some(limit) => at.end_within(limit.over.saturating_duration_since(Instant::now()), limit.verdict()),
            None => self.begin_overtime(&mut at),
        }
        let log = LogOf {
            api: self.objects.pods.clone(),
            pod: self.name.clone(),
            container: HELPER.to_owned(),
            watch: self.watch.clone(),
            since: None,
        };
        let surroundings = Surroundings {
            job: self.job,
            objects: self.objects,
            pod: &self.name,
            watch: &self.watch,
            services: self.services,
            since: self.since,
        };
        let mut asides = surroundings.listen();
        let mut frames = follow(log, |_, text| Frame::decode(text).ok_or_else(|| text.to_owned()));
        loop {
            if let Some(verdict) = self.look_for_cancel(&mut at) {
                return Ok(End::Verdict(verdict));
            }
            if let Some(end) = self.look_at_pod(&mut at).await? {
                return Ok(end);
            }
            let received = self.events.pod_offset();
            let folder = async {
                match self.folder {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                followed = frames.recv() => match followed {
                    Some(Followed::Line(Ok(frame))) => self.take(frame, &mut at).await?,
                    Some(Followed::Line(Err(line))) => note(&self.name, line, &mut at.noise),
                    Some(Followed::Ended) | None => return Ok(End::Verdict(self.without_result(&at).await)),
                },
                Some(aside) = asides.recv(), if self.events.is_at_line_end() => {
                    let mut lines = self.events.lines_of(aside.stream);
                    lines.push(aside.text);
                    self.events.executor_text(lines, false).await?;
                }
                () = self.watch.changed() => {}
                () = folder => {}
                () = at.replay.overdue(received) => self.request_replay(received, &mut at),
                () = tokio::time::sleep_until(at.deadline) => return Ok(End::Verdict(self.overdue(&at))),
            }
            if let Some(verdict) = self.result(&mut at) {
                return Ok(End::Verdict(verdict));
            }
        }
    }

    /// The result, once all of the log that belongs to it is here.
    fn result(&self, at: &mut Progress) -> Option<Verdict> {
        let outcome = at.outcome.clone().filter(|outcome| outcome.length <= self.events.pod_offset())?;
        if !outcome.container_lost {
            return Some(outcome.into());
        }
        // The helper has seen its neighbour go; why, Kubernetes will say in a moment.
        let pod = at.last.as_deref();
        let why = if pod.is_some_and(status::is_leaving) {
            Some(status::why_lost(pod, self.namespace, &self.name))
        } else {
            pod.and_then(|pod| status::terminated(pod, "build")).map(Verdict::system)
        };
        if why.is_none() {
            at.end_within(CATCH_UP, outcome.into());
        }
        why
    }

    async fn take(&mut self, frame: Frame, at: &mut Progress) -> Result<(), Closed> {
        let received = self.events.pod_offset();
        match frame.body {
            Body::Started { version } => {
                tracing::debug!("pod {}: helper {version} has the job", self.name);
                if !at.started {
                    at.started = true;
                    self.begin_overtime(at);
                }
            }
            Body::Log(text) if frame.offset <= received => {
                let known = usize::try_from(received - frame.offset).unwrap_or(usize::MAX);
                match text.get(known..) {
                    Some("") | None => {}
                    Some(_) if known == 0 => self.events.pod_text(text).await?,
                    Some(new) => self.events.pod_text(new.to_owned()).await?,
                }
            }
            Body::Log(_) => self.request_replay(received, at),
            Body::Stage { name, at: when } => {
                at.services_ready |= name != "prepare_script";
                if frame.offset >= received {
                    self.events.stage(name, when).await?;
                }
            }
            Body::Result(outcome) => {
                if outcome.length > received {
                    self.request_replay(received, at);
                }
                at.outcome = Some(outcome);
            }
        }
        Ok(())
    }

    /// Something between `received` and what just came was lost, to log rotation as a rule: asks for it.
    fn request_replay(&self, received: u64, at: &mut Progress) {
        if !at.replay.asks(received, Instant::now()) {
            return;
        }
        tracing::info!("job {}: log after byte {received} was lost on the way, asking for it again", self.job.key);
        spawn_patch(&self.name, at.control.clone().replay_from(received, at.replay.count));
    }

    /// From here on the job has its own clock; ours only sees to it that a stuck pod does not stay for ever.
    fn begin_overtime(&self, at: &mut Progress) {
        let timeout = Duration::from_secs(self.job.payload.timeout_secs());
        let message = format!("execution took longer than {} seconds", GoDuration::from(timeout));
        at.end_after(timeout + OVERTIME, Verdict::failed(FailureReason::JobExecutionTimeout, message));
    }

    fn overdue(&self, at: &Progress) -> Verdict {
        let mut verdict = at.on_deadline.clone();
        if at.is_start_timeout {
            let pod = at.last.as_deref();
            let phase = pod.and_then(|p| p.status.as_ref()?.phase.as_deref()).unwrap_or("Pending");
            let why = pod.and_then(status::unschedulable).map(|why| format!(": {why}")).unwrap_or_default();
            verdict.message = format!("{} (last phase: {phase}){why}", verdict.message);
            return verdict.while_preparing();
        }
        verdict
    }

    /// Tells the pod, once per level; ends the job at once where nothing of it would run any more.
    fn look_for_cancel(&self, at: &mut Progress) -> Option<Verdict> {
        let cancel = self.job.cancel()?;
        if at.told >= Some(cancel) {
            return None;
        }
        at.told = Some(cancel);
        if !at.started {
            return Some(Verdict::canceled());
        }
        if cancel == Cancel::Canceled {
            at.end_after(ABORT_GRACE, Verdict::canceled());
        }
        spawn_patch(&self.name, at.control.clone().cancel(cancel));
        None
    }

    /// Whether the pod's status leaves any hope.
    async fn look_at_pod(&mut self, at: &mut Progress) -> Result<Option<End>, Closed> {
        let pod = match self.watch.seen() {
            Seen::Present(pod) => pod,
            Seen::Unknown => return Ok(None),
            Seen::Gone => {
                self.expect_the_end(at);
                return Ok(None);
            }
        };
        at.last = Some(pod.clone());
        // What was no news before the job began may be some now.
        let looked = Some((pod.resource_version(), at.started));
        if at.looked == looked {
            return Ok(None);
        }
        at.looked = looked;
        if pod.metadata.deletion_timestamp.is_some() {
            self.expect_the_end(at);
        }
        let is_final =
            |failure: &StartFailure| !failure.may_pass || at.started || (self.has_fallback)(&failure.container);
        if let Some(failure) = start_failure(&pod).filter(is_final) {
            if at.started {
                return Ok(Some(End::Verdict(Verdict::failed(failure.reason, failure.message))));
            }
            return Ok(Some(End::NeverStarted(failure)));
        }
        if at.started {
            let awaited = self.services.iter().filter(|service| service.is_awaited && !at.services_ready);
            let Some(why) = awaited.filter_map(|service| status::terminated(&pod, &service.container)).next() else {
                return Ok(None);
            };
            let mut lines = self.events.lines();
            lines.push(text::error(&format!("Health check aborted due to error: {why}")));
            self.events.executor_text(lines, false).await?;
            return Ok(Some(End::Verdict(Verdict::system(why))));
        }
        if let Some(message) = status::terminated(&pod, "build") {
            // Either it could not stay, or the job is over already and its log is still to be read.
            at.end_within(CATCH_UP, Verdict::system(message).while_preparing());
            return Ok(None);
        }
        let waiting = status::waiting(&pod, self.namespace);
        // The table of events says it all.
        if waiting != at.waiting && !self.job.flags.is_on("FF_PRINT_POD_EVENTS") {
            let mut lines = self.events.lines();
            for line in waiting.lines() {
                lines.push(text::plain(line));
            }
            self.events.executor_text(lines, false).await?;
            at.waiting = waiting;
        }
        Ok(None)
    }

    /// The pod goes: its log may bring the rest, but not for ever.
    fn expect_the_end(&self, at: &mut Progress) {
        let verdict = status::why_lost(at.last.as_deref(), self.namespace, &self.name);
        at.end_within(LEAVING_GRACE, verdict);
    }

    /// The log has ended. The result may still stand in the container's termination message; else the status tells what happened.
    async fn without_result(&mut self, at: &Progress) -> Verdict {
        let pod = match self.watch.seen() {
            Seen::Present(pod) => Some(pod),
            Seen::Unknown | Seen::Gone => at.last.clone(),
        };
        let received = self.events.pod_offset();
        let outcome = at.outcome.clone().or_else(|| pod.as_deref().and_then(status::outcome));
        if let Some(outcome) = outcome {
            if outcome.length <= received {
                return outcome.into();
            }
            return Verdict::system(format!("the job's log was lost after byte {received} of {}", outcome.length));
        }
        let mut verdict = status::why_lost(pod.as_deref(), self.namespace, &self.name);
        if let Some(last) = at.noise.last() {
            verdict.message = format!("{} ({last})", verdict.message);
        }
        if at.started { verdict } else { verdict.while_preparing() }
    }
}

/// Sends an annotation beside the work: the log must not wait for the API server.
fn spawn_patch(pod: &str, patch: impl Future<Output = Result<(), crate::retry::ApiError>> + Send + 'static) {
    let pod = pod.to_owned();
    tokio::spawn(async move {
        match patch.await {
            Ok(()) => {}
            Err(err) if err.code() == 404 => tracing::debug!("pod {pod} is gone"),
            Err(err) => tracing::warn!("annotating pod {pod}: {err}"),
        }
    });
}

/// Keeps the last lines that are no frames: a helper that crashes says why on its stderr.
fn note(pod: &str, line: String, noise: &mut Vec<String>) {
    tracing::debug!("pod {pod}: helper says: {line}");
    if noise.len() == 8 {
        noise.remove(0);
    }
    noise.push(line.chars().filter(|c| !c.is_control()).take(500).collect());
}

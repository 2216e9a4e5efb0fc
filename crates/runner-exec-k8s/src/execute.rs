//! One job from its line to `close`: the states and their order.
//!
//! `open`, pod, `pod` line (acknowledged), Secret, PATCH, log, `close` (acknowledged), delete. A pod without its Secret cannot run
//! the job, so a crash between any two steps is repeated or adopted, and the job never begins a second time.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use runner_cli::watch::Watch;
use runner_core::event::{Pod as PodEvent, State};
use runner_core::failure::FailureReason;
use runner_core::text;
use runner_core::{COMPATIBLE_VERSION, REVISION, RUNNER_NAME};

use crate::acknowledge::{self, Journal, Milestone};
use crate::attend::{Attend, End, PrepareLimit};
use crate::client::Cluster;
use crate::control::Control;
use crate::events::Events;
use crate::files::plan_pod;
use crate::job::Job;
use crate::objects::{Objects, Turn};
use crate::own_namespace::OwnNamespace;
use crate::pod::{PodPlan, PullChoice, Refusal, ServicePlan};
use crate::pod_events;
use crate::pull::StartFailure;
use crate::refuse::Introduction;
use crate::retry::ApiError;
use crate::run::World;
use crate::status::why_lost;
use crate::verdict::Verdict;
use crate::watch::PodWatch;

/// Runs one job to its end. An error is one that ends the tool; the job goes on at the next start.
pub(crate) async fn execute(world: &Arc<World>, job: Job) -> anyhow::Result<State> {
    let folder = match &job.dir {
        Some(dir) => {
            Some(world.watcher.watch(dir.path()).with_context(|| format!("watching {}", dir.path().display()))?)
        }
        None => None,
    };
    let journal = match &job.dir {
        Some(dir) => {
            Journal::read(&dir.journal_path()).with_context(|| format!("reading {}", dir.journal_path().display()))?
        }
        None => Journal::default(),
    };
    let events = Events::new(&job, &journal, world.output.clone(), world.format);
    let mut execution = Execution {
        world,
        job: &job,
        folder: folder.as_ref(),
        events,
        section: None,
        said_last: journal.said_last,
        since: journal.written,
        made: None,
        own_namespace: None,
    };
    execution.run(journal).await
}

struct Execution<'a> {
    world: &'a Arc<World>,
    job: &'a Job,
    folder: Option<&'a Watch>,
    events: Events,
    /// The section of the log that is open, by name.
    section: Option<&'static str>,
    /// The log's last line was printed before a restart.
    said_last: bool,
    /// When the journal was last written before a restart.
    since: Option<Timestamp>,
    /// The pod that must be deleted in the end.
    made: Option<Made>,
    /// And the namespace, if it was made for this job.
    own_namespace: Option<OwnNamespace>,
}

#[derive(Clone)]
struct Made {
    objects: Objects,
    namespace: String,
    name: String,
    uid: String,
}

/// How an attempt with one pod ended.
enum Attempt {
    Verdict(Verdict),
    /// The image could not be pulled with this choice of policies, and another one is left.
    Again(PullChoice),
}

impl Execution<'_> {
    async fn run(&mut self, journal: Journal) -> anyhow::Result<State> {
        self.events.open(&self.job.open()).await?;
        if let Some(state) = journal.closed {
            // The result is delivered already; only the pod is left.
            if let Some(pod) = journal.pod {
                let (_, objects) = self.cluster(&pod.namespace).await?;
                self.own_namespace = self.namespace_of_job(&objects, &pod.namespace);
                self.made = Some(Made { objects, namespace: pod.namespace, name: pod.name, uid: pod.uid });
            }
            self.clean_up().await;
            return Ok(state);
        }
        let verdict = match journal.pod {
            Some(pod) if !pod.abandoned => self.resume(pod, journal.abandoned).await?,
            _ => self.begin(journal.abandoned).await?,
        };
        self.finish(&verdict).await?;
        Ok(verdict.state)
    }

    /// The job has not begun: makes pods for it until one runs it.
    async fn begin(&mut self, mut attempt: u32) -> anyhow::Result<Verdict> {
        if self.job.cancel().is_some() {
            return Ok(Verdict::canceled());
        }
        if let Some(refused) = &self.job.refused {
            if refused.introduction == Introduction::Whole {
                self.introduce(&[], None).await?;
            }
            return Ok(refused.verdict.clone());
        }
        if self.job.flags.is_on("FF_LOG_IMAGES_CONFIGURED_FOR_JOB") {
            self.log_images();
        }
        let prepare = PrepareLimit::from_now(self.job.prepare_limit);
        let mut choice = PullChoice::default();
        loop {
            let plan = match self.plan(attempt, &choice) {
                Ok(plan) => plan,
                Err(refusal) => {
                    self.introduce(&refusal.notes, None).await?;
                    return Ok(Verdict::failed(refusal.reason, refusal.message));
                }
            };
            self.introduce(&plan.notes, Some(&plan.environment_notes)).await?;
            match self.attempt(plan, &choice, prepare).await? {
                Attempt::Verdict(verdict) => return Ok(verdict),
                Attempt::Again(next) => choice = next,
            }
            attempt += 1;
        }
    }

    /// One pod: made, announced, handed the job, attended.
    async fn attempt(&mut self, plan: PodPlan, choice: &PullChoice, prepare: PrepareLimit) -> anyhow::Result<Attempt> {
        let (cluster, objects) = self.cluster(&plan.namespace).await?;
        let mut watch = self.pod_watch(cluster, &plan.namespace, &plan.pod.name_any());
        let pod = match self.create(&objects, &plan, &mut watch).await {
            Ok(pod) => pod,
            Err(err) => {
                self.world.refused(&err)?;
                return Ok(Attempt::Verdict(Verdict::system(format!("creating the pod: {err}")).while_preparing()));
            }
        };
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let namespace = plan.namespace.clone();
        let made = Made { objects: objects.clone(), namespace, name: name.clone(), uid: uid.clone() };
        self.made = Some(made.clone());
        self.events.pod(&plan.namespace, &name, &uid, false).await?;
        self.acknowledged(Milestone::Pod { uid: &uid, abandoned: false }).await?;
        if let Err(err) = hand_over(&objects, &plan, &pod, Turn::First).await {
            return Ok(Attempt::Verdict(
                Verdict::system(format!("handing the job to its pod: {err}")).while_preparing(),
            ));
        }
        let has_fallback = |container: &str| plan.policies.after_failure(choice, container).is_some();
        match self.attend(&made, watch, &plan.services, Some(prepare), &has_fallback).await? {
            End::Verdict(verdict) => Ok(Attempt::Verdict(verdict)),
            End::NeverStarted(failure) => self.another_policy(&plan, choice, failure).await,
        }
    }

    /// A container cannot start. If its image could not be pulled and another policy is left, the pod is given up for a new one.
    async fn another_policy(
        &mut self,
        plan: &PodPlan,
        choice: &PullChoice,
        failure: StartFailure,
    ) -> anyhow::Result<Attempt> {
        let StartFailure { container, image, message, .. } = &failure;
        let next = plan.policies.after_failure(choice, container).filter(|_| failure.is_pull);
        let (Some(next), Some(made)) = (next, &self.made) else {
            let message = format!("waiting for pod running: {message}");
            return Ok(Attempt::Verdict(Verdict::failed(failure.reason, message).while_preparing()));
        };
        let mut lines = self.events.lines();
        lines.push(text::warning(&plan.policies.failure_line(choice, container, image, message)));
        lines.push(text::info(&plan.policies.attempt_line(&next, container, image)));
        self.events.executor_text(lines, false).await?;
        let (name, uid) = (made.name.clone(), made.uid.clone());
        let (cluster, _) = self.cluster(&plan.namespace).await?;
        let mut watch = self.pod_watch(cluster, &plan.namespace, &name);
        self.delete().await;
        watch.gone(&uid).await;
        self.events.pod(&plan.namespace, &name, &uid, true).await?;
        self.acknowledged(Milestone::Pod { uid: &uid, abandoned: true }).await?;
        Ok(Attempt::Again(next))
    }

    /// The job's pod was announced before a restart: adopt it, or tell what became of it. It is never begun a second time.
    async fn resume(&mut self, known: PodEvent, attempt: u32) -> anyhow::Result<Verdict> {
        let PodEvent { namespace, name, uid, .. } = known;
        let (cluster, objects) = self.cluster(&namespace).await?;
        let watch = self.pod_watch(cluster, &namespace, &name);
        self.own_namespace = self.namespace_of_job(&objects, &namespace);
        let pod = match objects.get_pod(&name).await {
            Ok(pod) => pod.filter(|pod| pod.uid().as_deref() == Some(&uid)),
            Err(err) => {
                self.world.refused(&err)?;
                return Ok(Verdict::system(format!("reading pod \"{namespace}/{name}\": {err}")));
            }
        };
        let Some(pod) = pod else { return Ok(why_lost(None, &namespace, &name)) };
        tracing::info!("job {}: goes on in pod {namespace}/{name}", self.job.key);
        let made = Made { objects, namespace, name, uid };
        self.made = Some(made.clone());
        let started = self.events.pod_offset() > 0;
        let services = match self.plan(attempt, &PullChoice::default()) {
            Ok(plan) if started => plan.services,
            Ok(plan) => {
                self.section = Some("prepare_script");
                if let Err(err) = hand_over(&made.objects, &plan, &pod, Turn::Again).await {
                    return Ok(Verdict::system(format!("handing the job to its pod: {err}")).while_preparing());
                }
                plan.services
            }
            // Files of this machine may have changed meanwhile; what runs goes on.
            Err(_) if started => Vec::new(),
            Err(refusal) => return Ok(Verdict::failed(refusal.reason, refusal.message)),
        };
        let prepare = (!started).then(|| PrepareLimit::from_now(self.job.prepare_limit));
        match self.attend(&made, watch, &services, prepare, &|_| false).await? {
            End::Verdict(verdict) => Ok(verdict),
            End::NeverStarted(failure) => Ok(Verdict::failed(failure.reason, failure.message).while_preparing()),
        }
    }

    async fn attend(
        &mut self,
        made: &Made,
        watch: PodWatch,
        services: &[ServicePlan],
        prepare: Option<PrepareLimit>,
        has_fallback: &(dyn Fn(&str) -> bool + Sync),
    ) -> anyhow::Result<End> {
        let attend = Attend {
            job: self.job,
            objects: &made.objects,
            events: &mut self.events,
            folder: self.folder,
            namespace: &made.namespace,
            name: made.name.clone(),
            watch,
            services,
            since: self.since,
            has_fallback,
        };
        Ok(attend.run(prepare).await?)
    }

    /// Closes the log and reports the result; the pod goes once that is durable.
    async fn finish(&mut self, verdict: &Verdict) -> anyhow::Result<()> {
        if !self.said_last {
            let mut lines = self.events.lines();
            if self.events.pod_offset() == 0
                && let Some(section) = self.section.take()
            {
                self.mark(&mut lines, text::section_end(SystemTime::now(), section));
            }
            for warning in self.pod_warnings(verdict).await {
                lines.push(warning);
            }
            lines.push(verdict.final_line());
            self.events.executor_text(lines, true).await?;
        }
        self.events.close(verdict).await?;
        self.acknowledged(Milestone::Close).await?;
        self.clean_up().await;
        Ok(())
    }

    /// What the cluster has to say about the pod of a job that failed, unless its own script or a person ended it.
    async fn pod_warnings(&self, verdict: &Verdict) -> Vec<String> {
        use FailureReason::{JobCanceled, JobExecutionTimeout, ScriptFailure};
        let by_cluster = verdict.state == State::Failed
            && !matches!(verdict.reason, Some(ScriptFailure | JobCanceled | JobExecutionTimeout));
        match &self.made {
            Some(made) if by_cluster && self.job.kubernetes.print_pod_warning_events.unwrap_or(true) => {
                pod_events::warnings(&made.objects.events, &made.name).await
            }
            _ => Vec::new(),
        }
    }

    /// The log's first lines, up to where the pod takes over, if there is to be one. Printed once, also over restarts.
    async fn introduce(&mut self, notes: &[String], environment: Option<&[String]>) -> anyhow::Result<()> {
        if !self.events.is_fresh() {
            return Ok(());
        }
        let runner = &self.job.line.runner;
        let mut lines = self.events.lines();
        lines.push(text::plain(&format!("Running with {RUNNER_NAME} {COMPATIBLE_VERSION} ({REVISION})")));
        if !runner.short_token.is_empty() {
            let line = format!("  on {} {}, system ID: {}", runner.name, runner.short_token, runner.system_id);
            lines.push(text::plain(&line));
        }
        if let Some(flags) = self.job.flags.changed() {
            lines.push(text::plain(&format!("  feature flags: {flags}")));
        }
        for warning in self.job.flags.warnings().iter().chain(&self.job.warning()) {
            lines.push(text::warning(warning));
        }
        self.mark(&mut lines, text::section_start(SystemTime::now(), "prepare_executor"));
        lines.push(text::heading("Preparing the \"kubernetes\" executor"));
        for note in notes {
            lines.push(note);
        }
        self.mark(&mut lines, text::section_end(SystemTime::now(), "prepare_executor"));
        if let Some(notes) = environment {
            self.mark(&mut lines, text::section_start(SystemTime::now(), "prepare_script"));
            lines.push(text::heading("Preparing environment"));
            for note in notes {
                lines.push(note);
            }
            self.section = Some("prepare_script");
        }
        Ok(self.events.executor_text(lines, false).await?)
    }

    /// For the operator: which images jobs use.
    fn log_images(&self) {
        let name = |image: &runner_core::job::Image| self.job.variables.expand(&image.name);
        let image = self.job.payload.image.as_ref().map(name).unwrap_or_default();
        let services: Vec<String> = self.job.payload.services.iter().map(name).collect();
        tracing::info!("job {}: image `{image}`, services {services:?}", self.job.key);
    }

    /// A section marker, if this GitLab wants them.
    fn mark(&self, lines: &mut crate::events::Lines, marker: String) {
        if self.job.payload.features.trace_sections {
            lines.push(marker);
        }
    }

    fn plan(&self, attempt: u32, policies: &PullChoice) -> Result<PodPlan, Refusal> {
        plan_pod(self.job, attempt, policies, &self.world.host_name, &self.world.pods)
    }

    async fn cluster(&self, namespace: &str) -> anyhow::Result<(Cluster, Objects)> {
        let cluster = self.world.clusters.client(&self.job.kubernetes).await?;
        let objects = Objects::new(&cluster.client, namespace);
        Ok((cluster, objects))
    }

    /// Waits until the journal has what was just printed. Without a folder, written is acknowledged.
    async fn acknowledged(&self, milestone: Milestone<'_>) -> anyhow::Result<()> {
        match (&self.job.dir, self.folder) {
            (Some(dir), Some(watch)) => acknowledge::wait(dir, watch, milestone)
                .await
                .with_context(|| format!("reading {}", dir.journal_path().display())),
            _ => Ok(self.events.flush().await?),
        }
    }

    /// Makes the pod, and before it what it needs to start.
    async fn create(&mut self, objects: &Objects, plan: &PodPlan, watch: &mut PodWatch) -> Result<Pod, ApiError> {
        if let Some(namespace) = self.namespace_of_job(objects, &plan.namespace) {
            namespace.create(&plan.pod).await?;
            self.own_namespace = Some(namespace);
        }
        for secret in &plan.early_secrets {
            objects.create_early_secret(secret).await?;
        }
        let pod = match &self.own_namespace {
            Some(_) => OwnNamespace::create_pod(objects, &plan.pod, watch).await?,
            None => objects.create_pod(&plan.pod, watch).await?,
        };
        for secret in &plan.early_secrets {
            objects.adopt_secret(&secret.name_any(), &pod).await?;
        }
        Ok(pod)
    }

    fn namespace_of_job(&self, objects: &Objects, name: &str) -> Option<OwnNamespace> {
        self.job.kubernetes.namespace_per_job.then(|| OwnNamespace::new(&objects.pods.clone().into_client(), name))
    }

    /// One watch serves all namespaces that were made for jobs.
    fn pod_watch(&self, cluster: Cluster, namespace: &str, pod: &str) -> PodWatch {
        let namespace = if self.job.kubernetes.namespace_per_job { "" } else { namespace };
        self.world.pod_watch(cluster, namespace, pod, &self.job.owner)
    }

    /// Nothing of the job stays in the cluster.
    async fn clean_up(&mut self) {
        self.delete().await;
        if let Some(namespace) = self.own_namespace.take() {
            namespace.delete().await;
        }
    }

    /// Deletes the pod, and with it its Secrets. Failing is no trouble of the job's: the next sweep tries again.
    async fn delete(&mut self) {
        let Some(Made { objects, name, uid, .. }) = self.made.take() else { return };
        let grace = self.job.kubernetes.cleanup_grace_period_seconds.and_then(|secs| u32::try_from(secs).ok());
        if let Err(err) = objects.delete_pod(&name, &uid, grace).await {
            tracing::warn!("job {}: pod {name} could not be deleted: {err}", self.job.key);
        }
    }
}

/// Gives the job to the pod: the Secret is the claim, the PATCH makes the kubelet bring it.
async fn hand_over(objects: &Objects, plan: &PodPlan, pod: &Pod, turn: Turn) -> Result<(), ApiError> {
    for part in &plan.secret_parts {
        objects.create_secret(part.clone(), pod, turn).await?;
    }
    // The claim comes last: it says how many parts there are.
    let secret = objects.create_secret(plan.secret.clone(), pod, turn).await?;
    Control::new(objects.pods.clone(), pod.name_any()).announce_payload(&secret).await
}

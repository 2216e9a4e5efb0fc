//! A running server as tests see it: enqueue, wait, look, misbehave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::builder::Builder;
use crate::faults::Fault;
use crate::job::{JobReport, JobStatus};
use crate::plan::Variable;
use crate::record::Record;
use crate::runner::RunnerSpec;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::spec::JobSpec;
use crate::state::{Event, World};
use crate::{Error, payload, pipelines, progress};

/// A running server. It stops, and its files are removed, when this is dropped.
pub struct FakeGitlab {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runner_token: String,
    /// PEM, in the scratch folder.
    pub(crate) certificate: Option<PathBuf>,
    /// Owns the listener and all connections; none once stopped.
    pub(crate) serving: Option<JoinHandle<()>>,
    pub(crate) stop: CancellationToken,
    /// Removed on drop.
    pub(crate) _scratch: TempDir,
}

impl Drop for FakeGitlab {
    fn drop(&mut self) {
        // The task ends at its next turn. Who must know that it has ended calls `stop`.
        self.stop.cancel();
    }
}

impl FakeGitlab {
    /// Starts a server without projects on a free port of 127.0.0.1.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Sets a server up before it starts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Ends all connections and removes all files, and returns when that is done. Dropping does the
    /// same without waiting.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            // It only fails if it panicked, and then it has ended as well.
            let _ = serving.await;
        }
    }

    /// The address it listens on, `http://127.0.0.1:PORT`, or `https` with TLS.
    pub fn url(&self) -> &str {
        &self.shared.local_url
    }

    /// The file with the server's certificate as PEM, if it has one.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// Token of the runner that is there from the start; it takes every untagged job.
    pub fn runner_token(&self) -> &str {
        &self.runner_token
    }

    /// Token for `POST /runners`.
    pub fn registration_token(&self) -> String {
        self.shared.read(|world| world.registration_token.clone())
    }

    /// A user's token that may only read.
    pub fn read_only_token(&self) -> String {
        self.shared.read(|world| world.read_only_token.clone())
    }

    /// The instance's rules as they are.
    pub fn settings(&self) -> Settings {
        self.shared.read(|world| world.settings.clone())
    }

    /// Changes the instance's rules.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        self.shared.write(|world| change(&mut world.settings));
    }

    /// Token of the user-facing API.
    pub fn private_token(&self) -> String {
        self.shared.read(|world| world.private_token.clone())
    }

    /// Makes one more runner, as a user does in the web interface, and gives its token.
    pub fn create_runner(&self, spec: RunnerSpec) -> Result<String, Error> {
        if let Some(problems) = spec.problems() {
            return Err(Error::Runner(problems.to_string()));
        }
        self.shared.write(|world| Ok(world.add_runner(spec, true, None)?.token.clone()))
    }

    /// Enqueues a raw job and gives its number.
    pub async fn enqueue(&self, job: JobSpec) -> Result<u64, Error> {
        pipelines::enqueue(&self.shared, job).await
    }

    /// Makes a pipeline from a project's `.gitlab-ci.yml` at a branch or tag (its default branch
    /// if none is named) and gives the pipeline's number.
    pub async fn create_pipeline(
        &self,
        project: &str,
        reference: Option<&str>,
        variables: Vec<Variable>,
    ) -> Result<u64, Error> {
        pipelines::create(&self.shared, project, reference, variables, Value::Null, "api").await
    }

    /// A job as it stands, if it exists.
    pub fn job(&self, id: u64) -> Option<JobReport> {
        self.shared.read(|world| {
            let job = world.jobs.get(&id)?;
            Some(job.report(world.project_path(job.project)))
        })
    }

    /// All jobs in the order in which they were made.
    pub fn jobs(&self) -> Vec<JobReport> {
        self.shared.read(World::reports)
    }

    /// The numbers of a pipeline's jobs, retried ones included.
    pub fn pipeline_jobs(&self, pipeline: u64) -> Vec<u64> {
        self.shared.read(|world| {
            let pipeline = world.pipelines.get(&pipeline);
            pipeline.map(|pipeline| pipeline.jobs.clone()).unwrap_or_default()
        })
    }

    /// A pipeline's status as GitLab computes it from its jobs.
    pub fn pipeline_status(&self, pipeline: u64) -> JobStatus {
        self.shared.read(|world| progress::pipeline_status(world, pipeline))
    }

    /// Every change of a job's state so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.read(|world| world.events.clone())
    }

    /// Waits until a job fits; never returns for a job that does not exist. Wakes on events, so
    /// the caller adds the deadline.
    pub async fn wait_for(&self, id: u64, fits: impl Fn(&JobReport) -> bool) -> JobReport {
        self.shared
            .wait_until(|world| {
                let job = world.jobs.get(&id)?;
                Some(job.report(world.project_path(job.project))).filter(&fits)
            })
            .await
    }

    /// Waits until a job has this status.
    pub async fn wait_status(&self, id: u64, status: JobStatus) -> JobReport {
        self.wait_for(id, |job| job.status == status).await
    }

    /// Waits until a job has ended, in whatever way.
    pub async fn wait_finished(&self, id: u64) -> JobReport {
        self.wait_for(id, |job| job.status.is_finished()).await
    }

    /// Waits until a job's log contains `text`, which must not be empty.
    pub async fn wait_trace(&self, id: u64, text: &str) {
        self.shared
            .wait_until(|world| {
                let trace = world.jobs.get(&id)?.trace.bytes();
                trace.windows(text.len().max(1)).any(|part| part == text.as_bytes()).then_some(())
            })
            .await;
    }

    /// Waits until no job of the pipeline can go on by itself, and gives the pipeline's status.
    pub async fn wait_pipeline(&self, pipeline: u64) -> JobStatus {
        self.shared
            .wait_until(|world| {
                let status = progress::pipeline_status(world, pipeline);
                (status.is_finished() || status == JobStatus::Manual).then_some(status)
            })
            .await
    }

    /// Waits until there are more than `from` events, and gives those after the first `from`.
    pub async fn wait_events(&self, from: usize) -> Vec<Event> {
        self.shared
            .wait_until(|world| {
                let new = world.events.get(from..)?;
                (!new.is_empty()).then(|| new.to_vec())
            })
            .await
    }

    /// Waits until some log is longer than `seen` says, and gives what [`Self::new_logs`] gives.
    pub async fn wait_logs(&self, seen: &mut BTreeMap<u64, usize>) -> Vec<(JobReport, Vec<u8>)> {
        self.shared
            .wait_until(|world| {
                let grown = grown_logs(world, seen);
                (!grown.is_empty()).then_some(grown)
            })
            .await
    }

    /// What was added to the jobs' logs since `seen`, which holds the length that was seen of each
    /// job's log and is brought up to date.
    pub fn new_logs(&self, seen: &mut BTreeMap<u64, usize>) -> Vec<(JobReport, Vec<u8>)> {
        self.shared.read(|world| grown_logs(world, seen))
    }

    /// The log as stored.
    pub fn trace(&self, id: u64) -> Vec<u8> {
        self.shared.read(|world| {
            let job = world.jobs.get(&id);
            job.map(|job| job.trace.bytes().to_vec()).unwrap_or_default()
        })
    }

    /// The payload a job's runner got or would get from the runner that is there from the start.
    pub fn payload(&self, id: u64) -> Option<serde_json::Value> {
        self.shared.read(|world| {
            let job = world.jobs.get(&id)?;
            let runner = match &job.runner {
                Some((runner, _)) => world.runners.get(runner),
                None => world.runners.values().next(),
            };
            payload::build(&self.shared, world, job, runner?)
        })
    }

    /// The bytes of a stored file of the given type, e.g. `archive`.
    pub fn artifact(&self, id: u64, file_type: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.shared.read(|world| {
            let job = world.jobs.get(&id)?;
            let artifact = job.artifacts.iter().find(|artifact| artifact.file_type == file_type)?;
            Some(artifact.path.clone())
        });
        let Some(path) = path else { return Ok(None) };
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) => Err(Error::File { action: "read", path, source }),
        }
    }

    /// Cancels a job as a user does.
    pub fn cancel(&self, id: u64) {
        self.shared.write(|world| world.cancel(id));
    }

    /// Repeats a finished job as a user does, and gives the new job's number.
    pub fn retry(&self, id: u64) -> Result<Option<u64>, Error> {
        self.shared.write(|world| world.retry(id))
    }

    /// Pauses or resumes a runner, found by its token.
    pub fn pause_runner(&self, token: &str, paused: bool) {
        self.shared.write(|world| world.pause(token, paused));
    }

    /// Removes a runner, found by its token, as an administrator does.
    pub fn remove_runner(&self, token: &str) {
        self.shared.write(|world| world.runners.retain(|_, runner| runner.token != token));
    }

    /// Every request so far, in the order in which they were answered.
    pub fn requests(&self) -> Vec<Record> {
        self.shared.records.all()
    }

    /// Waits for a request that fits, those already answered included.
    pub async fn wait_request(&self, fits: impl Fn(&Record) -> bool) -> Record {
        self.shared.records.wait_for(fits).await
    }

    /// Adds a fault to those in force.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.set(Vec::new());
    }
}

fn grown_logs(world: &World, seen: &mut BTreeMap<u64, usize>) -> Vec<(JobReport, Vec<u8>)> {
    let mut grown = Vec::new();
    for job in world.jobs.values() {
        let bytes = job.trace.bytes();
        let seen = seen.entry(job.id).or_default();
        // A log that was lost and is sent again is not told twice.
        if let Some(new) = bytes.get(*seen..).filter(|new| !new.is_empty()) {
            grown.push((job.report(world.project_path(job.project)), new.to_vec()));
            *seen = bytes.len();
        }
    }
    grown
}

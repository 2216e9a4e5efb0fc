//! What must be true after a trial, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::time::Duration;

use fake_gitlab::{JobReport, JobStatus};
use memchr::memmem;
use tokio::time::{sleep, timeout};

use crate::processes;
use crate::schedule::Planned;
use crate::shape::{ARTIFACT, Expected, Shape, prefix};
use crate::supervisor::Supervisor;
use crate::trial::name_of;
use crate::world::World;

/// Pods and Secrets go within this time after the last job's end.
const LEAVING: Duration = Duration::from_secs(60);

/// How often processes and pods are searched for secrets.
const LOOK: Duration = Duration::from_millis(300);

/// Why an attempt failed of which GitLab never heard that a runner goes on with it.
const LAPSED: &str = "runner_provisioning_timeout";

/// Every job: ended once, as its script did, with its log and its files, and ran once.
pub(crate) fn jobs(world: &World, jobs: &[Planned], harmed: &BTreeSet<String>) -> Vec<String> {
    let mut endings = BTreeMap::<u64, usize>::new();
    for event in world.gitlab.events() {
        *endings.entry(event.job.id).or_default() += usize::from(event.job.status.is_finished());
    }
    let mut violations = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let name = name_of(number);
        let attempts: Vec<_> = world.gitlab.jobs().into_iter().filter(|report| report.name == name).collect();
        let mut found = Vec::new();
        for attempt in &attempts {
            let times = endings.get(&attempt.id).copied().unwrap_or_default();
            if times != 1 {
                found.push(format!("ended {times} times"));
            }
        }
        let Some((last, lapsed)) = attempts.split_last() else {
            violations.push(format!("{name}: was never there"));
            continue;
        };
        if lapsed.iter().any(|attempt| attempt.failure_reason.as_deref() != Some(LAPSED)) {
            found.push("was tried again although it had been accepted".to_owned());
        }
        let subject = Subject { world, name: &name, shape: job.shape, report: last, harmed: harmed.contains(&name) };
        subject.check(&mut found);
        violations
            .extend(found.into_iter().map(|what| format!("{name} ({}, job {}): {what}", job.shape.name(), last.id)));
    }
    violations
}

/// One job after its end.
struct Subject<'a> {
    world: &'a World,
    name: &'a str,
    shape: Shape,
    report: &'a JobReport,
    harmed: bool,
}

impl Subject<'_> {
    fn check(&self, found: &mut Vec<String>) {
        let is_true = self.ended_truly();
        let is_excused = self.harmed && self.failed_with(&["runner_system_failure"]);
        if !is_true && !is_excused {
            let JobReport { status, exit_code, failure_reason, .. } = self.report;
            found.push(format!("ended as {status:?}, exit code {exit_code:?}, {failure_reason:?}"));
        }
        let starts =
            std::fs::read_to_string(self.world.places.runs().join(self.name)).unwrap_or_default().lines().count();
        let may_not_start = is_excused || self.shape.expected() == Expected::Canceled;
        if starts > 1 || (starts == 0 && !may_not_start) {
            found.push(format!("its script began {starts} times"));
        }
        self.check_log(is_true, found);
        if self.shape == Shape::Artifact && self.report.status == JobStatus::Success {
            self.check_artifact(found);
        }
    }

    fn ended_truly(&self) -> bool {
        match self.shape.expected() {
            Expected::Success => self.report.status == JobStatus::Success && self.report.exit_code.unwrap_or(0) == 0,
            Expected::Failed(code) => {
                self.failed_with(&["script_failure"]) && self.report.exit_code == Some(code.into())
            }
            Expected::TimedOut => self.failed_with(&["job_execution_timeout"]),
            Expected::Canceled => self.report.status == JobStatus::Canceled,
        }
    }

    fn failed_with(&self, reasons: &[&str]) -> bool {
        let reason = self.report.failure_reason.as_deref().unwrap_or_default();
        self.report.status == JobStatus::Failed && reasons.contains(&reason)
    }

    /// The log holds the script's lines, each once and in order; all of them if it came to its end.
    fn check_log(&self, is_true: bool, found: &mut Vec<String>) {
        let trace = self.world.gitlab.trace(self.report.id);
        let text = tests::trace::text(&trace);
        let begins = prefix(self.name);
        let lines: String = text.split_inclusive('\n').filter(|line| line.starts_with(&begins)).collect();
        let (whole, sum) = self.shape.text(self.name);
        let is_whole = is_true && matches!(self.shape.expected(), Expected::Success | Expected::Failed(_));
        let at = lines.bytes().zip(whole.bytes()).take_while(|(a, b)| a == b).count();
        if is_whole && (lines != whole || text.lines().filter(|line| line.starts_with(&sum)).count() != 1) {
            found.push(format!(
                "its log has {} bytes of lines instead of {}, equal up to {at}",
                lines.len(),
                whole.len()
            ));
        }
        // A script that is stopped may have written a part of its last line, and the log closes it.
        if at < lines.trim_end_matches('\n').len() {
            found.push(format!("its log differs from what the script wrote after byte {at}"));
        }
        // Nobody reads the log of a canceled job, and GitLab may have closed it.
        if self.shape.expected() == Expected::Canceled {
            return;
        }
        if text.matches("Running with ").count() != 1 {
            found.push("its log does not begin once".to_owned());
        }
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let ending = if self.report.status == JobStatus::Success { "Job succeeded" } else { "ERROR: Job failed" };
        if !last.contains(ending) {
            found.push(format!("its log ends with {last:?}"));
        }
        if self.report.claimed_checksum.as_ref() != Some(&self.report.trace_crc32) {
            found.push("its log is not the one that was announced".to_owned());
        }
    }

    fn check_artifact(&self, found: &mut Vec<String>) {
        match self.artifact() {
            Ok(text) if text == self.shape.text(self.name).0 => {}
            Ok(text) => found.push(format!("its artifact has {} other bytes", text.len())),
            Err(err) => found.push(format!("its artifact: {err:#}")),
        }
    }

    fn artifact(&self) -> anyhow::Result<String> {
        let archive = self.world.gitlab.artifact(self.report.id, "archive")?;
        let archive = archive.ok_or_else(|| anyhow::anyhow!("there is none"))?;
        let mut text = String::new();
        zip::ZipArchive::new(Cursor::new(archive))?.by_name(ARTIFACT)?.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// No pod, Secret, folder or process is left.
pub(crate) async fn nothing_left(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let kube = &world.kube;
    let is_empty = |pods: &[serde_json::Value]| pods.is_empty() && kube.objects("secrets").is_empty();
    if timeout(LEAVING, kube.wait_for_pods(is_empty)).await.is_err() {
        for object in kube.pods().iter().chain(&kube.objects("secrets")) {
            violations.push(format!("left in the cluster: {}", object["metadata"]["name"]));
        }
    }
    for entry in std::fs::read_dir(world.places.state().join("jobs")).into_iter().flatten().flatten() {
        violations.push(format!("left: {}", entry.path().display()));
    }
    let containers = processes::naming(&world.kube.root().join("pods"));
    let tools = processes::naming(world.places.folder());
    violations.extend(containers.into_iter().chain(tools).map(|process| format!("still runs: {process}")));
    violations
}

/// Returns when a token is seen in a command line, an environment, a pod or an event; never otherwise.
pub(crate) async fn secrets_in_sight(world: &World, supervisor: &Supervisor) -> String {
    loop {
        let tokens = tokens(world);
        let has_token = |bytes: &[u8]| tokens.iter().any(|token| memmem::find(bytes, token.as_bytes()).is_some());
        if let Some(pid) = supervisor.pids().into_iter().find(|&pid| has_token(&processes::visible(pid))) {
            return format!("a token is in the command line or environment of process {pid}");
        }
        for kind in ["pods", "events", "configmaps"] {
            let objects = world.kube.objects(kind);
            if let Some(object) = objects.iter().find(|object| has_token(object.to_string().as_bytes())) {
                return format!("a token is in {kind} {}", object["metadata"]["name"]);
            }
        }
        sleep(LOOK).await;
    }
}

/// The programs' own logs name no token.
pub(crate) fn secrets_in_logs(world: &World) -> Vec<String> {
    let tokens = tokens(world);
    let files = std::fs::read_dir(world.places.logs()).into_iter().flatten().flatten();
    let leaks = files.filter(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        tokens.iter().any(|token| memmem::find(&bytes, token.as_bytes()).is_some())
    });
    leaks.map(|file| format!("a token is in {}", file.path().display())).collect()
}

fn tokens(world: &World) -> Vec<String> {
    let jobs = world.gitlab.jobs().into_iter().filter_map(|job| {
        let payload = world.gitlab.payload(job.id)?;
        Some(payload["token"].as_str()?.to_owned())
    });
    jobs.chain([world.gitlab.runner_token().to_owned()]).filter(|token| !token.is_empty()).collect()
}

/// Writes what the servers know into the trial's folder, beside what the programs left there.
pub(crate) fn keep_evidence(world: &World) -> std::io::Result<()> {
    let folder = world.places.folder();
    for job in world.gitlab.jobs() {
        std::fs::write(folder.join(format!("{}-{}.log", job.name, job.id)), world.gitlab.trace(job.id))?;
    }
    let events: String = world.gitlab.events().iter().map(|event| format!("{event:?}\n")).collect();
    std::fs::write(folder.join("gitlab-events.txt"), events)?;
    let requests = world.gitlab.requests().into_iter().map(|request| {
        let at: String = format!("{:?}", request.at);
        format!("{at} {:?} {} {} {:?}\n", request.status, request.method, request.path, request.json)
    });
    std::fs::write(folder.join("gitlab-requests.txt"), requests.collect::<String>())?;
    let requests = world.kube.requests().into_iter();
    let requests = requests.map(|r| format!("{} {} {} {} {}\n", r.at, r.status, r.method, r.path, r.query));
    std::fs::write(folder.join("kube-requests.txt"), requests.collect::<String>())?;
    let pods: String = world.kube.pods().iter().map(|pod| format!("{pod:#}\n")).collect();
    std::fs::write(folder.join("pods.json"), pods)
}

//! A GitLab, a cluster, a config.toml and a state directory, all of one test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fake_gitlab::{FakeGitlab, JobReport, JobSpec};
use fake_kube::FakeKube;
use tempfile::TempDir;

use crate::cluster::{self, Cluster, RealCluster, Share};
use crate::pipe::Pipe;
use crate::programs::{command, program};
use crate::report::Report;

/// Nothing in a test takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Image of jobs that name none: bash, git and what every Debian system has. To fake-kube an image is but a name.
pub const BUILD_IMAGE: &str = "localhost/build:1";

/// One test's world. When the test fails, dropping it prints what every part of it has seen.
pub struct World {
    /// The GitLab.
    pub gitlab: FakeGitlab,
    /// The cluster.
    pub kube: Cluster,
    /// Of the programs.
    log_level: &'static str,
    report: Report,
    dir: TempDir,
}

/// What a world may differ in.
pub struct WorldBuilder {
    gitlab: fake_gitlab::Builder,
    /// Changes that only fake-kube understands.
    fake: Option<fake_kube::Builder>,
    share: Share,
    /// The namespace of another world.
    beside: Option<RealCluster>,
    log_level: &'static str,
    head: String,
    runner: String,
    kubernetes: String,
}

impl World {
    /// A world with one runner for twenty jobs at once.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Changes a world before it starts.
    pub fn builder() -> WorldBuilder {
        // Long polling: a job is handed out when it is there, not at the next round.
        let gitlab = FakeGitlab::builder().trace_interval(1).long_poll(Duration::from_secs(5));
        let head = "concurrent = 20\ncheck_interval = 1\n".to_owned();
        let (runner, kubernetes) = (String::new(), String::new());
        let (share, log_level) = (Share::WithOthers, "debug");
        WorldBuilder { gitlab, fake: None, share, beside: None, log_level, head, runner, kubernetes }
    }

    /// A path in the world's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The folder of a running job.
    pub fn job_folder(&self, id: u64) -> PathBuf {
        let host = self.gitlab.url().trim_start_matches("http://").to_owned();
        self.state().join(format!("jobs/{id}@{host}"))
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// A command of the pipe with the world's settings in its environment.
    pub fn command(&self, tool: &str) -> Command {
        let mut command = command(tool);
        command
            .env("HOME", self.dir.path())
            .env("CONFIG_FILE", self.config())
            .env("RUNNER_STATE_DIR", self.state())
            .env("KUBECONFIG", self.path("kubeconfig"))
            .env("LOG_LEVEL", self.log_level);
        command
    }

    /// Starts `runner-poll | runner-exec-k8s | runner-trace`.
    pub fn pipe(&self) -> Pipe {
        Pipe::start(self, &self.report, &[], &[])
    }

    /// The same with further arguments for runner-poll.
    pub fn pipe_with(&self, poll_args: &[&str]) -> Pipe {
        Pipe::start(self, &self.report, poll_args, &[])
    }

    /// The same with further arguments for runner-exec-k8s.
    pub fn pipe_with_exec(&self, exec_args: &[&str]) -> Pipe {
        Pipe::start(self, &self.report, &[], exec_args)
    }

    /// Where this world's failures are explained.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Enqueues `job` and waits for its end.
    pub async fn run(&self, job: JobSpec) -> JobReport {
        let id = self.gitlab.enqueue(job).await.expect("the job can be enqueued");
        self.finished(id).await
    }

    /// Waits for the end of job `id`.
    pub async fn finished(&self, id: u64) -> JobReport {
        let waiting = tokio::time::timeout(PATIENCE, self.gitlab.wait_finished(id));
        waiting.await.unwrap_or_else(|_| panic!("job {id} does not end"))
    }

    /// Waits until the job's log holds `text`.
    pub async fn log_shows(&self, id: u64, text: &str) {
        let waiting = tokio::time::timeout(PATIENCE, self.gitlab.wait_trace(id, text));
        waiting.await.unwrap_or_else(|_| panic!("the log of job {id} never shows {text:?}"));
    }

    /// Waits until no pod and no Secret is left in the cluster.
    pub async fn cluster_is_empty(&self) {
        let empty = async {
            self.kube.wait_for_pods(<[_]>::is_empty).await;
            // The collector follows the pods' end; there is nothing to wait for but its work.
            while !self.kube.secrets().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, empty).await;
        assert!(waited.is_ok(), "left: {:#?} {:#?}", self.kube.pods().await, self.kube.secrets().await);
    }

    /// Drains the pipe; then nothing is left of its jobs, here and in the cluster.
    pub async fn leaves_nothing(&self, pipe: Pipe) {
        let codes = pipe.drain().await;
        assert!(codes.iter().all(|code| [0, 1].contains(code)), "the pipe ended with {codes:?}");
        assert!(is_empty(&self.state().join("jobs")), "folders of jobs are left");
        self.cluster_is_empty().await;
    }

    /// A `[[runners]]` entry for this GitLab and this cluster, with further keys for its two tables.
    pub fn runner_table(&self, name: &str, token: &str, runner: &str, kubernetes: &str) -> String {
        let (url, namespace) = (self.gitlab.url(), self.kube.namespace());
        format!(
            "[[runners]]\nname = \"{name}\"\nurl = \"{url}\"\ntoken = \"{token}\"\nexecutor = \"kubernetes\"\n{runner}\
             [runners.kubernetes]\nnamespace = \"{namespace}\"\nimage = \"{BUILD_IMAGE}\"\n{kubernetes}"
        )
    }

    /// Writes `config.toml` anew.
    pub fn write_config(&self, text: &str) {
        std::fs::write(self.config(), text).expect("the config can be written");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report.print(self.dir.path(), &self.gitlab, &self.kube);
        }
    }
}

impl WorldBuilder {
    /// Changes the GitLab.
    pub fn gitlab(mut self, change: impl FnOnce(fake_gitlab::Builder) -> fake_gitlab::Builder) -> Self {
        self.gitlab = change(self.gitlab);
        self
    }

    /// Changes the fake cluster; such a test cannot run on a real one.
    pub fn kube(mut self, change: impl FnOnce(fake_kube::Builder) -> fake_kube::Builder) -> Self {
        self.fake = Some(change(self.fake.unwrap_or_else(FakeKube::builder)));
        self
    }

    /// No other test uses the cluster meanwhile: for those that break parts of it.
    pub fn alone(mut self) -> Self {
        self.share = Share::Alone;
        self
    }

    /// Uses the namespace of another world, on a real cluster.
    pub fn beside(mut self, other: &World) -> Self {
        self.beside = Some(other.kube.real().beside());
        self
    }

    /// How much the programs tell of their work; by default all, for the report of a test that fails.
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// The keys above `[[runners]]`.
    pub fn head(mut self, toml: &str) -> Self {
        self.head = format!("{toml}\n");
        self
    }

    /// Further keys of the runner.
    pub fn runner(mut self, toml: &str) -> Self {
        self.runner = format!("{toml}\n");
        self
    }

    /// Further keys of `[runners.kubernetes]`.
    pub fn kubernetes(mut self, toml: &str) -> Self {
        self.kubernetes = format!("{toml}\n");
        self
    }

    /// Starts the servers and writes the files.
    pub async fn start(self) -> World {
        let dir = tempfile::Builder::new().prefix("pipe-").tempdir().expect("a folder for the test");
        let kube = match std::env::var_os(cluster::KUBECONFIG) {
            Some(_) if self.fake.is_some() => panic!("this test needs fake-kube"),
            Some(kubeconfig) => Cluster::Real(match self.beside {
                Some(shared) => shared,
                None => RealCluster::start(kubeconfig.into(), self.share).await,
            }),
            None => Cluster::Fake(start_fake(self.fake.unwrap_or_else(FakeKube::builder)).await),
        };
        let gitlab = self.gitlab.listen(format!("{}:0", kube.address()));
        let gitlab = gitlab.start().await.expect("fake-gitlab starts");
        kube.write_kubeconfig(&dir.path().join("kubeconfig"));
        let world = World { gitlab, kube, log_level: self.log_level, report: Report::default(), dir };
        let runner = world.runner_table("first", world.gitlab.runner_token(), &self.runner, &self.kubernetes);
        world.write_config(&(self.head + &runner));
        world
    }
}

/// Its containers find runner-helper beside the programs under test.
async fn start_fake(builder: fake_kube::Builder) -> FakeKube {
    let bin_dir = program("runner-helper").parent().expect("a program lies in a folder").to_owned();
    builder.bin_dir(bin_dir).start().await.expect("fake-kube starts")
}

/// Whether a folder has no entries, or is not there.
pub fn is_empty(dir: &Path) -> bool {
    dir.read_dir().map_or(true, |mut entries| entries.next().is_none())
}

//! Starts runner-poll as a process against a fake GitLab; everything waits for events, with a deadline.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use runner_cli::watch::Watcher;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(config: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.configure(config);
        place
    }

    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        self.state().join("jobs")
    }

    pub(crate) fn folder(&self, id: u64, url: &str) -> PathBuf {
        self.jobs().join(format!("{id}@{}", url.trim_start_matches("http://")))
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Starts runner-poll here.
    pub(crate) fn start(&self, args: &[&str]) -> Poll {
        self.spawn(Command::new(env!("CARGO_BIN_EXE_runner-poll")), args)
    }

    /// The same with a state directory that is a file system of that size, which only it sees; `None`, said aloud, on a machine
    /// that does not allow that.
    #[allow(clippy::print_stderr, reason = "who runs the tests must learn that one was skipped")]
    pub(crate) fn start_on_small_disk(&self, size: &str) -> Option<Poll> {
        std::fs::create_dir(self.state()).unwrap();
        let mount = |then: &str| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c"]);
            command.arg(format!("mount -t tmpfs -o size={size},mode=700 none \"$0\" && {then}")).arg(self.state());
            command
        };
        if !mount("true").into_std().status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no file system can be mounted here");
            return None;
        }
        let mut command = mount("exec \"$@\"");
        command.arg(env!("CARGO_BIN_EXE_runner-poll"));
        Some(self.spawn(command, &[]))
    }

    fn spawn(&self, mut command: Command, args: &[&str]) -> Poll {
        let stderr =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("stderr")).unwrap();
        command.arg("--config").arg(self.config()).arg("--state-dir").arg(self.state()).args(args);
        command.env("LOG_LEVEL", "debug,hyper_util=info,reqwest=info");
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()).lines());
        Poll { child, lines, log: self.dir.path().join("stderr"), state: self.state() }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Waits until `ready` holds; looks whenever something changes in `dir`.
    pub(crate) async fn until(&self, dir: &Path, ready: impl Fn() -> bool) {
        let watch = Watcher::new().unwrap().watch(dir).unwrap();
        let wait = async {
            while !ready() {
                watch.changed().await;
            }
        };
        within(wait, &self.dir.path().join("stderr")).await;
    }

    /// Waits until the log has `count` lines with `text`.
    pub(crate) async fn until_logged(&self, text: &str, count: usize) {
        self.until(self.dir.path(), || self.stderr().matches(text).count() >= count).await;
    }
}

pub(crate) struct Poll {
    pub(crate) child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    log: PathBuf,
    state: PathBuf,
}

impl Poll {
    /// The next line, or `None` at the end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let line = within(self.lines.as_mut().unwrap().next_line(), &self.log).await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line}")))
    }

    /// The next line, which must be of that type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let line = self.line().await;
        let line = line.unwrap_or_else(|| panic!("no {kind}; log:\n{}", std::fs::read_to_string(&self.log).unwrap()));
        assert_eq!(line["type"], kind, "{line}");
        assert_eq!(line["v"], 1);
        line
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The state directory as the process sees it.
    pub(crate) fn state(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id().unwrap()));
        root.join(self.state.strip_prefix("/").unwrap())
    }

    pub(crate) fn close_stdout(&mut self) {
        self.lines = None;
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        within(self.child.wait(), &self.log).await.unwrap()
    }

    /// The exit code, once it has ended.
    pub(crate) async fn code(&mut self) -> i32 {
        self.exit().await.code().unwrap()
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>, log: &Path) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(value) => value,
        Err(_) => {
            panic!("nothing happened within {DEADLINE:?}; log:\n{}", std::fs::read_to_string(log).unwrap_or_default())
        }
    }
}

/// A configuration with these runners, each `(name, token, further lines)`.
pub(crate) fn config(url: &str, head: &str, runners: &[(&str, &str, &str)]) -> String {
    let mut text = format!("check_interval = 1\n{head}\n");
    for (name, token, lines) in runners {
        text.push_str(&format!(
            "[[runners]]\nname = \"{name}\"\nurl = \"{url}\"\ntoken = \"{token}\"\nexecutor = \"kubernetes\"\n{lines}\n"
        ));
    }
    text
}

//! The sources, by the git command line. Source: GitLab Runner's `get_sources` contract, step by step.

mod leftovers;
mod native_clone;
mod submodules;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use runner_core::flags::parse_bool;

use self::submodules::Depth;
use super::failure::{Failure, check};
use super::files::{make, remove_file, remove_folder, write};
use super::git_config::{self, INCLUDED, LargeFiles, Remote};
use super::job::Job;
use super::local::Local;
use super::log::Log;

/// `GIT_STRATEGY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// A new checkout each time.
    Clone,
    /// What is there is brought up to date.
    Fetch,
    /// The folder as it is.
    None,
    /// A new, empty folder.
    Empty,
}

/// Git in the helper's container, for one job.
#[derive(Debug)]
pub(crate) struct Git<'a> {
    job: &'a Job,
    log: Log,
    remote: Remote,
    pub(crate) strategy: Strategy,
    /// Whether there are submodules to follow, and how far; `Err` if the setting is none of those there are.
    submodules: Result<Option<Depth>, ()>,
    /// How many commits of a submodule; 0 is all.
    submodule_depth: u64,
    checks_out: bool,
}

impl<'a> Git<'a> {
    /// Reads the settings; returns what is wrong with them too.
    pub(crate) fn new(job: &'a Job, log: Log) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let value = |key: &str| job.variables.value(key);
        let (default, default_name) =
            if job.payload.allow_git_fetch { (Strategy::Fetch, "fetch") } else { (Strategy::Clone, "clone") };
        let strategy = match value("GIT_STRATEGY").as_str() {
            "" => default,
            "clone" => Strategy::Clone,
            "fetch" => Strategy::Fetch,
            "none" => Strategy::None,
            "empty" => Strategy::Empty,
            other => {
                warnings.push(format!(
                    "GIT_STRATEGY: expected either 'clone', 'fetch', 'none' or 'empty' got \"{other}\", using default value '{default_name}'"
                ));
                default
            }
        };
        let with_sources = matches!(strategy, Strategy::Clone | Strategy::Fetch);
        let submodules = match value("GIT_SUBMODULE_STRATEGY").as_str() {
            _ if !with_sources => Ok(None),
            "" | "none" => Ok(None),
            "normal" => Ok(Some(Depth::Normal)),
            "recursive" => Ok(Some(Depth::Recursive)),
            other => {
                warnings.push(format!(
                    "GIT_SUBMODULE_STRATEGY: expected either 'none', 'normal' or 'recursive' got \"{other}\""
                ));
                Err(())
            }
        };
        let depth = job.payload.git_info.depth;
        let submodule_depth = match value("GIT_SUBMODULE_DEPTH").as_str() {
            "" => depth,
            text => text.parse().unwrap_or_else(|_| {
                warnings
                    .push(format!("GIT_SUBMODULE_DEPTH: expected int got \"{text}\", using default value: {depth}"));
                depth
            }),
        };
        match value("GIT_LFS_SKIP_SMUDGE").as_str() {
            text if text.is_empty() || parse_bool(text).is_some() => {}
            text => {
                warnings.push(format!("GIT_LFS_SKIP_SMUDGE: expected bool got \"{text}\", using default value: false"))
            }
        }
        let checks_out = match value("GIT_CHECKOUT").as_str() {
            "" => true,
            text => parse_bool(text).unwrap_or_else(|| {
                warnings.push(format!("GIT_CHECKOUT: expected bool got \"{text}\", using default value: true"));
                true
            }),
        };
        let (remote, checks_out) = (Remote::new(job), checks_out && with_sources);
        let git = Self { remote, job, log, strategy, submodules, submodule_depth, checks_out };
        (git, warnings)
    }

    /// Whether Git is wanted at all.
    pub(crate) fn has_sources(&self) -> bool {
        matches!(self.strategy, Strategy::Clone | Strategy::Fetch)
    }

    /// Writes the settings that hold for all of Git in this container, those of hooks too, which may add to them.
    pub(crate) async fn prepare(&self, local: &Local) -> Result<(), Failure> {
        let folder = self.settings_folder();
        make(&folder)?;
        let authorities = (!self.job.authorities.is_empty()).then(|| folder.join("ca.crt"));
        if let Some(file) = &authorities {
            write(file, &self.job.authorities)?;
        }
        let large = self.large_files(local).await;
        write(&self.global(), git_config::global(&self.remote, authorities, large).text())
    }

    /// What a hook's environment must hold, so that what it tells Git holds for the sources.
    pub(crate) fn hook_environment(&self) -> [(String, String); 1] {
        [("GIT_CONFIG_GLOBAL".to_owned(), self.global().display().to_string())]
    }

    /// Brings the sources.
    pub(crate) async fn sources(&self, local: &Local) -> Result<(), Failure> {
        let project = &self.job.folders.project;
        let mut large = LargeFiles::Unknown;
        match self.strategy {
            Strategy::None => {
                self.log.notice("Skipping Git repository setup");
                make(project)?;
            }
            Strategy::Empty => {
                self.log.notice("Skipping Git repository setup and creating an empty build directory");
                remove_folder(project)?;
                make(project)?;
            }
            Strategy::Clone | Strategy::Fetch => {
                self.clean_locks()?;
                if self.strategy == Strategy::Clone {
                    remove_folder(project)?;
                }
                large = self.large_files(local).await;
                self.settings()?;
                let native = self.strategy == Strategy::Clone && self.job.flags.is_on("FF_USE_GIT_NATIVE_CLONE");
                if native && self.clones_natively(local).await {
                    self.clone_natively(local).await?;
                } else {
                    self.fetch(local).await?;
                }
            }
        }
        if self.checks_out {
            self.checkout(local, large).await?;
        } else {
            self.log.notice("Skipping Git checkout");
        }
        match self.submodules {
            Ok(None) => self.log.notice("Skipping Git submodules setup"),
            Ok(Some(kind)) => self.update_submodules(local, kind, large).await?,
            Err(()) => return Err(Failure::system("unknown GIT_SUBMODULE_STRATEGY")),
        }
        Ok(())
    }

    /// Names of files that Git does not track, below the project folder, ignored ones too.
    pub(crate) async fn untracked(&self, local: &Local) -> io::Result<Vec<PathBuf>> {
        use std::os::unix::ffi::OsStrExt;
        let (end, output) = local.output(self.inside(["ls-files", "-o", "-z"])).await?;
        if end.exit_code() != 0 {
            return Err(io::Error::other(format!("git ls-files: exit code {}", end.exit_code())));
        }
        let names = output.split(|&b| b == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
    }

    /// Writes the settings of this checkout.
    fn settings(&self) -> Result<(), Failure> {
        make(&self.template_folder())?;
        remove_file(&self.included())?;
        write(&self.included(), git_config::included(self.job, &self.remote).text())?;
        let correlation = &self.job.line.runner.correlation_id;
        if self.job.flags.is_on("FF_USE_GITALY_CORRELATION_ID") && !correlation.is_empty() {
            self.log.notice(&format!("Gitaly correlation ID: {correlation}"));
        }
        write(&self.template_folder().join("config"), git_config::template(&self.included()).text())
    }

    async fn fetch(&self, local: &Local) -> Result<(), Failure> {
        let info = &self.job.payload.git_info;
        match info.depth {
            0 => self.log.notice("Fetching changes..."),
            depth => self.log.notice(&format!("Fetching changes with git depth set to {depth}...")),
        }
        let mut init = self.git();
        init.arg("init").arg(&self.job.folders.project).arg("--template").arg(self.template_folder());
        if !matches!(info.repo_object_format.as_str(), "" | "sha1") {
            init.args(["--object-format", &info.repo_object_format]);
        }
        self.run(local, init).await?;
        let added = local.output(self.inside(["remote", "add", "origin", &self.remote.url])).await;
        if added.map_err(|err| not_started(&err))?.0.exit_code() == 0 {
            self.log.notice("Created fresh repository.");
        } else {
            self.run(local, self.inside(["remote", "set-url", "origin", &self.remote.url])).await?;
            let mut include = self.inside(["config", "--replace-all", "include.path"]);
            include.arg(self.included());
            self.run(local, include).await?;
        }
        self.run(local, self.fetch_command()).await?;
        if info.depth == 0 && self.job.folders.project.join(".git/shallow").exists() {
            let mut all = self.fetch_command();
            all.arg("--unshallow");
            self.run(local, all).await?;
        }
        Ok(())
    }

    fn fetch_command(&self) -> Command {
        let info = &self.job.payload.git_info;
        let mut fetch = self.inside([]);
        self.add_transport(&mut fetch);
        fetch.args(["fetch", "origin", "--no-recurse-submodules"]).args(&info.refspecs);
        if info.depth > 0 {
            fetch.arg("--depth").arg(info.depth.to_string());
        }
        fetch.args(self.words("GIT_FETCH_EXTRA_FLAGS", "--prune --quiet"));
        fetch
    }

    /// Adds how the server is to be talked to; comes before the command's name.
    fn add_transport(&self, command: &mut Command) {
        let agent = format!("http.userAgent=gitlab-runner {} linux/{}", runner_core::COMPATIBLE_VERSION, arch());
        command.arg("-c").arg(agent);
        if let (true, Some(host)) = (self.job.flags.is_on("FF_USE_GIT_PROACTIVE_AUTH"), &self.remote.host) {
            command.arg("-c").arg(format!("http.{host}.proactiveAuth=basic"));
        }
    }

    async fn checkout(&self, local: &Local, large: LargeFiles) -> Result<(), Failure> {
        let info = &self.job.payload.git_info;
        let short: String = info.sha.chars().take(8).collect();
        self.log.notice(&format!("Checking out {short} as detached HEAD (ref is {})...", info.git_ref));
        self.run(local, self.inside(["-c", "submodule.recurse=false", "checkout", "-f", "-q", &info.sha])).await?;
        let flags = self.words("GIT_CLEAN_FLAGS", "-ffdx");
        if !flags.is_empty() {
            let mut clean = self.inside(["clean"]);
            clean.args(flags);
            self.run(local, clean).await?;
        }
        if self.pulls(large) {
            self.run(local, self.inside(["lfs", "pull"])).await?;
            self.log.work(b"\n");
        }
        Ok(())
    }

    fn pulls(&self, large: LargeFiles) -> bool {
        let skipped = parse_bool(&self.job.variables.value("GIT_LFS_SKIP_SMUDGE")).unwrap_or(false);
        large == LargeFiles::Supported && !skipped
    }

    async fn large_files(&self, local: &Local) -> LargeFiles {
        let mut command = self.git();
        command.args(["lfs", "version"]);
        match local.output(command).await {
            Ok((end, _)) if end.exit_code() == 0 => LargeFiles::Supported,
            _ => LargeFiles::Unknown, // a Git without the extension is no error
        }
    }

    async fn run(&self, local: &Local, command: Command) -> Result<(), Failure> {
        check(local.run(command).await.map_err(|err| not_started(&err))?)
    }

    /// Git with the job's variables.
    fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.envs(self.environment());
        command
    }

    /// Git in the project folder.
    fn inside<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.git();
        command.arg("-C").arg(&self.job.folders.project).args(args);
        command
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let mut env = self.job.environment();
        // A job's PATH is meant for its own image.
        env.remove("PATH");
        env.extend([
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("GCM_INTERACTIVE".to_owned(), "Never".to_owned()),
            ("GIT_LFS_SKIP_SMUDGE".to_owned(), "1".to_owned()),
        ]);
        env.extend(self.hook_environment());
        env
    }

    /// The words of a setting: split at blanks, nothing else; `none` is no words.
    fn words(&self, key: &str, default: &str) -> Vec<String> {
        let value = self.job.variables.value(key);
        let text = if value.is_empty() { default } else { &value };
        if text == "none" {
            return Vec::new();
        }
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn settings_folder(&self) -> PathBuf {
        self.job.folders.private.join("git")
    }

    /// The settings file that stands for a user's own, which it includes.
    fn global(&self) -> PathBuf {
        self.settings_folder().join("config")
    }

    fn template_folder(&self) -> PathBuf {
        self.job.folders.temp.join("git-template")
    }

    fn included(&self) -> PathBuf {
        self.job.folders.temp.join(INCLUDED)
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn not_started(err: &io::Error) -> Failure {
    Failure::system(format!("start `git`: {err}"))
}

//! The sources, by the git command line. Source: GitLab Runner's `get_sources` contract, step by step.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use runner_core::flags::parse_bool;

use super::failure::{Failure, check};
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

/// `GIT_SUBMODULE_STRATEGY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Submodules {
    None,
    Normal,
    Recursive,
}

/// Git in the helper's container, for one job.
#[derive(Debug)]
pub(crate) struct Git<'a> {
    job: &'a Job,
    log: Log,
    remote: Remote,
    pub(crate) strategy: Strategy,
    submodules: Result<Submodules, ()>,
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
            _ if !with_sources => Ok(Submodules::None),
            "" | "none" => Ok(Submodules::None),
            "normal" => Ok(Submodules::Normal),
            "recursive" => Ok(Submodules::Recursive),
            other => {
                warnings.push(format!(
                    "GIT_SUBMODULE_STRATEGY: expected either 'none', 'normal' or 'recursive' got \"{other}\""
                ));
                Err(())
            }
        };
        let checks_out = match value("GIT_CHECKOUT").as_str() {
            "" => true,
            text => parse_bool(text).unwrap_or_else(|| {
                warnings.push(format!("GIT_CHECKOUT: expected bool got \"{text}\", using default value: true"));
                true
            }),
        };
        let git =
            Self { remote: Remote::new(job), job, log, strategy, submodules, checks_out: checks_out && with_sources };
        (git, warnings)
    }

    /// Whether Git is wanted at all.
    pub(crate) fn has_sources(&self) -> bool {
        matches!(self.strategy, Strategy::Clone | Strategy::Fetch)
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
                self.settings(large)?;
                self.fetch(local).await?;
            }
        }
        if self.checks_out {
            self.checkout(local, large).await?;
        } else {
            self.log.notice("Skipping Git checkout");
        }
        match self.submodules {
            Ok(Submodules::None) => self.log.notice("Skipping Git submodules setup"),
            Ok(kind) => self.update_submodules(local, kind == Submodules::Recursive, large).await?,
            Err(()) => return Err(Failure::system("unknown GIT_SUBMODULE_STRATEGY")),
        }
        Ok(())
    }

    /// Deletes all files of the checkout but keeps `.git`, for another try.
    pub(crate) async fn clear(&self, local: &Local) -> Result<(), Failure> {
        self.log.notice("Deleting tracked and untracked files...");
        if !self.job.folders.project.is_dir() {
            return Ok(());
        }
        self.run(local, self.inside(["rm", "-rf", "--ignore-unmatch", "--quiet", "."])).await?;
        self.run(local, self.inside(["clean", "-ffdx", "-q"])).await
    }

    /// Removes what an earlier job may have left behind: locks of a killed Git, and settings and hooks someone could have planted.
    pub(crate) fn clean_locks(&self) -> Result<(), Failure> {
        const LOCKS: &[&str] = &["index.lock", "shallow.lock", "HEAD.lock", "hooks/post-checkout", "config.lock"];
        let git = self.job.folders.project.join(".git");
        for name in LOCKS {
            remove_file(&git.join(name))?;
        }
        let below = |folder: PathBuf| walkdir::WalkDir::new(folder).into_iter().flatten();
        for entry in below(git.join("refs")).filter(|e| e.path().extension() == Some(OsStr::new("lock"))) {
            remove_file(entry.path())?;
        }
        let cleans = self.job.config.clean_git_config.unwrap_or(true) && self.strategy != Strategy::None;
        if self.submodules != Ok(Submodules::None) {
            for entry in below(git.join("modules")) {
                let path = entry.path();
                let is_lock = LOCKS.iter().any(|lock| path.ends_with(lock));
                let is_planted = cleans && entry.file_type().is_file() && path.ends_with("config");
                let is_hook = cleans && path.parent().is_some_and(|p| p.ends_with("hooks"));
                if is_lock || is_planted || (is_hook && !entry.file_type().is_dir()) {
                    remove_file(path)?;
                }
            }
        }
        if cleans {
            for folder in [self.template_folder(), git] {
                remove_file(&folder.join("config"))?;
                remove_folder(&folder.join("hooks"))?;
            }
        }
        Ok(())
    }

    /// Removes the credentials.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        remove_file(&self.included())
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

    /// Writes the settings files.
    fn settings(&self, large: LargeFiles) -> Result<(), Failure> {
        let home = self.home();
        let authorities = (!self.job.authorities.is_empty()).then(|| home.join("ca.crt"));
        make(&home)?;
        make(&self.template_folder())?;
        if let Some(file) = &authorities {
            write(file, &self.job.authorities)?;
        }
        write(&home.join("config"), git_config::global(&self.remote, authorities, large).text())?;
        let included = git_config::included(self.job, &self.remote);
        remove_file(&self.included())?;
        write(&self.included(), included.text())?;
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
        let mut fetch = self.git();
        let project = &self.job.folders.project;
        let agent = format!("http.userAgent=gitlab-runner {} linux/{}", runner_core::COMPATIBLE_VERSION, arch());
        fetch.arg("-C").arg(project).arg("-c").arg(agent);
        if let (true, Some(host)) = (self.job.flags.is_on("FF_USE_GIT_PROACTIVE_AUTH"), &self.remote.host) {
            fetch.arg("-c").arg(format!("http.{host}.proactiveAuth=basic"));
        }
        fetch.args(["fetch", "origin", "--no-recurse-submodules"]).args(&info.refspecs);
        if info.depth > 0 {
            fetch.arg("--depth").arg(info.depth.to_string());
        }
        fetch.args(self.words("GIT_FETCH_EXTRA_FLAGS", "--prune --quiet"));
        fetch
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

    async fn update_submodules(&self, local: &Local, recursive: bool, large: LargeFiles) -> Result<(), Failure> {
        let depth = match self.job.variables.value("GIT_SUBMODULE_DEPTH").as_str() {
            "" => self.job.payload.git_info.depth,
            text => text.parse().unwrap_or(self.job.payload.git_info.depth),
        };
        let how = if recursive { " recursively" } else { "" };
        let deep = if depth > 0 { format!(" with git depth set to {depth}") } else { String::new() };
        self.log.notice(&format!("Updating/initializing submodules{how}{deep}..."));
        let paths = self.words("GIT_SUBMODULE_PATHS", "");
        if paths.iter().any(|path| path == ":(exclude)") {
            return Err(Failure::system("GIT_SUBMODULE_PATHS: invalid submodule pathspec \":(exclude)\""));
        }
        let recurse: &[&str] = if recursive { &["--recursive"] } else { &[] };
        let clean_flags = Some(self.words("GIT_CLEAN_FLAGS", "-ffdx")).filter(|flags| !flags.is_empty());
        let clean = format!("git clean {}", clean_flags.map_or("-ffdx".to_owned(), |flags| flags.join(" ")));
        let sync = || {
            let mut sync = self.inside(["submodule", "sync"]);
            sync.args(recurse);
            with_paths(sync, &paths)
        };
        let each = |command: &str| {
            let mut each = self.inside(["submodule", "foreach"]);
            each.args(recurse).arg(command);
            each
        };
        let flags = self.words("GIT_SUBMODULE_UPDATE_FLAGS", "");
        let update = || {
            let mut update = self.inside(["-c", &format!("include.path={}", self.included().display())]);
            update.args(["submodule", "update", "--init"]).args(recurse);
            if depth > 0 {
                update.arg("--depth").arg(depth.to_string());
            }
            update.args(&flags);
            with_paths(update, &paths)
        };
        self.run(local, self.inside(["submodule", "init"])).await?;
        self.run(local, sync()).await?;
        self.run(local, each(&clean)).await?;
        self.run(local, each("git reset --hard")).await?;
        if self.run(local, update()).await.is_ok() {
            self.log.notice("Updated submodules");
            self.run(local, sync()).await?;
        } else {
            self.log.caution("Updating submodules failed. Retrying...");
            if flags.iter().any(|flag| flag == "--remote") {
                let fetch = "git fetch origin +refs/heads/*:refs/remotes/origin/*";
                let mut all = self.inside(["-c", &format!("include.path={}", self.included().display())]);
                all.args(["submodule", "foreach"]).args(recurse).arg(fetch);
                self.run(local, all).await?;
            }
            self.run(local, sync()).await?;
            self.run(local, update()).await?;
            self.run(local, each("git reset --hard")).await?;
        }
        self.run(local, each(&clean)).await?;
        self.log.notice("Configuring submodules to use parent git credentials...");
        let include = runner_core::shell::quote(&self.included().display().to_string());
        let configure = format!("git config --replace-all include.path {include}");
        self.run(local, self.inside(["submodule", "foreach", "--recursive", &configure])).await?;
        if self.pulls(large) {
            self.log.notice("Pulling LFS files...");
            self.run(local, each("git lfs pull")).await?;
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

    /// Git with the job's variables and none of the machine's settings.
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
        let home = self.home();
        let home = |name: &str| home.join(name).display().to_string();
        env.extend([
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("GCM_INTERACTIVE".to_owned(), "Never".to_owned()),
            ("GIT_LFS_SKIP_SMUDGE".to_owned(), "1".to_owned()),
            ("HOME".to_owned(), home("")),
            ("XDG_CONFIG_HOME".to_owned(), home("xdg")),
            ("GIT_CONFIG_GLOBAL".to_owned(), home("config")),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
        ]);
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

    fn home(&self) -> PathBuf {
        self.job.folders.private.join("git")
    }

    fn template_folder(&self) -> PathBuf {
        self.job.folders.temp.join("git-template")
    }

    fn included(&self) -> PathBuf {
        self.job.folders.temp.join(INCLUDED)
    }
}

fn with_paths(mut command: Command, paths: &[String]) -> Command {
    if !paths.is_empty() {
        command.arg("--").args(paths);
    }
    command
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

/// Makes a folder and those above it.
pub(crate) fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|err| Failure::system(format!("create `{}`: {err}", folder.display())))
}

/// Writes a whole file.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|err| Failure::system(format!("write `{}`: {err}", file.display())))
}

/// Deletes a file if it is there.
pub(crate) fn remove_file(file: &Path) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(err) if !matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Failure::system(format!("delete `{}`: {err}", file.display())))
        }
        _ => Ok(()),
    }
}

/// Deletes a folder with all that is in it, also where a script has taken away the right to.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Failure> {
    if !folder.is_dir() {
        return Ok(());
    }
    if fs::remove_dir_all(folder).is_ok() {
        return Ok(());
    }
    open_up(folder);
    fs::remove_dir_all(folder).map_err(|err| Failure::system(format!("delete `{}`: {err}", folder.display())))
}

/// Gives the right to delete what is in `folder` back; what fails here the deletion will tell.
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

//! What jobs leave in a checkout: locks, planted settings, changed files, credentials.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::{Git, Strategy};
use crate::drive::failure::Failure;
use crate::drive::files::{remove_file, remove_folder};
use crate::drive::git_config::USER;
use crate::drive::local::Local;

/// Files, below `.git`, that stop the next Git.
const LOCKS: &[&str] = &["index.lock", "shallow.lock", "HEAD.lock", "hooks/post-checkout", "config.lock"];

impl Git<'_> {
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
        let git = self.job.folders.project.join(".git");
        for name in LOCKS {
            remove_file(&git.join(name))?;
        }
        let below = |folder: PathBuf| walkdir::WalkDir::new(folder).into_iter().flatten();
        for entry in below(git.join("refs")).filter(|e| e.path().extension() == Some(OsStr::new("lock"))) {
            remove_file(entry.path())?;
        }
        let cleans = self.job.config.clean_git_config.unwrap_or(true) && self.strategy != Strategy::None;
        if self.submodules != Ok(None) {
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

    /// Leaves no sources behind (`FF_ENABLE_JOB_CLEANUP`).
    pub(crate) async fn clean_up(&self, local: &Local) -> Result<(), Failure> {
        let project = &self.job.folders.project;
        match self.strategy {
            Strategy::Clone | Strategy::Empty => remove_folder(project),
            Strategy::Fetch if project.join(".git").exists() => {
                let flags = self.words("GIT_CLEAN_FLAGS", "-ffdx");
                if !flags.is_empty() {
                    let mut clean = self.inside(["clean"]);
                    clean.args(flags);
                    self.run(local, clean).await?;
                }
                self.run(local, self.inside(["reset", "--hard"])).await?;
                match self.submodules {
                    Ok(Some(kind)) => self.reset_submodules(local, kind).await,
                    Ok(None) | Err(()) => Ok(()),
                }
            }
            Strategy::Fetch => Ok(()),
            Strategy::None => {
                self.log.notice("Skipping build directory cleanup step");
                Ok(())
            }
        }
    }

    /// Removes the credentials from the checkout.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        remove_file(&self.included())
    }

    /// Tells the credential helpers that somebody has set up to forget the job's token. None set up is no error.
    pub(crate) async fn reject_credentials(&self, local: &Local) {
        let Some(root) = &self.remote.root else { return };
        let mut command = self.git();
        command.args(["credential", "reject"]);
        let _ = local.feed(command, &format!("url={root}\nusername={USER}\n\n")).await;
    }
}

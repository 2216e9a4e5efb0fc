//! The submodules of a checkout.

use std::process::Command;

use runner_core::shell::quote;

use super::Git;
use crate::drive::failure::Failure;
use crate::drive::git_config::LargeFiles;
use crate::drive::local::Local;

/// How far submodules are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Those of the checkout.
    Normal,
    /// And theirs.
    Recursive,
}

impl Git<'_> {
    /// Brings the submodules to what the checkout says.
    pub(super) async fn update_submodules(&self, local: &Local, kind: Depth, large: LargeFiles) -> Result<(), Failure> {
        let depth = self.submodule_depth;
        let how = if kind == Depth::Recursive { " recursively" } else { "" };
        let deep = if depth > 0 { format!(" with git depth set to {depth}") } else { String::new() };
        self.log.notice(&format!("Updating/initializing submodules{how}{deep}..."));
        let paths = self.words("GIT_SUBMODULE_PATHS", "");
        if paths.iter().any(|path| path == ":(exclude)") {
            return Err(Failure::system("GIT_SUBMODULE_PATHS: invalid submodule pathspec \":(exclude)\""));
        }
        let recurse: &[&str] = if kind == Depth::Recursive { &["--recursive"] } else { &[] };
        let sync = || {
            let mut sync = self.inside(["submodule", "sync"]);
            sync.args(recurse);
            with_paths(sync, &paths)
        };
        let flags = self.words("GIT_SUBMODULE_UPDATE_FLAGS", "");
        let update = || {
            let mut update = self.with_credentials();
            update.args(["submodule", "update", "--init"]).args(recurse);
            if depth > 0 {
                update.arg("--depth").arg(depth.to_string());
            }
            update.args(&flags);
            with_paths(update, &paths)
        };
        self.run(local, self.inside(["submodule", "init"])).await?;
        self.run(local, sync()).await?;
        self.reset_submodules(local, kind).await?;
        if self.run(local, update()).await.is_ok() {
            self.log.notice("Updated submodules");
            self.run(local, sync()).await?;
        } else {
            self.log.caution("Updating submodules failed. Retrying...");
            if flags.iter().any(|flag| flag == "--remote") {
                let mut all = self.with_credentials();
                all.args(["submodule", "foreach"]).args(recurse);
                all.arg("git fetch origin +refs/heads/*:refs/remotes/origin/*");
                self.run(local, all).await?;
            }
            self.run(local, sync()).await?;
            self.run(local, update()).await?;
            self.run(local, self.each(kind, "git reset --hard")).await?;
        }
        self.run(local, self.each(kind, &self.clean_command())).await?;
        self.log.notice("Configuring submodules to use parent git credentials...");
        let included = quote(&self.included().display().to_string());
        let configure = format!("git config --replace-all include.path {included}");
        self.run(local, self.each(Depth::Recursive, &configure)).await?;
        if self.pulls(large) {
            self.log.notice("Pulling LFS files...");
            self.run(local, self.each(kind, "git lfs pull")).await?;
        }
        Ok(())
    }

    /// Undoes what a job has changed in the submodules.
    pub(super) async fn reset_submodules(&self, local: &Local, kind: Depth) -> Result<(), Failure> {
        self.run(local, self.each(kind, &self.clean_command())).await?;
        self.run(local, self.each(kind, "git reset --hard")).await
    }

    fn clean_command(&self) -> String {
        let flags = self.words("GIT_CLEAN_FLAGS", "-ffdx");
        let flags = if flags.is_empty() { vec!["-ffdx".to_owned()] } else { flags };
        // A shell reads it, and what the job says is no command here.
        let flags: Vec<String> = flags.iter().map(|flag| quote(flag)).collect();
        format!("git clean {}", flags.join(" "))
    }

    /// Runs a shell command in each submodule.
    fn each(&self, kind: Depth, command: &str) -> Command {
        let mut each = self.inside(["submodule", "foreach"]);
        if kind == Depth::Recursive {
            each.arg("--recursive");
        }
        each.arg(command);
        each
    }

    /// Git in the project folder, for commands that work in submodules too: they do not read the project's settings.
    fn with_credentials(&self) -> Command {
        self.inside(["-c", &format!("include.path={}", self.included().display())])
    }
}

fn with_paths(mut command: Command, paths: &[String]) -> Command {
    if !paths.is_empty() {
        command.arg("--").args(paths);
    }
    command
}

//! The text of a stage's shell script: made of the user's commands, quoted so that bash, dash and busybox sh read it alike.
//!
//! There is no subshell, no `eval` and no trap around the commands, so a killed shell has nothing to print about them. Source: GitLab
//! Runner's script contract: errexit, pipefail where the shell has it, stdin at end of file, each command shown before it runs.

use std::collections::BTreeMap;

use runner_core::shell::quote;
use runner_core::text::{BOLD_GREEN, CLEAR, RESET};

use super::job::Job;

/// Shells in the order in which they are tried.
const BASH: &[&str] = &["/usr/local/bin/bash", "/usr/bin/bash", "/bin/bash"];
const SH: &[&str] = &["/usr/local/bin/sh", "/usr/bin/sh", "/bin/sh", "/busybox/sh"];

/// Longest variable that goes through the environment: the kernel takes 128 KiB for one.
const LONGEST_IN_ENVIRONMENT: usize = 64 * 1024;
/// Most of all variables: the kernel takes a quarter of the stack, 2 MiB as a rule.
const MOST_IN_ENVIRONMENT: usize = 1024 * 1024;

/// Variables that change how a shell starts. They are the job's, not our shell's, so the script exports them.
const FOR_LATER_SHELLS: &[&str] = &["BASH_ENV", "ENV", "IFS", "POSIXLY_CORRECT"];
/// Variables that a shell keeps for itself and that no script may export.
const OF_THE_SHELL: &[&str] = &["BASHOPTS", "SHELLOPTS"];

/// Shells to try, the best first, where the runner's `shell` is `configured`.
pub(crate) fn shells(configured: Option<&str>) -> Vec<std::path::PathBuf> {
    let bash = if configured == Some("sh") { &[] } else { BASH };
    bash.iter().chain(SH).map(Into::into).collect()
}

/// A script under construction.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    job: &'a Job,
    text: String,
    /// Variables that go through the environment.
    env: Vec<(String, String)>,
}

impl<'a> Script<'a> {
    /// A script that runs in the project folder (`Place::Project`) or where the shell starts, with these variables.
    pub(crate) fn new(job: &'a Job, variables: BTreeMap<String, String>, place: Place) -> Self {
        let mut text =
            "case \"$(set -o)\" in *pipefail*) set -o pipefail ;; esac; set -o errexit; set +o noclobber\n".to_owned();
        let mut env = Vec::with_capacity(variables.len());
        let mut size = 0;
        for (key, value) in variables {
            if OF_THE_SHELL.contains(&key.as_str()) {
                continue;
            }
            size += key.len() + value.len();
            let fits = value.len() <= LONGEST_IN_ENVIRONMENT && size <= MOST_IN_ENVIRONMENT;
            if fits && !FOR_LATER_SHELLS.contains(&key.as_str()) {
                env.push((key, value));
            } else {
                text.push_str(&format!("export {key}={}\n", quote(&value)));
            }
        }
        if job.settings.traces {
            text.push_str("set -o xtrace\n");
        }
        if place == Place::Project {
            text.push_str(&format!("cd {}\n", quote(&job.folders.project.display().to_string())));
        }
        Self { job, text, env }
    }

    /// Adds a green line to the output.
    pub(crate) fn notice(&mut self, message: &str) {
        self.print(&format!("{BOLD_GREEN}{message}{RESET}"));
    }

    /// Adds commands. `prefix` names their sections where long commands are folded.
    pub(crate) fn commands<'c>(&mut self, prefix: &str, commands: impl IntoIterator<Item = &'c str>) {
        let folds = self.job.flags.is_on("FF_SCRIPT_SECTIONS") && self.job.payload.features.trace_sections;
        for (i, command) in commands.into_iter().enumerate() {
            let command = command.trim();
            match command.split_once('\n') {
                None if command.is_empty() => self.text.push_str("printf '\\n'\n"),
                None => self.notice(&format!("$ {command}")),
                Some(_) if folds => self.fold(&format!("section_{prefix}_{i}"), command),
                Some((first, _)) => self.notice(&format!("$ {first} # collapsed multi-line command")),
            }
            self.text.push_str(command);
            self.text.push('\n');
            if self.job.flags.is_on("FF_ENABLE_BASH_EXIT_CODE_CHECK") {
                self.text.push_str(
                    "_runner_exit_code=$?; if [ $_runner_exit_code -ne 0 ]; then exit $_runner_exit_code; fi\n",
                );
            }
        }
    }

    /// The script's text and what its environment must hold.
    pub(crate) fn finish(self) -> (String, Vec<(String, String)>) {
        // A NUL can be in no script; bash would leave it out too.
        (self.text.replace('\0', ""), self.env)
    }

    fn print(&mut self, line: &str) {
        self.text.push_str(&format!("printf '%s\\n' {}\n", quote(line)));
    }

    /// A section that holds the whole command and ends before the command's output.
    fn fold(&mut self, name: &str, command: &str) {
        let format = format!(
            "section_start:%s:{name}[hide_duration=true,collapsed=true]\\r{CLEAR}%s\\nsection_end:%s:{name}\\r{CLEAR}\\n"
        );
        let shown = quote(&format!("{BOLD_GREEN}$ {command}{RESET}"));
        self.text.push_str(&format!("printf '{format}' \"$(date +%s)\" {shown} \"$(date +%s)\"\n"));
    }
}

/// Where a script starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the job's checkout.
    Project,
    /// Where the container starts: the checkout does not exist yet.
    Anywhere,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j408_shells_are_tried_bash_first_unless_the_runner_says_sh() {
        let names = |shell: Option<&str>| -> Vec<String> {
            shells(shell).iter().map(|shell| shell.display().to_string()).collect()
        };
        let sh = ["/usr/local/bin/sh", "/usr/bin/sh", "/bin/sh", "/busybox/sh"];
        assert_eq!(names(Some("sh")), sh);
        for bash in [None, Some("bash")] {
            let expected = ["/usr/local/bin/bash", "/usr/bin/bash", "/bin/bash"].into_iter().chain(sh);
            assert!(names(bash).iter().eq(expected.collect::<Vec<_>>().iter()), "{bash:?}");
        }
    }
}

//! Runs runner-register as a process, with no environment but what a test gives it.

#![allow(clippy::unwrap_used, dead_code, reason = "a test fails by panicking; each file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The one line `runner-register: what: why`.
    pub(crate) fn error(&self) -> &str {
        let lines: Vec<_> = self.stderr.lines().filter_map(|line| line.strip_prefix("runner-register: ")).collect();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines[0]
    }
}

/// Runs it with `args` and `env`, `config` being the configuration.
pub(crate) fn run(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner-register"));
    command.env_clear().envs(env.iter().copied()).env("CONFIG_FILE", config).args(args).stdin(Stdio::null());
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: out.status.code().unwrap(), stdout: text(out.stdout), stderr: text(out.stderr) }
}

/// The same away from the test's runtime, so that its fake GitLab can answer.
pub(crate) async fn run_async(config: PathBuf, args: Vec<String>, env: Vec<(&'static str, String)>) -> Ran {
    let run = move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run(&config, &args, &env)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

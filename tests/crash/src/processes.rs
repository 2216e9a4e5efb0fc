//! Programs and processes of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, bail};
use memchr::memmem;
use rustix::process::Signal;

/// Path of a program of this workspace, built beside this one.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("our own path")?;
    let path = own.with_file_name(name);
    if !path.is_file() {
        bail!("{} is missing: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// A command for `name` with nothing of our environment but `PATH`.
pub(crate) fn command(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(program(name)?);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Ok(command)
}

/// The exit code, 128 + n where signal n ended it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1)
}

/// Command line and environment of a process, as other users of the machine could see the first; empty if it is gone.
pub(crate) fn visible(pid: u32) -> Vec<u8> {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    [read("cmdline"), read("environ")].concat()
}

/// Whether a process has a handler for `signal`.
pub(crate) fn catches(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    caught >> (signal.as_raw() - 1) & 1 == 1
}

/// The processes whose command line or environment names `path`, as `pid: command line`.
pub(crate) fn naming(path: &Path) -> Vec<String> {
    let needle = path.as_os_str().as_encoded_bytes();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.filter(|&pid| pid != std::process::id() && memmem::find(&visible(pid), needle).is_some());
    found
        .map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("{pid}: {}", String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}

//! Starts a shell that reads its script from memory: the script is in no argument and in no file another process could read.

use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, MemfdFlags};
use rustix::io::{DupFlags, FdFlags};

use crate::process::{Child, Reaper};
use crate::wire::Run;

/// Starts shells, one at a time.
#[derive(Debug)]
pub(crate) struct Shell {
    /// The descriptor a shell opens its script through. Below 10, because `dash` can close only such.
    script: OwnedFd,
    /// Folder for the links by whose names the shells know their scripts.
    links: PathBuf,
}

impl Shell {
    /// To be made before anything else opens descriptors.
    pub(crate) fn new(links: &Path) -> io::Result<Self> {
        Ok(Self { script: File::open("/dev/null")?.into(), links: links.to_owned() })
    }

    /// Starts `run` with stdin at end of file, stdout and stderr both to `output`.
    pub(crate) fn start(&mut self, reaper: &Reaper, run: Run, output: &PipeWriter) -> io::Result<Child> {
        let executable = |shell: &&PathBuf| rustix::fs::access(*shell, Access::EXEC_OK).is_ok();
        let shell = run.shells.iter().find(executable).ok_or_else(|| no_shell(&run.shells))?;
        let mut text = File::from(memory(&run.name)?);
        let fd = self.script.as_raw_fd();
        // The shell has opened the script by itself; what it starts need not have it.
        write!(text, "exec {fd}<&-; ")?;
        text.write_all(run.script.as_bytes())?;
        let link = self.links.join(&run.name);
        let _ = std::fs::remove_file(&link); // of an earlier run
        std::os::unix::fs::symlink(format!("/proc/self/fd/{fd}"), &link)?;
        let mut command = Command::new(shell);
        command.arg(&link).envs(run.env).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        rustix::io::dup3(&text, &mut self.script, DupFlags::empty())?;
        let child = reaper.spawn(&mut command);
        rustix::io::fcntl_setfd(&self.script, FdFlags::CLOEXEC)?;
        child
    }
}

fn no_shell(tried: &[PathBuf]) -> io::Error {
    let tried: Vec<_> = tried.iter().map(|path| path.to_string_lossy()).collect();
    io::Error::other(format!("shell not found: the image has none of {}", tried.join(", ")))
}

/// A file in memory. Old kernels do not know that it may be marked as never executable.
fn memory(name: &str) -> io::Result<OwnedFd> {
    let made = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL);
    Ok(match made {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?,
        made => made?,
    })
}

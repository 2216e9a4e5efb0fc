//! Programs and scripts that run in the helper's own container; what they print goes to the log.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::log::Log;
use crate::process::{Child, Reaper};
use crate::shell::Shell;
use crate::wire::{CHUNK, End, Run};

/// Runs programs, one at a time. A run that is dropped is killed.
#[derive(Debug)]
pub(crate) struct Local {
    reaper: Reaper,
    shell: Shell,
    log: Log,
}

impl Local {
    /// Programs that print into `log`.
    pub(crate) fn new(reaper: Reaper, shell: Shell, log: Log) -> Self {
        Self { reaper, shell, log }
    }

    /// Runs a program with stdin at end of file; its stdout and stderr go to the log.
    pub(crate) async fn run(&self, mut command: Command) -> io::Result<End> {
        let (read, write) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
        let child = self.reaper.spawn(&mut command)?;
        drop(command); // and with it our ends of the pipe
        follow(child, read, |bytes| self.log.work(bytes)).await
    }

    /// Runs a program and keeps its stdout; its stderr is dropped.
    pub(crate) async fn output(&self, mut command: Command) -> io::Result<(End, Vec<u8>)> {
        let (read, write) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(write).stderr(Stdio::null());
        let child = self.reaper.spawn(&mut command)?;
        drop(command);
        let mut output = Vec::new();
        let end = follow(child, read, |bytes| output.extend_from_slice(bytes)).await?;
        Ok((end, output))
    }

    /// Runs a program that reads `input`, a few lines; what it says is dropped.
    pub(crate) async fn feed(&self, mut command: Command, input: &str) -> io::Result<End> {
        let (read, mut write) = io::pipe()?;
        write.write_all(input.as_bytes())?; // a pipe holds much more than a few lines
        drop(write);
        command.stdin(read).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = self.reaper.spawn(&mut command)?;
        Ok(child.wait().await)
    }

    /// Runs a script in the helper's shell.
    pub(crate) async fn script(&mut self, run: Run) -> io::Result<End> {
        let (read, write) = io::pipe()?;
        let child = self.shell.start(&self.reaper, run, &write)?;
        drop(write);
        follow(child, read, |bytes| self.log.work(bytes)).await
    }
}

/// Reads what `child` prints until it has ended; what others still hold the pipe for is not waited for.
async fn follow(mut child: Child, read: io::PipeReader, mut take: impl FnMut(&[u8])) -> io::Result<End> {
    let mut output = pipe::Receiver::from_owned_fd(read.into())?;
    let mut buffer = vec![0; CHUNK];
    let mut open = true;
    let end = loop {
        tokio::select! {
            end = child.wait() => break end,
            n = output.read(&mut buffer), if open => {
                let n = n?;
                open = n > 0;
                take(&buffer[..n]);
            }
        }
    };
    let mut left = usize::try_from(rustix::io::ioctl_fionread(output.as_fd())?).unwrap_or(usize::MAX);
    while left > 0 {
        let most = buffer.len().min(left);
        let n = output.read(&mut buffer[..most]).await?;
        take(&buffer[..n]);
        left = if n == 0 { 0 } else { left - n };
    }
    Ok(end)
}

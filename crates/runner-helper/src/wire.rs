//! The messages between `drive` and `serve` on their Unix socket.
//!
//! One message is a length (4 bytes, big endian, of what follows), one byte that says which, and a body:
//!
//! | byte | from  | body                     | meaning                                                              |
//! | ---- | ----- | ------------------------ | -------------------------------------------------------------------- |
//! | `r`  | drive | JSON of [`Run`]          | run this script; one at a time                                       |
//! | `k`  | drive | JSON of [`Stop`]         | end everything that runs; answered by `s`                            |
//! | `b`  | drive | empty                    | the job is over: end everything that runs, then exit                 |
//! | `o`  | serve | at most 64 KiB           | output, of the script or of what it left running                     |
//! | `x`  | serve | JSON of [`End`]          | the script's shell has ended; its output went before                 |
//! | `m`  | serve | empty                    | the kernel has killed something of it for want of memory             |
//! | `f`  | serve | text                     | the script could not be started                                      |
//! | `s`  | serve | empty                    | nothing runs any more                                                |
//!
//! Both ends read all the time, and neither keeps more than one message: a slow reader slows the script down.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Name of the socket in the shared folder.
pub(crate) const SOCKET: &str = "serve.sock";

/// Name of the program in the shared folder.
pub(crate) const PROGRAM: &str = "runner-helper";

/// Most output in one message.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Longest message that is accepted. A script with its environment reaches megabytes.
const MAX: usize = 64 * 1024 * 1024;

/// A script to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Name under which the shell knows the script, e.g. `step_script`; shown in the shell's own messages.
    pub(crate) name: String,
    /// Shells to try, first executable wins.
    pub(crate) shells: Vec<PathBuf>,
    /// The script's text.
    pub(crate) script: String,
    /// Environment on top of the container's own.
    pub(crate) env: Vec<(String, String)>,
}

/// An order to end what runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// Milliseconds between TERM and KILL.
    grace_ms: u64,
}

impl Stop {
    /// Time between TERM and KILL.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// The exit code as a shell would give it: 128 and the signal.
    pub(crate) fn exit_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// What drive says.
#[derive(Debug)]
pub(crate) enum Order {
    /// Run a script.
    Run(Box<Run>),
    /// End what runs.
    Stop(Stop),
    /// The job is over.
    Bye,
}

impl Order {
    /// An order to end what runs, with `grace` between TERM and KILL.
    pub(crate) fn stop(grace: Duration) -> Self {
        Self::Stop(Stop { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) })
    }

    /// Writes the message.
    pub(crate) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        match self {
            Self::Run(run) => write(to, b'r', &serde_json::to_vec(run)?).await,
            Self::Stop(stop) => write(to, b'k', &serde_json::to_vec(stop)?).await,
            Self::Bye => write(to, b'b', &[]).await,
        }
    }

    /// Reads the next message; `None` if the other side has gone.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let Some((kind, body)) = read(from).await? else { return Ok(None) };
        Ok(Some(match kind {
            b'r' => Self::Run(decode(&body)?),
            b'k' => Self::Stop(decode(&body)?),
            b'b' => Self::Bye,
            kind => return Err(unknown(kind)),
        }))
    }
}

/// What serve says.
#[derive(Debug)]
pub(crate) enum Report {
    /// Output.
    Output(Vec<u8>),
    /// The kernel has killed something of the script for want of memory.
    OutOfMemory,
    /// The script has ended.
    Ended(End),
    /// The script could not be started.
    Failed(String),
    /// Nothing runs any more.
    Stopped,
}

impl Report {
    /// Writes the message.
    pub(crate) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        match self {
            Self::Output(bytes) => write(to, b'o', bytes).await,
            Self::OutOfMemory => write(to, b'm', &[]).await,
            Self::Ended(end) => write(to, b'x', &serde_json::to_vec(end)?).await,
            Self::Failed(why) => write(to, b'f', why.as_bytes()).await,
            Self::Stopped => write(to, b's', &[]).await,
        }
    }

    /// Reads the next message; `None` if the other side has gone.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let Some((kind, body)) = read(from).await? else { return Ok(None) };
        Ok(Some(match kind {
            b'o' => Self::Output(body),
            b'm' => Self::OutOfMemory,
            b'x' => Self::Ended(decode(&body)?),
            b'f' => Self::Failed(String::from_utf8_lossy(&body).into_owned()),
            b's' => Self::Stopped,
            kind => return Err(unknown(kind)),
        }))
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), kind: u8, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len() + 1).map_err(|_| io::Error::other("message too long"))?;
    let mut head = [0; 5];
    head[..4].copy_from_slice(&len.to_be_bytes());
    head[4] = kind;
    to.write_all(&head).await?;
    to.write_all(body).await
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len).await {
        Ok(_) => {}
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    }
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if !(1..=MAX).contains(&len) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message with a wrong length"));
    }
    let kind = from.read_u8().await?;
    let mut body = vec![0; len - 1];
    from.read_exact(&mut body).await?;
    Ok(Some((kind, body)))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(io::Error::from)
}

fn unknown(kind: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("message of unknown kind {kind}"))
}

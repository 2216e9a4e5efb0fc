//! The log of a container: followed, reconnected, read to its end, and cut into lines.
//!
//! A stream that ends says nothing: a kubelet restart, a rotated file and a finished container all look alike. So the container's
//! status decides, and whoever reads the lines drops what it has seen already.

use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::mpsc;

use crate::retry::ApiError;
use crate::watch::{PodWatch, Seen};

/// Name of the container that drives the job.
pub(crate) const HELPER: &str = "helper";

/// What comes out of a log.
#[derive(Debug)]
pub(crate) enum Followed<T> {
    /// What was made of a line.
    Line(T),
    /// The container has ended, or its pod is gone, and everything that could be read was.
    Ended,
}

/// Which log to follow.
pub(crate) struct LogOf {
    pub(crate) api: Api<Pod>,
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) watch: PodWatch,
    /// Lines before this time are not wanted; some of the second before it come all the same.
    pub(crate) since: Option<Timestamp>,
}

/// Follows `log` until it has ended, and makes something of each line, given its time and its text. Ends when the receiver is dropped.
pub(crate) fn follow<T: Send + 'static>(
    log: LogOf,
    line: impl Fn(&str, &str) -> T + Send + Sync + 'static,
) -> mpsc::Receiver<Followed<T>> {
    let (to, lines) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut follower = Follower { log, line, to: to.clone() };
        tokio::select! {
            () = to.closed() => {}
            () = follower.run() => {}
        }
    });
    lines
}

struct Follower<T, F> {
    /// `since` is moved on to the time of the last line that was read.
    log: LogOf,
    line: F,
    to: mpsc::Sender<Followed<T>>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    NotStarted,
    Running,
    Terminated,
    Gone,
}

impl<T, F: Fn(&str, &str) -> T> Follower<T, F> {
    async fn run(&mut self) {
        let mut pause = Pause::default();
        loop {
            let doing = self.readable().await;
            if doing == Doing::Gone {
                break;
            }
            let before = self.log.since;
            let result = self.read().await;
            if self.log.since != before {
                pause = Pause::default();
            }
            match result {
                // The stream was opened after the end: this was everything.
                Ok(()) if doing == Doing::Terminated => break,
                Ok(()) => {}
                Err(err) if doing == Doing::Terminated && err.code() == 404 => break,
                Err(err) => tracing::debug!("log of {} in pod {}: {err}", self.log.container, self.log.pod),
            }
            tokio::select! {
                () = self.log.watch.changed() => {}
                () = pause.next() => {}
            }
        }
        // nobody listens: the job is over
        let _ = self.to.send(Followed::Ended).await;
    }

    /// Waits until there is a log to read.
    async fn readable(&mut self) -> Doing {
        loop {
            let doing = match self.log.watch.seen() {
                Seen::Unknown => Doing::NotStarted,
                Seen::Present(pod) => doing(&pod, &self.log.container),
                Seen::Gone => Doing::Gone,
            };
            if doing != Doing::NotStarted {
                return doing;
            }
            self.log.watch.changed().await;
        }
    }

    /// Reads one stream to its end.
    async fn read(&mut self) -> Result<(), ApiError> {
        let params = LogParams {
            container: Some(self.log.container.clone()),
            follow: true,
            timestamps: true,
            // The client rounds to whole seconds; what comes twice is dropped by its offset.
            since_time: self.log.since.and_then(|at| Timestamp::from_second(at.as_second() - 1).ok()),
            ..LogParams::default()
        };
        let mut stream = self.log.api.log_stream(&self.log.pod, &params).await?;
        let mut line = Vec::new();
        while next_line(&mut stream, &mut line).await.map_err(|err| ApiError::Unreachable(err.to_string()))? {
            let text = String::from_utf8_lossy(&line);
            let (stamp, text) = text.split_once(' ').unwrap_or(("", &text));
            if let Ok(at) = stamp.parse() {
                self.log.since = Some(at);
            }
            if self.to.send(Followed::Line((self.line)(stamp, text))).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads one whole line, without its newline. A last line without newline is torn and is not used.
async fn next_line(stream: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<bool> {
    const LONGEST: u64 = 1024 * 1024; // far beyond any frame
    line.clear();
    stream.take(LONGEST).read_until(b'\n', line).await?;
    Ok(line.pop_if(|b| *b == b'\n').is_some())
}

fn doing(pod: &Pod, container: &str) -> Doing {
    let status = pod.status.as_ref();
    let states = status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let state = states.filter(|s| s.name == container).find_map(|s| s.state.as_ref());
    match state {
        Some(ContainerState { terminated: Some(_), .. }) => Doing::Terminated,
        Some(ContainerState { running: Some(_), .. }) => Doing::Running,
        // An evicted pod may end without any container status.
        _ if status.and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Failed" || p == "Succeeded") => Doing::Gone,
        _ => Doing::NotStarted,
    }
}

/// Pauses between two connections: 0.1 s doubling to 5 s.
#[derive(Default)]
struct Pause {
    tries: u32,
}

impl Pause {
    async fn next(&mut self) {
        let pause = Duration::from_millis(100) * 2_u32.pow(self.tries.min(6));
        self.tries += 1;
        tokio::time::sleep(pause.min(Duration::from_secs(5))).await;
    }
}

//! The helper's log: followed, reconnected, read to its end, and cut into frames.
//!
//! A stream that ends says nothing: a kubelet restart, a rotated file and a finished container all look alike. So the container's
//! status decides, and the reader of the frames drops by offset what it has seen already.

use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;
use runner_core::frame::Frame;
use tokio::sync::mpsc;

use crate::retry::ApiError;
use crate::watch::{PodWatch, Seen};

/// Name of the container that drives the job.
pub(crate) const HELPER: &str = "helper";

/// What comes out of the helper's log.
#[derive(Debug)]
pub(crate) enum Followed {
    /// A frame.
    Frame(Frame),
    /// A line that is none: the helper's stderr.
    Noise(String),
    /// The container has ended, or its pod is gone, and everything that could be read was.
    Ended,
}

/// Follows the log of `pod` until it has ended. Ends when the receiver is dropped.
pub(crate) fn follow(api: Api<Pod>, pod: String, watch: PodWatch) -> mpsc::Receiver<Followed> {
    let (to, frames) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut follower = Follower { api, pod, watch, to: to.clone(), last: None };
        tokio::select! {
            () = to.closed() => {}
            () = follower.run() => {}
        }
    });
    frames
}

struct Follower {
    api: Api<Pod>,
    pod: String,
    watch: PodWatch,
    to: mpsc::Sender<Followed>,
    /// Time of the last line that was read.
    last: Option<Timestamp>,
}

/// What the helper container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Helper {
    NotStarted,
    Running,
    Terminated,
    Gone,
}

impl Follower {
    async fn run(&mut self) {
        let mut pause = Pause::default();
        loop {
            let helper = self.readable().await;
            if helper == Helper::Gone {
                break;
            }
            let before = self.last;
            let result = self.read().await;
            if self.last != before {
                pause = Pause::default();
            }
            match result {
                // The stream was opened after the end: this was everything.
                Ok(()) if helper == Helper::Terminated => break,
                Ok(()) => {}
                Err(err) if helper == Helper::Terminated && err.code() == 404 => break,
                Err(err) => tracing::debug!("log of pod {}: {err}", self.pod),
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = pause.next() => {}
            }
        }
        // nobody listens: the job is over
        let _ = self.to.send(Followed::Ended).await;
    }

    /// Waits until there is a log to read.
    async fn readable(&mut self) -> Helper {
        loop {
            let helper = match self.watch.seen() {
                Seen::Unknown => Helper::NotStarted,
                Seen::Present(pod) => helper_of(&pod),
                Seen::Gone => Helper::Gone,
            };
            if helper != Helper::NotStarted {
                return helper;
            }
            self.watch.changed().await;
        }
    }

    /// Reads one stream to its end.
    async fn read(&mut self) -> Result<(), ApiError> {
        let params = LogParams {
            container: Some(HELPER.to_owned()),
            follow: true,
            timestamps: true,
            // The client rounds to whole seconds; what comes twice is dropped by its offset.
            since_time: self.last.and_then(|at| Timestamp::from_second(at.as_second() - 1).ok()),
            ..LogParams::default()
        };
        let mut stream = self.api.log_stream(&self.pod, &params).await?;
        let mut line = Vec::new();
        while next_line(&mut stream, &mut line).await.map_err(|err| ApiError::Unreachable(err.to_string()))? {
            let text = String::from_utf8_lossy(&line);
            let (stamp, text) = text.split_once(' ').unwrap_or(("", &text));
            if let Ok(at) = stamp.parse() {
                self.last = Some(at);
            }
            let followed = match Frame::decode(text) {
                Some(frame) => Followed::Frame(frame),
                None => Followed::Noise(text.to_owned()),
            };
            if self.to.send(followed).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads one whole line, without its newline. A last line without newline is torn and is not used.
async fn next_line(stream: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<bool> {
    const LONGEST: u64 = 1024 * 1024; // far beyond any frame; only stderr noise could be longer
    line.clear();
    stream.take(LONGEST).read_until(b'\n', line).await?;
    Ok(line.pop_if(|b| *b == b'\n').is_some())
}

fn helper_of(pod: &Pod) -> Helper {
    let status = pod.status.as_ref();
    let states = status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let state = states.filter(|s| s.name == HELPER).find_map(|s| s.state.as_ref());
    match state {
        Some(ContainerState { terminated: Some(_), .. }) => Helper::Terminated,
        Some(ContainerState { running: Some(_), .. }) => Helper::Running,
        // An evicted pod may end without any container status.
        _ if status.and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Failed" || p == "Succeeded") => Helper::Gone,
        _ => Helper::NotStarted,
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

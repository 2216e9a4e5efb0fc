//! Probes: startup, readiness and liveness; by command, TCP or HTTP.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

use super::container::{Container, Running, State};
use super::worker::{Report, Worker};
use crate::json::{int, list, text};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

/// Starts the probes of a container that was just started; they end with the first report that nobody
/// takes, or when the container's run is over.
pub(super) fn watch(index: usize, spec: &Value, running: &Running, reports: &UnboundedSender<Report>) {
    for (field, what) in
        [("startupProbe", Kind::Startup), ("readinessProbe", Kind::Readiness), ("livenessProbe", Kind::Liveness)]
    {
        if let Some(probe) = spec.get(field) {
            let (probe, ports) = (probe.clone(), list(spec, "/ports").to_vec());
            tokio::spawn(repeat(index, what, probe, ports, running.clone(), reports.clone()));
        }
    }
}

async fn repeat(
    index: usize,
    what: Kind,
    probe: Value,
    ports: Vec<Value>,
    running: Running,
    reports: UnboundedSender<Report>,
) {
    let seconds = |field: &str, default: i64| {
        let value = int(&probe, &format!("/{field}")).unwrap_or(default);
        Duration::from_secs(value.unsigned_abs())
    };
    let count = |field: &str, default| int(&probe, &format!("/{field}")).unwrap_or(default);
    tokio::time::sleep(seconds("initialDelaySeconds", 0)).await;
    let (mut good_run, mut bad_run) = (0, 0);
    // A real kubelet asks by the clock too: there is no event that says "ready".
    while is_alive(running.pid) {
        let attempt = tokio::time::timeout(seconds("timeoutSeconds", 1), ask(&probe, &ports, &running));
        let good = attempt.await.unwrap_or(false);
        (good_run, bad_run) = if good { (good_run + 1, 0) } else { (0, bad_run + 1) };
        let decided =
            good && good_run >= count("successThreshold", 1) || !good && bad_run >= count("failureThreshold", 3);
        let id = running.id.clone();
        if decided && reports.send(Report::Probed { index, id, what, good }).is_err() {
            return;
        }
        if what == Kind::Startup && decided {
            return;
        }
        tokio::time::sleep(seconds("periodSeconds", 10)).await;
    }
}

fn is_alive(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

async fn ask(probe: &Value, ports: &[Value], running: &Running) -> bool {
    if let Some(command) = probe.pointer("/exec/command").and_then(Value::as_array) {
        let words: Vec<_> = command.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        let status = running.program.exec(&running.id, &words).await;
        return status.is_ok_and(|status| status.success());
    }
    let port = |pointer: &str| {
        let named = text(probe, pointer);
        let port = ports.iter().find(|p| text(p, "/name") == named && !named.is_empty());
        let number = port.and_then(|p| int(p, "/containerPort"));
        number.or_else(|| int(probe, pointer)).and_then(|port| u16::try_from(port).ok())
    };
    if let Some(port) = port("/tcpSocket/port") {
        return TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    }
    match port("/httpGet/port") {
        Some(port) => http_ok(port, text(probe, "/httpGet/path")).await.unwrap_or(false),
        None => true, // gRPC: not asked
    }
}

/// Whether `GET path` is answered with 200 to 399.
async fn http_ok(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let path = if path.is_empty() { "/" } else { path };
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12]; // "HTTP/1.1 200"
    stream.read_exact(&mut head).await?;
    Ok(matches!(head[9], b'2' | b'3'))
}

impl Worker {
    /// Takes a probe's verdict.
    pub(super) fn note_probe(&mut self, index: usize, id: &str, what: Kind, good: bool) {
        let container: &mut Container = &mut self.containers[index];
        let State::Running(running) = &container.actual else { return };
        if running.id != id {
            return;
        }
        match (what, good) {
            (Kind::Startup, true) => container.started = Some(true),
            (Kind::Readiness, good) => container.ready = Some(good),
            (Kind::Liveness, true) => {}
            (Kind::Startup | Kind::Liveness, false) => {
                let running = running.clone();
                let name = container.name().to_owned();
                let probe = if what == Kind::Startup { "startup" } else { "liveness" };
                let message = format!("Container {name} failed {probe} probe, will be restarted");
                self.event("Normal", "Killing", &message, Some(index));
                running.kill();
            }
        }
    }
}

//! Signals: TERM and INT stop at once, QUIT drains, HUP reloads.
//!
//! Stopping loses nothing: the jobs are in the state directory and the pods go on; the next start continues them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// The orders that came by signal. Clones share them.
#[derive(Debug, Clone)]
pub struct Signals {
    /// TERM or INT, or a second QUIT: stop at once.
    pub stop: CancellationToken,
    /// QUIT: take nothing new, finish what runs, then end.
    pub drain: CancellationToken,
    /// HUP: read the configuration again.
    pub reload: Arc<Notify>,
    number: Arc<AtomicU8>,
}

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let signals = Self {
            stop: CancellationToken::new(),
            drain: CancellationToken::new(),
            reload: Arc::new(Notify::new()),
            number: Arc::new(AtomicU8::new(SIGTERM)),
        };
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hup = signal(SignalKind::hangup())?;
        let all = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => all.stop_by(SIGTERM),
                    _ = int.recv() => all.stop_by(SIGINT),
                    _ = quit.recv() => if all.drain.is_cancelled() { all.stop_by(SIGQUIT) } else { all.drain.cancel() },
                    _ = hup.recv() => all.reload.notify_one(),
                }
            }
        });
        Ok(signals)
    }

    fn stop_by(&self, number: u8) {
        self.number.store(number, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// The exit of a tool that was stopped by a signal.
    pub fn stopped(&self) -> Exit {
        Exit::Signal(self.number.load(Ordering::Relaxed))
    }
}

const SIGINT: u8 = 2;
const SIGQUIT: u8 = 3;
const SIGTERM: u8 = 15;

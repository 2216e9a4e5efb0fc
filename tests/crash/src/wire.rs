//! A wire to a server that can be cut, blocked, and set with traps.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::schedule::Way;

/// A TCP relay on a port of its own.
pub(crate) struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// How the wire is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Open,
    /// Connections end as soon as they are made.
    Refusing,
    /// Connections are taken and nothing gets through.
    Silent,
}

struct Shared {
    server: OnceLock<SocketAddr>,
    condition: watch::Sender<Condition>,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
    traffic: Mutex<Traffic>,
}

#[derive(Default)]
struct Traffic {
    /// Pieces so far, by way.
    pieces: [u64; 2],
    traps: Vec<Trap>,
}

struct Trap {
    way: Way,
    number: u64,
    sprung: oneshot::Sender<Piece>,
}

/// A piece of traffic that waits on the wire. It passes when this is dropped.
pub(crate) struct Piece {
    _pass: oneshot::Sender<()>,
}

impl Wire {
    /// A wire that leads nowhere yet.
    pub(crate) async fn new() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: OnceLock::new(),
            condition: watch::Sender::new(Condition::Open),
            cuts: watch::Sender::new(0),
            traffic: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where connections are led to. Only the first call counts.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        let _ = self.shared.server.set(server);
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on.
    pub(crate) fn set(&self, condition: Condition) {
        self.shared.condition.send_replace(condition);
        if condition == Condition::Refusing {
            self.cut();
        }
    }

    /// Gets the piece of this number when it arrives; an error once it is too late for that.
    pub(crate) fn trap(&self, way: Way, number: u64) -> oneshot::Receiver<Piece> {
        let (sprung, piece) = oneshot::channel();
        self.shared.traffic().traps.push(Trap { way, number, sprung });
        piece
    }

    /// Removes all traps.
    pub(crate) fn disarm(&self) {
        self.shared.traffic().traps.clear();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a piece, and lets whoever set a trap for it act before it goes on.
    async fn piece(&self, way: Way) {
        let trap = {
            let mut traffic = self.traffic();
            let count = &mut traffic.pieces[way as usize];
            *count += 1;
            let number = *count;
            let at = traffic.traps.iter().position(|trap| trap.way == way && trap.number == number);
            at.map(|at| traffic.traps.swap_remove(at))
        };
        if let Some(Trap { sprung, .. }) = trap {
            let (pass, passed) = oneshot::channel();
            // Nobody waits for it any more, or its holder has dropped it: both let it pass.
            if sprung.send(Piece { _pass: pass }).is_ok() {
                let _ = passed.await;
            }
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // A failed accept is the client's trouble; it tries again.
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let Some(&server) = shared.server.get().filter(|_| *shared.condition.borrow() != Condition::Refusing) else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            let Ok(server) = TcpStream::connect(server).await else { return };
            // Small pieces pass at once, as they came.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                _ = cuts.changed() => {}
                ((), ()) = async { tokio::join!(
                    relay(&shared, Way::ToServer, from_client, to_server),
                    relay(&shared, Way::FromServer, from_server, to_client),
                ) } => {}
            }
        });
    }
}

/// Passes on what comes until it ends, and then the end.
async fn relay(shared: &Shared, way: Way, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut condition = shared.condition.subscribe();
    let mut piece = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut piece).await {
        shared.piece(way).await;
        // The sender lives in `shared`.
        let _ = condition.wait_for(|condition| *condition != Condition::Silent).await;
        if to.write_all(&piece[..n]).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wire_to_an_echo() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let wire = Wire::new().await.unwrap();
        wire.lead_to(address);
        wire
    }

    async fn exchange(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        stream.write_all(b"hello").await?;
        let mut answer = vec![0; 5];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn what_is_sent_arrives_until_the_wire_is_cut() {
        let wire = wire_to_an_echo().await;
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), b"hello");
        wire.cut();
        assert!(exchange(&mut stream).await.is_err());
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), b"hello");
        wire.set(Condition::Refusing);
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        assert!(exchange(&mut stream).await.is_err());
    }

    #[tokio::test]
    async fn a_trapped_piece_waits_for_its_trapper() {
        let wire = wire_to_an_echo().await;
        let trapped = wire.trap(Way::FromServer, 1);
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        let answer = tokio::spawn(async move { exchange(&mut stream).await });
        let piece = trapped.await.unwrap();
        assert!(!answer.is_finished());
        drop(piece);
        assert_eq!(answer.await.unwrap().unwrap(), b"hello");
    }
}

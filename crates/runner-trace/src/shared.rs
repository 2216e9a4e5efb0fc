//! What the deliveries of all jobs share: connections, the room for chunks, the state directory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runner_cli::state::StateDir;
use runner_core::event::Open;
use runner_core::job::Tls;
use runner_gitlab::{Client, Info, Trust};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Chunks up to this many bytes need no room, so that no job waits for another.
const SMALL_CHUNK: usize = 64 * 1024;
/// Room for larger chunks, of all jobs together, in KiB.
const ROOM: usize = 4 * 1024;
/// How long a job waits for room before it sends a small chunk. Not less, or a long log in small chunks would go beyond the 200
/// requests a minute that GitLab grants a job.
const ROOM_PATIENCE: Duration = Duration::from_millis(300);

/// Shared by all deliveries.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The folders of the jobs.
    pub(crate) state: StateDir,
    /// What is said of the runner in each update.
    pub(crate) info: Info,
    /// One client, and so one set of connections, for all jobs of one GitLab. The lock is never held across an await.
    clients: Mutex<HashMap<(String, Tls), Client>>,
    room: Semaphore,
}

impl Shared {
    /// For the jobs of `state`.
    pub(crate) fn new(state: StateDir) -> Self {
        Self { state, info: Info::default(), clients: Mutex::default(), room: Semaphore::new(ROOM) }
    }

    /// The client for a job's GitLab.
    pub(crate) fn client(&self, open: &Open) -> Result<Client, runner_gitlab::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (open.url.clone(), open.tls.clone());
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = Client::new(&open.url, Trust::System(&open.tls))?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// How long a chunk may be of which `wanted` bytes wait. What is returned with it holds the room while the chunk is sent.
    pub(crate) async fn room(&self, wanted: usize) -> (usize, Option<SemaphorePermit<'_>>) {
        if wanted <= SMALL_CHUNK {
            return (wanted, None);
        }
        let kib = u32::try_from(wanted.div_ceil(1024)).unwrap_or(u32::MAX);
        match tokio::time::timeout(ROOM_PATIENCE, self.room.acquire_many(kib)).await {
            Ok(Ok(room)) => (wanted, Some(room)),
            _ => (SMALL_CHUNK, None),
        }
    }
}

//! What the deliveries of all jobs share: connections, the room for chunks, the state directory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

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

/// When the three TLS files were changed; `None` for one that is not set or not there.
type Changed = [Option<SystemTime>; 3];

fn changed(tls: &Tls) -> Changed {
    [&tls.ca_file, &tls.cert_file, &tls.key_file]
        .map(|file| std::fs::metadata(file.as_ref()?).and_then(|meta| meta.modified()).ok())
}

/// Shared by all deliveries.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The folders of the jobs.
    pub(crate) state: StateDir,
    /// What is said of the runner in each update.
    pub(crate) info: Info,
    /// One client, and so one set of connections, for all jobs of one GitLab, and when its TLS files were changed last. The lock is
    /// never held across an await.
    clients: Mutex<HashMap<(String, Tls), (Changed, Client)>>,
    room: Semaphore,
}

impl Shared {
    /// For the jobs of `state`.
    pub(crate) fn new(state: StateDir) -> Self {
        Self { state, info: Info::default(), clients: Mutex::default(), room: Semaphore::new(ROOM) }
    }

    /// The client for a job's GitLab. A new one after a change of its TLS files: certificates are renewed while the tool runs.
    pub(crate) fn client(&self, open: &Open) -> Result<Client, runner_gitlab::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (open.url.clone(), open.tls.clone());
        let changed = changed(&open.tls);
        if let Some((then, client)) = clients.get(&key)
            && *then == changed
        {
            return Ok(client.clone());
        }
        let client = Client::new(&open.url, Trust::System(&open.tls))?;
        clients.insert(key, (changed, client.clone()));
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

#[cfg(test)]
mod tests {
    use runner_core::event::{Head, JobKey};
    use runner_core::line::LineType;
    use runner_core::secret::Secret;

    use super::*;

    #[test]
    fn a_change_of_the_authority_file_is_seen_by_the_next_request() {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
        let dir = tempfile::tempdir().unwrap();
        let shared = Shared::new(StateDir::open(&dir.path().join("state"), "test").unwrap());
        let path = dir.path().join("ca.pem");
        let open = Open {
            head: Head::new(LineType::Open),
            key: JobKey { id: 1, host: String::new() },
            url: "https://gitlab.example.com".into(),
            token: Secret::new("t"),
            tls: Tls { ca_file: Some(path.to_str().unwrap().into()), ..Tls::default() },
            limit: 1,
            features: Default::default(),
            masks: Vec::new(),
            debug_trace: false,
        };
        let write = |text: &str, seconds: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        assert!(shared.client(&open).is_err());
        write(&authority, 1);
        assert!(shared.client(&open).is_ok());
        write("nothing", 1);
        assert!(shared.client(&open).is_ok(), "the same file: the client is kept");
        write("nothing", 2);
        assert!(shared.client(&open).is_err());
        write(&authority, 3);
        assert!(shared.client(&open).is_ok());
    }
}

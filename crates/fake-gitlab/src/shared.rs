//! What all routes share: the state behind one lock, and the event that something changed.
//!
//! The lock is never held across an await. Every write wakes the waiters, who look again; so
//! nobody polls and no change is missed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::faults::Faults;
use crate::record::Records;
use crate::state::World;

/// The server's addresses, without a slash at the end.
pub(crate) struct Addresses {
    /// What jobs are told, if it is not the local one.
    pub(crate) external: Option<String>,
    pub(crate) local: String,
    pub(crate) storage: String,
}

/// What all routes share.
pub(crate) struct Shared {
    /// What jobs are told the server's address is, if it is not the next one.
    pub(crate) external_url: Option<String>,
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub(crate) local_url: String,
    /// Address of the object storage, without a slash at the end.
    pub(crate) storage_url: String,
    /// What addresses of stored objects are signed with.
    pub(crate) storage_key: String,
    /// Mirrors and artifacts live below it.
    pub(crate) scratch: PathBuf,
    pub(crate) faults: Faults,
    pub(crate) records: Records,
    /// Held while git writes to a copy; it refuses to have two of its own do so at once.
    pub(crate) git: tokio::sync::Mutex<()>,
    world: Mutex<World>,
    /// Counts writes; the number means nothing.
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(addresses: Addresses, storage_key: String, scratch: PathBuf, world: World) -> Self {
        Self {
            external_url: addresses.external,
            local_url: addresses.local,
            storage_url: addresses.storage,
            storage_key,
            scratch,
            faults: Faults::default(),
            records: Records::default(),
            git: tokio::sync::Mutex::new(()),
            world: Mutex::new(world),
            changed: watch::Sender::new(0),
        }
    }

    /// Where stored artifacts lie.
    pub(crate) fn artifact_folder(&self) -> PathBuf {
        self.scratch.join("artifacts")
    }

    /// Where uploads lie that GitLab has not been told of.
    pub(crate) fn upload_folder(&self) -> PathBuf {
        self.scratch.join("uploads")
    }

    /// The signature that lets anybody use a stored object.
    pub(crate) fn storage_signature(&self, bucket: &str, key: &str) -> String {
        let digest = Sha256::digest(format!("{}/{bucket}/{key}", self.storage_key));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The signed address of a stored object.
    pub(crate) fn storage_url(&self, bucket: &str, key: &str) -> String {
        let signature = self.storage_signature(bucket, key);
        format!("{}/{bucket}/{key}?X-Amz-Expires=600&X-Amz-Signature={signature}", self.storage_url)
    }

    /// The address jobs are told, without a slash at the end.
    pub(crate) fn external_url(&self) -> &str {
        self.external_url.as_deref().unwrap_or(&self.local_url)
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.lock())
    }

    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Waits until `look` finds something; looks once at the start and after every write.
    pub(crate) async fn wait_until<R>(&self, mut look: impl FnMut(&World) -> Option<R>) -> R {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = self.read(&mut look) {
                return found;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as self; nothing will ever change again.
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // A panic in another request must not take the server down with it.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

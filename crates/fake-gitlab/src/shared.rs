//! What all routes share: the state behind one lock, and the event that something changed.
//!
//! The lock is never held across an await. Every write wakes the waiters, who look again; so
//! nobody polls and no change is missed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::builder::Settings;
use crate::faults::Faults;
use crate::record::Records;
use crate::state::World;

/// What all routes share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub(crate) local_url: String,
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
    pub(crate) fn new(settings: Settings, local_url: String, scratch: PathBuf, world: World) -> Self {
        Self {
            settings,
            local_url,
            scratch,
            faults: Faults::default(),
            records: Records::default(),
            git: tokio::sync::Mutex::new(()),
            world: Mutex::new(world),
            changed: watch::Sender::new(0),
        }
    }

    /// The address jobs are told, without a slash at the end.
    pub(crate) fn external_url(&self) -> &str {
        self.settings.external_url.as_deref().unwrap_or(&self.local_url)
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

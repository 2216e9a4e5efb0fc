//! Changes in folders as events: one inotify instance for all folders a tool looks at.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::{EventKind, RecommendedWatcher, RecursiveMode};
use tokio::sync::Notify;

/// Watches any number of folders.
#[derive(Debug, Clone)]
pub struct Watcher {
    inner: Arc<Mutex<RecommendedWatcher>>,
    routes: Routes,
}

type Routes = Arc<Mutex<HashMap<PathBuf, Arc<Notify>>>>;

/// One watched folder; dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    changed: Arc<Notify>,
    watcher: Watcher,
}

impl Watcher {
    /// A watcher without folders.
    pub fn new() -> notify::Result<Self> {
        let routes = Routes::default();
        let to = Arc::clone(&routes);
        let inner = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let routes = lock(&to);
            match event {
                Ok(event) if matters(event.kind) => {
                    for path in &event.paths {
                        let parent = path.parent().and_then(|dir| routes.get(dir));
                        for changed in parent.into_iter().chain(routes.get(path)) {
                            changed.notify_one();
                        }
                    }
                }
                Ok(_) => {}
                // Events were lost (a full queue): everybody looks again.
                Err(_) => routes.values().for_each(|changed| changed.notify_one()),
            }
        })?;
        Ok(Self { inner: Arc::new(Mutex::new(inner)), routes })
    }

    /// Watches the entries of the folder `path`: made, written, renamed, removed.
    pub fn watch(&self, path: &Path) -> notify::Result<Watch> {
        let changed = Arc::new(Notify::new());
        lock(&self.routes).insert(path.to_owned(), Arc::clone(&changed));
        lock(&self.inner).watch(path, RecursiveMode::NonRecursive)?;
        Ok(Watch { path: path.to_owned(), changed, watcher: self.clone() })
    }
}

impl Watch {
    /// Returns once something has changed since the last call. Look first, then wait: a change in between is not lost.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.watcher.routes).remove(&self.path);
        // The folder may be gone already, and with it the watch.
        let _ = lock(&self.watcher.inner).unwatch(&self.path);
    }
}

/// Reading a file is no change, or a reader would wake itself for ever.
fn matters(kind: EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

use notify::Watcher as _;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_folder_hears_its_own_changes() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let watcher = Watcher::new().unwrap();
        let (in_a, in_b) = (watcher.watch(a.path()).unwrap(), watcher.watch(b.path()).unwrap());
        std::fs::write(a.path().join("x"), "1").unwrap();
        in_a.changed().await;
        std::fs::read(a.path().join("x")).unwrap();
        std::fs::write(b.path().join("y"), "1").unwrap();
        tokio::time::timeout(Duration::from_secs(5), in_b.changed()).await.unwrap();
    }
}

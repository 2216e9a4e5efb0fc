//! Waits for changes in a folder by inotify: an idle helper costs nothing.

use std::io;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::error::{HelperError, doing};

/// A watched folder.
///
/// The kubelet changes the files of a volume by renaming a link beside them, so it is the folder that must be watched. (To the
/// runtime an inotify descriptor is read like a pipe.)
#[derive(Debug)]
pub(crate) struct Watch(pipe::Receiver);

impl Watch {
    /// Watches the folder of `file` from now on.
    pub(crate) fn beside(file: &Path) -> Result<Self, HelperError> {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::folder(folder).map_err(doing(format!("watch `{}`", folder.display())))
    }

    fn folder(folder: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let changes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, folder, changes)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(fd)?))
    }

    /// Completes when something has changed since the last call. Cancel safe.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        // What has changed does not matter: whoever waits looks at its file again.
        self.0.read(&mut [0; 4096]).await.map(drop)
    }

    /// Waits until `look` finds what it looks for.
    pub(crate) async fn until<T>(&mut self, mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.changed().await?;
        }
    }
}

//! How a server is to be, and starting it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::Error;
use crate::faults::{Faults, ImageFault};
use crate::random;
use crate::server::FakeKube;

/// How a server is to be.
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
    listen: Option<String>,
    root: Option<PathBuf>,
    token: Option<String>,
    images: Vec<ImageFault>,
    unschedulable: Option<String>,
}

impl Builder {
    /// The address to listen on; `127.0.0.1:0` if not set.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// A folder in front of every container's `PATH`: what the images carry. May be repeated.
    #[must_use]
    pub fn bin_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.bin_dirs.push(folder.into());
        self
    }

    /// Where pods' folders live; a temporary folder if not set. Keep it short: sockets live there.
    #[must_use]
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.root = Some(folder.into());
        self
    }

    /// The bearer token of all requests; made up if not set.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How often the kubelet looks at its containers; 50 ms if not set, 1 s on a real node.
    #[must_use]
    pub fn status_lag(mut self, lag: Duration) -> Self {
        self.config.status_lag = lag;
        self
    }

    /// The first pause before an image is pulled or a container started again; 10 s if not set.
    #[must_use]
    pub fn back_off(mut self, pause: Duration) -> Self {
        // Not nothing: a pause that is over when it begins would not be waited for.
        self.config.back_off = pause.max(Duration::from_millis(1));
        self
    }

    /// What an image runs when a container has no command.
    #[must_use]
    pub fn image_command<W: Into<String>>(
        mut self,
        image: impl Into<String>,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        self.config.image_commands.insert(image.into(), words);
        self
    }

    /// An image that is not to be had.
    #[must_use]
    pub fn image_error(mut self, image: impl Into<String>, reason: impl Into<String>) -> Self {
        self.images.push(ImageFault {
            image: image.into(),
            reason: reason.into(),
            message: String::new(),
            times: None,
        });
        self
    }

    /// Container logs are rotated beyond this many bytes; never if not set.
    #[must_use]
    pub fn log_max_size(mut self, bytes: u64) -> Self {
        self.config.log_max_size = bytes;
        self
    }

    /// Only the namespaces named so exist; without this, each exists as soon as it is used.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.config.namespaces.push(name.into());
        self
    }

    /// No pod finds a node; this is the scheduler's message.
    #[must_use]
    pub fn unschedulable(mut self, message: impl Into<String>) -> Self {
        self.unschedulable = Some(message.into());
        self
    }

    /// Starts the server, on a thread of its own, so that it serves whatever its user blocks.
    pub async fn start(self) -> Result<FakeKube, Error> {
        self.start_blocking()
    }

    /// The same for callers without an async runtime.
    pub fn start_blocking(self) -> Result<FakeKube, Error> {
        let address = self.listen.unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let listen = |source| Error::Listen { address: address.clone(), source };
        let listener = TcpListener::bind(&address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let folder = make_root(self.root)?;
        let faults = Faults::default();
        self.images.into_iter().for_each(|fault| faults.add_image(fault));
        faults.set_unschedulable(self.unschedulable.as_deref());
        let token = self.token.unwrap_or_else(random::hex::<16>);
        let cluster = Cluster::new(self.config, folder.path().to_owned(), token, faults);
        FakeKube::launch(Arc::new(cluster), listener, folder)
    }
}

/// The temporary folder is short on purpose: a socket's path may have 107 bytes only.
fn make_root(root: Option<PathBuf>) -> Result<TempDir, Error> {
    let parent = root.unwrap_or_else(std::env::temp_dir);
    let make = || {
        std::fs::create_dir_all(&parent)?;
        let parent = parent.canonicalize()?;
        tempfile::Builder::new().prefix("fk-").tempdir_in(parent)
    };
    make().map_err(|source| Error::Root { path: parent.clone(), source })
}

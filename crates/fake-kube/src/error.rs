//! What can go wrong when a server is started.

use std::io;
use std::path::PathBuf;

/// Why a server did not start, or a kubeconfig was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listen on `{address}`: {source}")]
    Listen {
        /// As given.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder for the pods cannot be made.
    #[error("make `{}`: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The kubeconfig cannot be written.
    #[error("write `{}`: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The server's own thread cannot be started.
    #[error("start the server: {0}")]
    Thread(#[source] io::Error),
}

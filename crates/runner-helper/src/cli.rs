//! The arguments. All paths come through them: a test replaces the pod's volumes by folders.

use std::path::PathBuf;

use clap::{Args, Parser};

/// Runs one job inside its pod.
#[derive(Debug, Parser)]
#[command(name = "runner-helper", version)]
pub(crate) enum Cli {
    /// Runs the job's stages: the main process of the helper container.
    Drive(DriveArgs),
    /// Runs the user's scripts for `drive`: the main process of the build container.
    Serve(ServeArgs),
    /// Copies this program, for an init container in front of an image without a shell.
    Install {
        /// Where to.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// Arguments of `drive`.
#[derive(Debug, Args)]
pub(crate) struct DriveArgs {
    /// The job line; appears when the pod is given its job. `ca.crt` beside it holds further certificate authorities.
    #[arg(long, value_name = "FILE")]
    pub(crate) job: PathBuf,
    /// The pod's annotations as a downwardAPI volume writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) annotations: PathBuf,
    /// Folder shared with the build container.
    #[arg(long, value_name = "DIR")]
    pub(crate) share: PathBuf,
    /// Folder for the log's spool and for Git's settings; only the helper may see it.
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: PathBuf,
    /// Folder for sources.
    #[arg(long, value_name = "DIR")]
    pub(crate) builds_dir: PathBuf,
    /// Folder for caches.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: PathBuf,
    /// File that gets the result as the container's termination message.
    #[arg(long, value_name = "FILE")]
    pub(crate) termination_log: PathBuf,
    /// Name of the machine the executor runs on, for the log.
    #[arg(long, value_name = "HOST", default_value = "")]
    pub(crate) via: String,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Folder shared with the helper container.
    #[arg(long, value_name = "DIR")]
    pub(crate) share: PathBuf,
}

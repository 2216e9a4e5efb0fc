//! What one server is told at its start.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// The settings below the command line and the builder.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Put in front of every container's `PATH`.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// The kubelet looks at its containers this often, and only then learns what happened.
    pub(crate) status_lag: Duration,
    /// The first pause before a pull or a restart is tried again; doubled each time.
    pub(crate) back_off: Duration,
    /// Entrypoints of images, as words.
    pub(crate) image_commands: HashMap<String, Vec<String>>,
    /// A log file larger than this is rotated, in bytes.
    pub(crate) log_max_size: u64,
    /// If not empty, only these namespaces exist.
    pub(crate) namespaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bin_dirs: Vec::new(),
            status_lag: Duration::from_millis(50),
            back_off: Duration::from_secs(10),
            image_commands: HashMap::new(),
            log_max_size: u64::MAX,
            namespaces: Vec::new(),
        }
    }
}

impl Config {
    /// The entrypoint of an image; empty if none is known.
    pub(crate) fn image_command(&self, image: &str) -> Vec<String> {
        self.image_commands.get(image).cloned().unwrap_or_default()
    }
}

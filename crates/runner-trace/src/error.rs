//! What ends the whole tool. What befalls one job or one line is told on stderr and the rest goes on.

use std::io;

/// An error that names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A journal cannot be used.
    #[error("{doing} {name}: {source}")]
    Journal {
        /// What was being done, e.g. `reading`.
        doing: &'static str,
        /// Path of the journal, or which job's it is if it has none.
        name: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

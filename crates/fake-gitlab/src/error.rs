//! What can go wrong outside a request: starting, reading repositories, building pipelines.

use std::path::PathBuf;

/// A failed action of the library, naming what it was done to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listening socket could not be made.
    #[error("listen on `{address}`: {source}")]
    Listen {
        /// What was asked for, as `host:port`.
        address: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The folder for mirrors and artifacts could not be made.
    #[error("make a temporary folder: {0}")]
    Scratch(std::io::Error),
    /// The kernel gave no random bytes for tokens.
    #[error("draw a random token: {0}")]
    Random(std::io::Error),
    /// No certificate could be made.
    #[error("make a certificate: {0}")]
    Certificate(String),
    /// A file could not be read or written.
    #[error("{action} `{path}`: {source}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The `git` program could not be started.
    #[error("start `git`: {0}")]
    GitMissing(std::io::Error),
    /// A `git` command failed on a repository.
    #[error("git {command} in `{repository}`: {message}")]
    Git {
        /// The subcommand.
        command: String,
        /// The repository it ran in.
        repository: PathBuf,
        /// The last lines of its stderr.
        message: String,
    },
    /// A project was named that does not exist or is given twice.
    #[error("project `{path}`: {problem}")]
    Project {
        /// The project's full path.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A runner was described in a way GitLab would refuse.
    #[error("runner: {0}")]
    Runner(String),
    /// No branch, tag or commit of that name.
    #[error("project `{project}`: no branch or tag `{reference}`")]
    NoReference {
        /// The project's full path.
        project: String,
        /// What was asked for.
        reference: String,
    },
    /// The pipeline's definition is missing or wrong.
    #[error("{0}")]
    Definition(#[from] crate::ci::DefinitionError),
    /// A job was asked for that does not exist.
    #[error("job {0} does not exist")]
    NoJob(u64),
}

//! What can go wrong in a call, as one line that names call, host and cause.

use std::time::Duration;

/// A call of the contract; its text fits between "failed" and "at gitlab.example.com".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `POST /runners`
    Register,
    /// `POST /runners/verify`
    Verify,
    /// `DELETE /runners` and `DELETE /runners/managers`
    Unregister,
    /// `POST …/reset_authentication_token`
    ResetToken,
    /// `POST /jobs/request`
    RequestJob,
    /// `PUT /jobs/:id`
    UpdateJob,
    /// `PATCH /jobs/:id/trace`
    PatchTrace,
    /// `POST /jobs/:id/artifacts`
    UploadArtifacts,
    /// `GET /jobs/:id/artifacts`
    DownloadArtifacts,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Register => "registering the runner",
            Self::Verify => "verifying the runner",
            Self::Unregister => "unregistering the runner",
            Self::ResetToken => "resetting the runner's token",
            Self::RequestJob => "requesting a job",
            Self::UpdateJob => "updating the job",
            Self::PatchTrace => "sending the job's log",
            Self::UploadArtifacts => "uploading artifacts",
            Self::DownloadArtifacts => "downloading artifacts",
        })
    }
}

/// Why a call did not come to an outcome, or a client could not be made. No text holds a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured address is not one of a GitLab. Payload: what is wrong with it.
    #[error("GitLab's URL `{url}`: {why}")]
    Url {
        /// The address as given, without user and password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A TLS file cannot be read or does not hold what it should.
    #[error("`{path}`: {why}")]
    TlsFile {
        /// Path of the file, or what the PEM was said to be.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// No HTTP client can be made on this machine, e.g. because it has no certificate authorities.
    #[error("preparing the connection to GitLab: {why}")]
    Build {
        /// What is wrong.
        why: String,
    },
    /// The request did not get there or the answer did not come back: refused, reset, timed out, wrong certificate.
    #[error("{call} at {host}: {why}")]
    Transport {
        /// Which call.
        call: Call,
        /// Host of the GitLab or of the object storage.
        host: String,
        /// The whole chain of causes, since loggers print only one.
        why: String,
    },
    /// GitLab answered with a status that is no outcome of this call.
    #[error("{call} at {host}: {message}")]
    Status {
        /// Which call.
        call: Call,
        /// Host that answered.
        host: String,
        /// HTTP status.
        status: u16,
        /// `403 Forbidden - Runner is orphaned`: GitLab's own words where it said something, else the status.
        message: String,
        /// How long the server asked to wait before the next attempt.
        wait: Option<Duration>,
        /// Where a redirect leads that was not followed.
        location: Option<String>,
    },
    /// The status was right and the body was not, e.g. HTML from a proxy.
    #[error("{call} at {host}: {why}")]
    Body {
        /// Which call.
        call: Call,
        /// Host that answered.
        host: String,
        /// What was expected and what came.
        why: String,
    },
}

impl Error {
    /// The HTTP status, where there was one that was no outcome.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// GitLab does not accept the token (401 or 403): trying again changes nothing.
    pub fn is_refused(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// Nothing was sent because URL, TLS files or this machine's TLS setup are wrong: the configuration must change.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Url { .. } | Self::TlsFile { .. } | Self::Build { .. })
    }

    /// The server is there and asks for patience: 408, 429, 500, 502, 503, 504 and from 512 on.
    ///
    /// Source: GitLab runner contract, retry layer. Transport errors are not among them; who may wait longer decides on those.
    pub fn is_retryable(&self) -> bool {
        matches!(self.status(), Some(408 | 429 | 500 | 502 | 503 | 504 | 512..))
    }

    /// Where a redirect (307, 308) leads that repeats the request and was not followed, because its body was a stream.
    pub fn moved_to(&self) -> Option<&str> {
        match self {
            Self::Status { status: 307 | 308, location, .. } => location.as_deref(),
            _ => None,
        }
    }

    /// How long the server asked to wait.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Status { wait, .. } => *wait,
            _ => None,
        }
    }
}

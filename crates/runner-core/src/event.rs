//! What flows after the job: `open`, `pod`, `log`, `stage`, `close`, then `done`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::failure::FailureReason;
use crate::job::Tls;
use crate::line::LineType;
use crate::secret::Secret;

/// The job an event belongs to: `"job":42,"host":"gitlab.example.com"`. Shown, and used as the folder's name, as `42@gitlab.example.com`.
///
/// A hand-made stream may leave `host` out; the event then belongs to the open job of that id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobKey {
    /// GitLab's job id.
    #[serde(rename = "job")]
    pub id: u64,
    /// Host (and unusual port) of the GitLab, see [`crate::host_of`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
}

impl std::fmt::Display for JobKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.id, self.host)
    }
}

/// Where a piece of log text comes from. Each source counts its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The executor's own lines: before the pod's first byte or after its last.
    Executor,
    /// What the helper in the pod printed; already masked and stamped there.
    Pod,
}

impl Source {
    /// The name on the wire, the key in [`Close::sources`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Pod => "pod",
        }
    }
}

/// `open`: what runner-trace needs to deliver a job. First event of a job, written again after a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Open {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which job.
    #[serde(flatten)]
    pub key: JobKey,
    /// GitLab's URL.
    pub url: String,
    /// The job token.
    pub token: Secret,
    /// TLS files for `url`.
    #[serde(default)]
    pub tls: Tls,
    /// Log limit in bytes.
    pub limit: u64,
    /// The payload's `features`.
    #[serde(default)]
    pub features: OpenFeatures,
    /// Values to mask in the executor's lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Secret>,
    /// Whether the job runs with `CI_DEBUG_TRACE` or `CI_DEBUG_SERVICES`; goes into every PATCH.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub debug_trace: bool,
}

/// The part of the payload's `features` that delivery needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpenFeatures {
    /// Failure reasons this GitLab knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure_reasons: Vec<String>,
    /// Prefixes of tokens to mask, besides the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_mask_prefixes: Vec<String>,
}

/// `pod`: the job's pod exists. Acknowledged (in the journal) before the job's Secret is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pod {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which job.
    #[serde(flatten)]
    pub key: JobKey,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid; a pod of the same name with another uid is another pod.
    pub uid: String,
    /// The pod never started the job and is gone; a further attempt may follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
}

/// `log`: text of one source from `offset` on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which job.
    #[serde(flatten)]
    pub key: JobKey,
    /// Whose text.
    pub source: Source,
    /// Bytes of that source's text before this piece.
    pub offset: u64,
    /// The text, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes, base64, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The job's last line, for which room is kept below the limit.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

impl Log {
    /// The bytes of this piece, or what is wrong with them.
    pub fn bytes(&self) -> Result<std::borrow::Cow<'_, [u8]>, String> {
        match (&self.text, &self.base64) {
            (Some(text), None) => Ok(text.as_bytes().into()),
            (None, Some(encoded)) => match STANDARD.decode(encoded) {
                Ok(bytes) => Ok(bytes.into()),
                Err(err) => Err(format!("`base64`: {err}")),
            },
            _ => Err("exactly one of `text` and `base64` is expected".to_owned()),
        }
    }
}

/// `stage`: the pod entered a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which job.
    #[serde(flatten)]
    pub key: JobKey,
    /// Name of the stage, e.g. `get_sources`.
    pub stage: String,
    /// When, RFC 3339.
    pub at: String,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The script, and all that had to follow it, succeeded.
    Success,
    /// It did not; see the failure reason.
    Failed,
}

impl State {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

/// `close`: the job ended and this is its result. Last event of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Close {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which job.
    #[serde(flatten)]
    pub key: JobKey,
    /// Success or failed.
    pub state: State,
    /// The script's exit code, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why, if failed; as it happened, not yet mapped to what GitLab knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<FailureReason>,
    /// Final length of each source's text in bytes. The job may be finished only when that many have arrived.
    #[serde(default)]
    pub sources: BTreeMap<String, u64>,
}

/// `done`: GitLab has accepted, or finally refused, the job's result. Written by runner-trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which job.
    #[serde(flatten)]
    pub key: JobKey,
    /// The state that was reported.
    pub state: State,
    /// The exit code that was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The reason that was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<FailureReason>,
    /// Bytes of the log GitLab has.
    pub bytes: u64,
    /// Checksum of the log, `crc32:%08x`.
    pub checksum: String,
    /// `false` if GitLab refused the job for good (canceled, erased, unknown token).
    pub accepted: bool,
}

/// `"v":1` and `"type"`, in front of every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Protocol version, 1.
    pub v: u32,
    /// Which line this is.
    #[serde(rename = "type")]
    pub kind: LineType,
}

impl Head {
    /// The head of a line of type `kind`.
    pub fn new(kind: LineType) -> Self {
        Self { v: crate::line::VERSION, kind }
    }
}

/// `hello`: first line of a live producer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
    /// Which tool speaks.
    #[serde(default)]
    pub tool: String,
    /// Whether the producer can be started again and continue: then EOF without `end` means that it was lost.
    #[serde(default)]
    pub resumable: bool,
}

impl Hello {
    /// The `hello` of a producer that can continue after a restart.
    pub fn resumable(tool: &str) -> Self {
        Self { head: Head::new(LineType::Hello), tool: tool.to_owned(), resumable: true }
    }
}

/// `end`: last line of a graceful stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct End {
    /// Protocol version and type.
    #[serde(flatten)]
    pub head: Head,
}

impl Default for End {
    fn default() -> Self {
        Self { head: Head::new(LineType::End) }
    }
}

//! The jobs of a trial: what each runs, and how it must end.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use fake_gitlab::JobSpec;
use fastrand::Rng;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Image of the service that some jobs have.
pub(crate) const SERVICE_IMAGE: &str = "service:1";

/// Name of the file that some jobs hand over.
pub(crate) const ARTIFACT: &str = "lines.txt";

/// One kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A few lines at once.
    Quick,
    /// A line every now and then.
    Long,
    /// Says nothing for most of the time.
    Quiet,
    /// 8 MB of log as fast as it goes.
    Big,
    /// Ends with this code.
    Failing(u8),
    /// Runs into the job's timeout.
    TimingOut,
    /// Is canceled so long after it was enqueued.
    Canceled(Duration),
    /// Hands over a file.
    Artifact,
    /// Has a service beside it.
    Service,
    /// Has something to say after its script.
    After,
}

/// How a job must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Success,
    Failed(u8),
    TimedOut,
    Canceled,
}

impl Shape {
    /// One of each kind.
    #[cfg(test)]
    pub(crate) fn all() -> [Self; 10] {
        let canceled = Self::Canceled(Duration::ZERO);
        [
            Self::Quick,
            Self::Long,
            Self::Quiet,
            Self::Big,
            Self::Failing(1),
            Self::TimingOut,
            canceled,
            Self::Artifact,
            Self::Service,
            Self::After,
        ]
    }

    /// Any.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.u8(0..24) {
            0..=3 => Self::Quick,
            4..=8 => Self::Long,
            9 | 10 => Self::Quiet,
            11 => Self::Big,
            12..=14 => Self::Failing(rng.u8(1..=254)),
            15 => Self::TimingOut,
            16..=18 => Self::Canceled(Duration::from_millis(rng.u64(0..3_000))),
            19..=21 => Self::Artifact,
            22 => Self::Service,
            _ => Self::After,
        }
    }

    /// The kind, for the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Long => "long",
            Self::Quiet => "quiet",
            Self::Big => "8 MB of log",
            Self::Failing(_) => "failing",
            Self::TimingOut => "timing out",
            Self::Canceled(_) => "canceled",
            Self::Artifact => "with artifact",
            Self::Service => "with service",
            Self::After => "with after_script",
        }
    }

    /// How the job ends if nothing happens to its pod.
    pub(crate) fn expected(self) -> Expected {
        match self {
            Self::Failing(code) => Expected::Failed(code),
            Self::TimingOut => Expected::TimedOut,
            Self::Canceled(_) => Expected::Canceled,
            _ => Expected::Success,
        }
    }

    /// How many lines it prints, and the seconds between two.
    fn lines(self) -> (u32, &'static str) {
        match self {
            Self::Quick => (5, "0"),
            Self::Long | Self::Failing(_) | Self::After | Self::Service => (40, "0.05"),
            Self::Quiet => (2, "1.5"),
            Self::Big => (80_000, "0"),
            Self::TimingOut | Self::Canceled(_) => (600, "0.1"),
            Self::Artifact => (100, "0.01"),
        }
    }

    /// The job `name`. Its script notes each start below `runs`, which is outside the pod.
    pub(crate) fn spec(self, name: &str, runs: &Path) -> JobSpec {
        let (count, pause) = self.lines();
        let begun = format!("echo begun >>'{}'", runs.join(name).display());
        let count = match self {
            Self::Big => {
                format!("awk 'BEGIN {{ for (n = 1; n <= {count}; n++) print \"{}\" }}'", line(name, "\" n \""))
            }
            _ => format!(
                "n=0; while [ $n -lt {count} ]; do n=$((n + 1)); echo \"{}\"; sleep {pause}; done",
                line(name, "$n")
            ),
        };
        let sum = format!("echo \"{name} sums up to $(sha256sum <{ARTIFACT})\"");
        let mut spec = JobSpec::script([begun, format!("{{ {count}; }} | tee {ARTIFACT}"), sum]).name(name);
        match self {
            Self::Failing(code) => spec.script.push(format!("exit {code}")),
            Self::TimingOut => spec = spec.timeout(2),
            Self::Artifact => {
                spec = spec.artifact(json!({
                    "name": name, "untracked": false, "paths": [ARTIFACT], "when": "always", "expire_in": "1 day",
                    "artifact_type": "archive", "artifact_format": "zip",
                }));
            }
            Self::Service => {
                spec = spec.payload(json!({"services": [{"name": SERVICE_IMAGE, "alias": "side"}]}));
            }
            Self::After => spec = spec.after_script([format!("echo {name} comes after $CI_JOB_STATUS")]),
            _ => {}
        }
        spec
    }

    /// What the script prints if it comes to its end: its lines, and their sum.
    pub(crate) fn text(self, name: &str) -> (String, String) {
        let (count, _) = self.lines();
        let mut lines = String::new();
        for n in 1..=count {
            let _ = writeln!(lines, "{}", line(name, &n.to_string()));
        }
        let mut sum = format!("{name} sums up to ");
        for byte in Sha256::digest(&lines) {
            let _ = write!(sum, "{byte:02x}");
        }
        (lines, sum)
    }
}

/// How a job's numbered lines begin.
pub(crate) fn prefix(name: &str) -> String {
    format!("{name} line ")
}

/// Some characters have more than one byte, so that a cut in the middle of one would show.
fn line(name: &str, n: &str) -> String {
    format!("{}{n} — the quick brown fox jumps over the läzy dog and on to the next one €", prefix(name))
}

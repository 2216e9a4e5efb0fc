//! What crosses a pipe or lies in a file: the lines between the tools, the frames between pod and executor, the job as GitLab
//! sends it, its variables, masking, globs and `config.toml`. No I/O, no async, no clock: time is an argument.
//!
//! Rules of the protocol: one JSON object per line with `"v":1` and `"type"`; unknown types and unknown fields are passed on;
//! secrets travel in lines, never in argv or the environment.

pub mod config;
pub mod control;
pub mod duration;
pub mod event;
pub mod failure;
pub mod flags;
pub mod frame;
pub mod glob;
pub mod inputs;
pub mod job;
pub mod job_variables;
pub mod line;
pub mod mask;
mod mask_forms;
pub mod project_folder;
pub mod secret;
pub mod shell;
pub mod stamp;
pub mod text;
pub mod variables;

/// The name under which GitLab knows this kind of runner.
pub const RUNNER_NAME: &str = "gitlab-runner";
/// The GitLab Runner version whose behaviour the tools follow; sent to GitLab and exported as `CI_RUNNER_VERSION`.
pub const COMPATIBLE_VERSION: &str = "19.4.0";
/// What stands where GitLab Runner puts its commit: our own name and version.
pub const REVISION: &str = concat!("runner-tools-", env!("CARGO_PKG_VERSION"));

/// The host part of a job's key: host and, if it is not the scheme's own, port of the GitLab at `url`.
///
/// Job ids are unique per GitLab only, so a job is named `<id>@<host>` wherever several GitLabs can meet.
pub fn host_of(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(url) => match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => String::new(),
        },
        Err(_) => String::new(), // a URL without host has no jobs; the caller reports the bad URL where it is read
    }
}

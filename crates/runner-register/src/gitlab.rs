//! What an error of GitLab's means for the exit code.

use runner_cli::exit::Exit;
use runner_gitlab::Error;

/// 77 if the token was refused, 78 if the configuration must change, 69 if GitLab cannot be used just now.
pub(crate) fn exit_of(err: &Error) -> Exit {
    match err.status() {
        _ if err.is_configuration() => Exit::Config,
        // 410: registration tokens are switched off
        Some(401 | 403 | 410) => Exit::Refused,
        // GitLab does not accept a setting
        Some(400 | 422) => Exit::Config,
        _ => Exit::Unavailable,
    }
}

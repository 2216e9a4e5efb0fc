//! Copies the running program to where the build container finds it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{HelperError, doing};

/// Copies this program to `to`. It appears there whole and executable or not at all, because the build container waits for it.
pub(crate) fn install(to: &Path) -> Result<(), HelperError> {
    let temporary = to.with_extension("part");
    let what = || format!("copy the helper to `{}`", to.display());
    fs::copy("/proc/self/exe", &temporary).map_err(doing(what()))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).map_err(doing(what()))?;
    fs::rename(&temporary, to).map_err(doing(what()))
}

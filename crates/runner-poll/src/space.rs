//! Whether the state directory can take one more job: asked before GitLab is, because a job that was given cannot be given back.

use std::io;
use std::path::Path;

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

/// Less free space than a job line and the start of its journal may need.
const LEAST_BYTES: u64 = 4 * 1024 * 1024;

/// Looks at `dir` without writing.
pub(crate) fn check(dir: &Path) -> io::Result<()> {
    let fs = statvfs(dir)?;
    if fs.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(io::ErrorKind::ReadOnlyFilesystem.into());
    }
    access(dir, Access::WRITE_OK | Access::EXEC_OK)?;
    // A file system that counts no inodes has 0 of 0.
    if fs.f_bavail.saturating_mul(fs.f_frsize) < LEAST_BYTES || (fs.f_files > 0 && fs.f_favail == 0) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_folder_is_fine_and_one_that_cannot_hold_files_is_not() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        check(Path::new("/proc/self")).unwrap_err();
        check(&dir.path().join("none")).unwrap_err();
    }
}

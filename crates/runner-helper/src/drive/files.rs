//! Files and folders of the job, with errors that name them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::failure::Failure;

/// Makes a folder and those above it.
pub(crate) fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|err| Failure::system(format!("create `{}`: {err}", folder.display())))
}

/// Writes a whole file.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|err| Failure::system(format!("write `{}`: {err}", file.display())))
}

/// Deletes a file if it is there.
pub(crate) fn remove_file(file: &Path) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(err) if !matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Failure::system(format!("delete `{}`: {err}", file.display())))
        }
        _ => Ok(()),
    }
}

/// Deletes a folder with all that is in it, also where a script has taken away the right to.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Failure> {
    if !folder.is_dir() {
        return Ok(());
    }
    if fs::remove_dir_all(folder).is_ok() {
        return Ok(());
    }
    open_up(folder);
    fs::remove_dir_all(folder).map_err(|err| Failure::system(format!("delete `{}`: {err}", folder.display())))
}

/// Gives the right to delete what is in `folder` back; what fails here the deletion will tell.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Gives all below `folder` to another user; links themselves, never what they point at.
pub(crate) fn give(folder: &Path, owner: Owner) -> Result<(), Failure> {
    use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
    let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.map_err(|err| Failure::system(format!("change the owner: {err}")))?;
        let path = entry.path();
        chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|err| Failure::system(format!("change the owner of `{}`: {err}", path.display())))?;
    }
    Ok(())
}

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j409_a_folder_is_deleted_even_where_the_right_was_taken_away() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        for folder in [&folder, folder.parent().unwrap()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_folder(&root.path().join("a")).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        remove_folder(&root.path().join("a")).unwrap();
        remove_file(&root.path().join("none")).unwrap();
        remove_file(&root.path().join("none/below")).unwrap();
    }
}

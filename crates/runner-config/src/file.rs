//! `config.toml` on the disk: read and replaced under a lock, whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What went wrong; names the path.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The file, locked against other edits until dropped.
#[derive(Debug)]
pub struct Locked {
    /// Where the file really is, behind symbolic links.
    path: PathBuf,
    _lock: File,
}

impl Locked {
    /// Locks the file at `path`, which need not exist yet; waits, and says so, while another edit goes on.
    ///
    /// The lock lies beside the file, because the file itself is replaced.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        make_folder(path)?;
        let path = match fs::canonicalize(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && !path.is_symlink() => path.to_owned(),
            real => real.map_err(failed("opening", path))?,
        };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let lock_path = path.with_file_name(name);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(failed("opening", &lock_path))?;
        let locked = match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                tracing::info!("{}: waiting for another program that edits it", path.display());
                lock.lock()
            }
            Err(TryLockError::Error(err)) => Err(err),
            Ok(()) => Ok(()),
        };
        locked.map_err(failed("locking", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The text; empty if the file does not exist.
    pub fn read(&self) -> Result<String, FileError> {
        read(&self.path)
    }

    /// Does all of [`Locked::write`] but the last step: an error now is one that it would have met.
    pub fn rehearse(&self, text: &str) -> Result<(), FileError> {
        prepare(&self.path, text.as_bytes()).map(drop).map_err(failed("writing", &self.path))
    }

    /// Replaces the text; durable when it returns. Mode and owner stay; a new file is for its owner alone.
    pub fn write(&self, text: &str) -> Result<(), FileError> {
        replace(&self.path, text.as_bytes()).map_err(failed("writing", &self.path))
    }
}

/// Makes the folder for the file at `path`, for its owner alone, if it is not there.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    let dir = folder(path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("creating", dir))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The text of the file at `path`; empty if it does not exist.
pub fn read(path: &Path) -> Result<String, FileError> {
    match fs::read_to_string(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(failed("reading", path)),
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { doing, path: path.to_owned(), source }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let New { file, same_owner } = prepare(path, bytes)?;
    if !same_owner {
        return overwrite(path, bytes);
    }
    match file.persist(path) {
        Ok(_) => File::open(folder(path))?.sync_all(),
        // A file that is mounted by itself, as in a container, cannot be replaced. The copy stays until the text is written.
        Err(err) if err.error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => overwrite(path, bytes),
        Err(err) => Err(err.error),
    }
}

/// A file beside the old one, complete and durable; gone again when dropped.
struct New {
    file: tempfile::NamedTempFile,
    /// Else the old one must be written over, so that its owner stays.
    same_owner: bool,
}

fn prepare(path: &Path, bytes: &[u8]) -> io::Result<New> {
    let mut new = tempfile::Builder::new().prefix(".config.toml.").tempfile_in(folder(path))?; // mode 0600
    new.write_all(bytes)?;
    let same_owner = match fs::metadata(path) {
        Ok(old) => {
            new.as_file().set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            keep_owner(new.as_file(), &old)?
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => true,
        Err(err) => return Err(err),
    };
    new.as_file().sync_all()?;
    Ok(New { file: new, same_owner })
}

/// Gives `new` the owner of `old`; `false` if that is not allowed.
fn keep_owner(new: &File, old: &fs::Metadata) -> io::Result<bool> {
    let ours = new.metadata()?;
    if (ours.uid(), ours.gid()) == (old.uid(), old.gid()) {
        return Ok(true);
    }
    match std::os::unix::fs::fchown(new, Some(old.uid()), Some(old.gid())) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(err) => Err(err),
    }
}

fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn g04_a_new_file_and_its_folder_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.toml");
        let file = Locked::open(&path).unwrap();
        assert_eq!(file.read().unwrap(), "");
        file.write("a = 1\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 1\n");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn g04_mode_and_symbolic_link_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.toml"), dir.path().join("config.toml"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        Locked::open(&link).unwrap().write("new").unwrap();
        assert!(link.is_symlink());
        assert_eq!((fs::read_to_string(&real).unwrap(), mode(&real)), ("new".to_owned(), 0o640));
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn g04_the_owner_stays_where_we_may_give_files_away() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        Locked::open(&path).unwrap().write("new").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1234, 4321));
    }

    #[test]
    fn a_link_to_nothing_is_told_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::os::unix::fs::symlink("none", &path).unwrap();
        let error = Locked::open(&path).unwrap_err().to_string();
        assert!(error.starts_with("opening ") && error.contains("config.toml"), "{error}");
    }

    #[test]
    fn edits_at_one_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let file = Locked::open(&path).unwrap();
                    let text = file.read().unwrap();
                    file.write(&format!("{text}x")).unwrap();
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "xxxxxxxx");
    }
}

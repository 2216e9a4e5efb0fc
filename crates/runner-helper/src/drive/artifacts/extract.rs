//! Unpacks a zip archive into a folder, and nowhere else.
//!
//! A path that leaves the folder is refused, by its text or by a link that is there already; links are made after all files, so
//! that none of the archive's own can redirect a write.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zip::ZipArchive;
use zip::read::ZipFile;

/// What an archive is by its first bytes.
fn check_format(file: &mut (impl Read + Seek)) -> io::Result<()> {
    let mut start = [0; 4];
    let n = file.read(&mut start)?;
    file.rewind()?;
    match &start[..n] {
        [b'P', b'K', ..] => Ok(()),
        [0x28, 0xb5, 0x2f, 0xfd] => Err(io::Error::other("archives of format tar.zst are not supported")),
        [0x1f, 0x8b, ..] => Err(io::Error::other("a gzip file is no archive")),
        _ => Err(io::Error::other("not a zip archive")),
    }
}

/// Unpacks `archive` into `root`. What is there already is replaced.
pub(crate) fn extract(mut archive: File, root: &Path) -> io::Result<()> {
    check_format(&mut archive)?;
    let mut zip = ZipArchive::new(archive)?;
    let root = root.canonicalize()?;
    let mut links = Vec::new();
    let mut folders = Vec::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i)?;
        let Some(path) = entry.enclosed_name().filter(|path| is_plain(path)) else {
            let name = String::from_utf8_lossy(entry.name_raw());
            return Err(io::Error::other(format!("`{name}` leads out of the project directory")));
        };
        if path.as_os_str().is_empty() {
            continue; // the folder itself
        }
        if entry.is_dir() {
            folder_within(&root, &path)?;
            folders.push((root.join(&path), entry.unix_mode(), modified(&entry)));
        } else if entry.is_symlink() {
            let mut target = String::new();
            entry.read_to_string(&mut target)?;
            links.push((path, target));
        } else if entry.unix_mode().is_none_or(|mode| matches!(mode & 0o170_000, 0 | 0o100_000)) {
            file(&root, &path, &mut entry).map_err(|err| named(&path, &err))?;
        }
    }
    for (path, target) in links {
        let whole = place(&root, &path)?;
        symlink(&target, &whole).map_err(|err| named(&path, &err))?;
    }
    // Innermost first: a folder without the right to write in it must be complete.
    for (folder, mode, modified) in folders.into_iter().rev() {
        if let Some(mode) = mode {
            fs::set_permissions(&folder, Permissions::from_mode(mode & 0o7777))?;
        }
        if let (Some(time), Ok(folder)) = (modified, File::open(&folder)) {
            let _ = folder.set_modified(time); // of little use in a folder; not worth a failure
        }
    }
    Ok(())
}

fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn file(root: &Path, path: &Path, entry: &mut ZipFile<'_, File>) -> io::Result<()> {
    let whole = place(root, path)?;
    let mode = entry.unix_mode().unwrap_or(0o644) & 0o7777;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&whole)?;
    io::copy(entry, &mut file)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Some(time) = modified(entry) {
        file.set_modified(time)?;
    }
    Ok(())
}

/// Makes room for a file or link at `path`: its folder is there, it itself is not.
fn place(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let folder = folder_within(root, path.parent().unwrap_or(Path::new("")))?;
    let whole = folder.join(path.file_name().unwrap_or_default());
    match whole.symlink_metadata() {
        Ok(there) if there.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "a folder is in its place")),
        Ok(_) => fs::remove_file(&whole).map(|()| whole),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(whole),
        Err(err) => Err(err),
    }
}

/// Makes the folder `path` below `root`; a link on the way must lead to a place below `root`.
fn folder_within(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut folder = root.to_owned();
    for part in path.components() {
        folder.push(part);
        match folder.symlink_metadata() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => fs::create_dir(&folder)?,
            Err(err) => return Err(named(path, &err)),
            Ok(there) if there.is_dir() => {}
            Ok(there) if there.is_symlink() => {
                folder = folder.canonicalize().map_err(|err| named(path, &err))?;
                if !folder.starts_with(root) {
                    let text = format!("`{}` leads out of the project directory", path.display());
                    return Err(io::Error::other(text));
                }
            }
            Ok(_) => return Err(named(path, &io::Error::from(io::ErrorKind::NotADirectory))),
        }
    }
    Ok(folder)
}

/// The time in the extra field, which unlike the entry's own has a time zone.
fn modified(entry: &ZipFile<'_, File>) -> Option<SystemTime> {
    let extra = entry.extra_data()?;
    let mut rest = extra.as_slice();
    while let [a, b, c, d, after @ ..] = rest {
        let (id, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let field = after.get(..len)?;
        if let (0x5455, [flags, time @ ..]) = (id, field) {
            let seconds: [u8; 4] = time.get(..4)?.try_into().ok()?;
            let seconds = u32::from_le_bytes(seconds);
            return (flags & 1 == 1).then(|| UNIX_EPOCH + Duration::from_secs(u64::from(seconds)));
        }
        rest = &after[len..];
    }
    None
}

fn named(path: &Path, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("`{}`: {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::super::archive::{Format, Level, write};
    use super::*;

    fn zip(entries: &[(&str, &str)]) -> File {
        let mut zip = ZipWriter::new(tempfile::tempfile().unwrap());
        for (name, content) in entries {
            match name.strip_suffix('@') {
                Some(link) => zip.add_symlink(link, *content, SimpleFileOptions::default()).unwrap(),
                None => {
                    zip.start_file(*name, SimpleFileOptions::default()).unwrap();
                    zip.write_all(content.as_bytes()).unwrap();
                }
            }
        }
        let mut file = zip.finish().unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn an_archive_comes_back_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| from.path().join(name);
        fs::create_dir_all(at("out/empty")).unwrap();
        fs::create_dir_all(at("out/locked")).unwrap();
        fs::write(at("out/locked/x ü.txt"), "x").unwrap();
        fs::write(at("out/run.sh"), "#!/bin/sh").unwrap();
        fs::set_permissions(at("out/run.sh"), Permissions::from_mode(0o751)).unwrap();
        File::options()
            .write(true)
            .open(at("out/run.sh"))
            .unwrap()
            .set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_001))
            .unwrap();
        fs::set_permissions(at("out/locked"), Permissions::from_mode(0o555)).unwrap();
        symlink("run.sh", at("out/link")).unwrap();
        let paths: BTreeSet<PathBuf> =
            ["out", "out/empty", "out/locked", "out/locked/x ü.txt", "out/run.sh", "out/link", "out/gone"]
                .map(PathBuf::from)
                .into();
        for level in ["default", "fastest", "slowest"] {
            let mut file = tempfile::tempfile().unwrap();
            write(from.path(), &paths, Format::Zip, Level::parse(level).unwrap(), &mut file).unwrap();
            file.rewind().unwrap();
            let to = to.path().join(level);
            fs::create_dir(&to).unwrap();
            extract(file, &to).unwrap();
            assert_eq!(fs::read_to_string(to.join("out/locked/x ü.txt")).unwrap(), "x");
            assert_eq!(fs::read_link(to.join("out/link")).unwrap(), Path::new("run.sh"));
            let metadata = fs::metadata(to.join("out/run.sh")).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o751);
            assert_eq!(metadata.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(1_000_000_001));
            assert!(to.join("out/empty").is_dir() && !to.join("out/gone").exists());
            assert_eq!(fs::metadata(to.join("out/locked")).unwrap().permissions().mode() & 0o777, 0o555);
            fs::set_permissions(to.join("out/locked"), Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(at("out/locked"), Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn nothing_is_written_outside() {
        let outside = tempfile::tempdir().unwrap();
        let there = outside.path().to_str().unwrap();
        for entries in [
            &[("../evil", "x")][..],
            &[("a/../../evil", "x")],
            &[("present/evil", "x")],
            &[("present/deep/evil", "x")],
            &[("own@", there), ("own/evil", "x")],
        ] {
            let root = tempfile::tempdir().unwrap();
            symlink(outside.path(), root.path().join("present")).unwrap();
            let result = extract(zip(entries), root.path());
            assert!(result.is_err() || root.path().join("own/evil").exists(), "{entries:?}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{entries:?}");
        }
    }

    #[test]
    fn what_is_there_is_replaced_and_a_link_not_written_through() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "kept").unwrap();
        symlink(outside.path(), root.path().join("a")).unwrap();
        fs::write(root.path().join("b"), "old and longer").unwrap();
        extract(zip(&[("a", "new"), ("b", "new")]), root.path()).unwrap();
        assert_eq!(fs::read_to_string(outside.path()).unwrap(), "kept");
        assert_eq!(fs::read_to_string(root.path().join("a")).unwrap(), "new");
        assert_eq!(fs::read_to_string(root.path().join("b")).unwrap(), "new");
    }

    #[test]
    fn other_formats_are_named() {
        for (bytes, what) in
            [(&b"\x1f\x8b\x08\0"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "tar.zst"), (b"<htm", "not a zip")]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            let err = extract(file, Path::new(".")).unwrap_err().to_string();
            assert!(err.contains(what), "{err}");
        }
    }
}

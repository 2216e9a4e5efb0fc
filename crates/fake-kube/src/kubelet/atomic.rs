//! A folder of files that changes as a whole, the way the kubelet writes secret and
//! downward API volumes: files are links into `..data`, and `..data` is a link that is swapped.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::{fs, io::Write};

use crate::clock;

/// A file of the volume: content and permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

/// What a volume should hold, by path relative to it.
pub(crate) type Files = BTreeMap<String, File>;

/// Makes `folder` hold exactly `files`; a reader sees the old set or the new one, never a mix.
pub(crate) fn write(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let stamp = clock::now_nanos().replace([':', '-', 'T'], "_");
    let version = format!("..{}", stamp.trim_end_matches('Z'));
    let data = folder.join(&version);
    for (path, file) in files {
        let target = data.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(file.mode | 0o200);
        let mut opened = options.open(&target)?;
        opened.write_all(&file.content)?;
        // After the write: the mode may not allow writing, and the umask must not matter.
        opened.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(file.mode))?;
    }
    fs::create_dir_all(&data)?;
    let (new_link, link) = (folder.join("..data_tmp"), folder.join("..data"));
    let old = fs::read_link(&link).ok();
    symlink(&version, &new_link)?;
    fs::rename(&new_link, &link)?;
    for top in files.keys().filter_map(|path| path.split('/').next()) {
        let visible = folder.join(top);
        if visible.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(top), visible)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let wanted = files.keys().any(|path| path.split('/').next() == Some(&name));
        if !name.starts_with("..") && !wanted {
            fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let file = |content: &str| File { content: content.into(), mode: 0o440 };
        pairs.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    #[test]
    fn the_folder_holds_exactly_the_last_set() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files(&[("a", "1"), ("b/c", "2")])).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("b/c")).unwrap(), "2");
        write(folder.path(), &files(&[("a", "3"), ("d", "4")])).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "3");
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("..2"))
            .collect();
        names.sort();
        assert_eq!(names, ["..data", "a", "d"]);
    }

    #[test]
    fn an_empty_set_is_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &Files::new()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("..data")).unwrap().count(), 0);
    }
}

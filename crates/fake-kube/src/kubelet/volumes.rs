//! A pod's volumes as folders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use super::atomic::{self, Files};
use super::sources;
use crate::json::{list, text};
use crate::store::Store;

/// The volumes of one pod.
#[derive(Debug)]
pub(crate) struct Volumes {
    /// `<pod folder>/v`.
    folder: PathBuf,
    /// What the kubelet last wrote, so that an unchanged volume is not swapped.
    written: HashMap<String, Files>,
}

impl Volumes {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, written: HashMap::new() }
    }

    /// Makes every volume current. `Err` is a message like the kubelet's `FailedMount` event.
    pub(crate) fn refresh(&mut self, store: &Store, pod: &Value) -> Result<(), String> {
        for volume in list(pod, "/spec/volumes") {
            let name = text(volume, "/name");
            self.set_up(store, pod, volume, name)
                .map_err(|why| format!("MountVolume.SetUp failed for volume \"{name}\" : {why}"))?;
        }
        Ok(())
    }

    fn set_up(&mut self, store: &Store, pod: &Value, volume: &Value, name: &str) -> Result<(), String> {
        let io = |error: io::Error| error.to_string();
        let Some(files) = sources::files(store, pod, volume) else {
            return fs::create_dir_all(self.path(volume)).map_err(io);
        };
        let files = files?;
        if self.written.get(name) != Some(&files) {
            atomic::write(&self.path(volume), &files).map_err(io)?;
            self.written.insert(name.to_owned(), files);
        }
        Ok(())
    }

    /// The folder that is this volume.
    pub(crate) fn path(&self, volume: &Value) -> PathBuf {
        match text(volume, "/hostPath/path") {
            "" => self.folder.join(text(volume, "/name")),
            host => PathBuf::from(host),
        }
    }

    /// The folder behind each `volumeMount` of a container: (mount path, folder).
    pub(crate) fn mounts(&self, pod: &Value, container: &Value) -> io::Result<Vec<(String, PathBuf)>> {
        let mut mounts = Vec::new();
        for mount in list(container, "/volumeMounts") {
            let volumes = list(pod, "/spec/volumes");
            let volume = volumes.iter().find(|v| text(v, "/name") == text(mount, "/name"));
            let Some(volume) = volume else {
                continue; // validation refused such a pod
            };
            let mut folder = self.path(volume);
            let sub_path = text(mount, "/subPath");
            if !sub_path.is_empty() {
                folder = folder.join(sub_path);
                if !folder.exists() {
                    fs::create_dir_all(&folder)?;
                }
            }
            mounts.push((text(mount, "/mountPath").to_owned(), folder));
        }
        mounts.sort();
        nest(&mounts);
        Ok(mounts)
    }
}

/// A mount inside another one is seen inside the outer folder as a link. `mounts` is sorted, so an
/// outer mount comes before what is nested in it.
fn nest(mounts: &[(String, PathBuf)]) {
    for (path, folder) in mounts {
        let outer = mounts.iter().rev().find_map(|(outer, outer_folder)| {
            let inner = path.strip_prefix(outer.trim_end_matches('/'))?.strip_prefix('/')?;
            (!inner.is_empty() && outer_folder != folder).then(|| outer_folder.join(inner))
        });
        if let Some(link) = outer {
            link_to(&link, folder);
        }
    }
}

/// Best effort: something that already stands there (a second container's link) is left alone.
fn link_to(link: &Path, folder: &Path) {
    if let Some(parent) = link.parent()
        && fs::create_dir_all(parent).is_ok()
    {
        let _ = std::os::unix::fs::symlink(folder, link);
    }
}

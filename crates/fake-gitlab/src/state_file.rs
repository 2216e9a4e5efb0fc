//! The state file: finished jobs as JSON, replaced as a whole after each of them.

use std::io::Write;
use std::path::{Path, PathBuf};

use fake_gitlab::{Error, FakeGitlab};
use serde_json::json;

/// Writes the file whenever a job has finished; ends only with an error.
pub(crate) async fn keep(gitlab: &FakeGitlab, path: &Path) -> Result<(), Error> {
    let mut seen = 0;
    write(gitlab, path)?;
    loop {
        let new = gitlab.wait_events(seen).await;
        seen += new.len();
        if new.iter().any(|event| event.job.status.is_finished()) {
            write(gitlab, path)?;
        }
    }
}

/// Replaces the file.
pub(crate) fn write(gitlab: &FakeGitlab, path: &Path) -> Result<(), Error> {
    let finished: Vec<_> = gitlab.jobs().into_iter().filter(|job| job.status.is_finished()).collect();
    let content = json!({ "url": gitlab.url(), "jobs": finished });
    let text = format!("{content:#}\n");
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let replace = || {
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    replace().map_err(|source| Error::File { action: "write", path: path.to_owned(), source })
}

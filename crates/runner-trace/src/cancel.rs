//! Passes on that GitLab wants a job to stop: the file `cancel` in its folder.

use runner_cli::state::JobDir;
use runner_core::control::Cancel;

/// A job's `cancel` file. Each level is written once, and none over a higher one, whoever wrote that.
#[derive(Debug)]
pub(crate) struct CancelFile {
    folder: Option<JobDir>,
    told: Option<Cancel>,
}

impl CancelFile {
    /// For a job that may have no folder; then there is nobody to tell.
    pub(crate) fn new(folder: Option<JobDir>) -> Self {
        Self { folder, told: None }
    }

    /// Sees to it that the file says at least `cancel`.
    pub(crate) fn raise(&mut self, cancel: Cancel) {
        if self.told >= Some(cancel) {
            return;
        }
        self.told = Some(cancel);
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.exists()) else { return };
        let written = match folder.cancel() {
            Ok(there) if there >= Some(cancel) => Ok(()),
            _ => folder.set_cancel(cancel),
        };
        match written {
            Ok(()) => tracing::info!("job {}: GitLab says {}", folder.key(), cancel.as_str()),
            Err(err) => {
                tracing::error!("job {}: {err}", folder.key());
                self.told = None; // the next answer from GitLab tries again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runner_cli::state::StateDir;
    use runner_core::event::JobKey;

    use super::*;

    #[test]
    fn the_file_only_ever_rises() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state"), "test").unwrap();
        let job = state.create_job(&JobKey { id: 1, host: "h".into() }, b"{}").unwrap();
        let mut file = CancelFile::new(Some(job.clone()));
        file.raise(Cancel::Canceling);
        assert_eq!(job.cancel().unwrap(), Some(Cancel::Canceling));
        file.raise(Cancel::Canceled);
        file.raise(Cancel::Canceling);
        assert_eq!(job.cancel().unwrap(), Some(Cancel::Canceled));
        CancelFile::new(Some(job.clone())).raise(Cancel::Canceling);
        assert_eq!(job.cancel().unwrap(), Some(Cancel::Canceled));
    }

    #[test]
    fn each_level_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state"), "test").unwrap();
        let job = state.create_job(&JobKey { id: 1, host: "h".into() }, b"{}").unwrap();
        let mut file = CancelFile::new(Some(job.clone()));
        file.raise(Cancel::Canceling);
        std::fs::remove_file(job.path().join("cancel")).unwrap();
        file.raise(Cancel::Canceling);
        assert_eq!(job.cancel().unwrap(), None);
    }
}

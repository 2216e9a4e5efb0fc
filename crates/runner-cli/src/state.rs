//! The state directory: one folder per running job, made of plain files.
//!
//! ```text
//! <tool>.lock              held by the one process of that tool that uses this directory
//! jobs/<id>@<host>/        its existence is the slot
//!     job.json             the job line; durable before the job is accepted and printed
//!     events.ndjson        runner-trace's journal
//!     cancel               made by runner-trace or by a person: `canceling` (or empty) or `canceled`
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use runner_core::control::Cancel;
use runner_core::event::JobKey;

/// What went wrong with the state directory; names the path.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder could not be used.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, e.g. `creating`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process of the tool uses it.
    #[error("{}: another {tool} uses this state directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The tool.
        tool: String,
    },
    /// Others than the owner could read or change it.
    #[error("{}: belongs to another user or is open to others (mode {mode:o}); expected our own folder of mode 700", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is no default place.
    #[error("no state directory: give --state-dir, or set RUNNER_STATE_DIR, XDG_STATE_HOME or HOME")]
    NoDefault,
}

type Result<T> = std::result::Result<T, StateError>;

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |source| StateError::Io { doing, path: path.to_owned(), source }
}

/// Where the state directory is if nobody says: `/var/lib/runner-tools` for root, else below the user's state home.
pub fn default_path() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/runner-tools"));
    }
    let dir = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let home = dir("XDG_STATE_HOME").or_else(|| Some(dir("HOME")?.join(".local/state")));
    home.map(|home| home.join("runner-tools")).ok_or(StateError::NoDefault)
}

/// An open state directory. Holds the tool's lock until dropped.
#[derive(Debug)]
pub struct StateDir {
    jobs: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Opens, and if needed makes, the directory at `path` for `tool`.
    pub fn open(path: &Path, tool: &str) -> Result<Self> {
        make_private(path)?;
        let path = path.canonicalize().map_err(failed("opening", path))?;
        let jobs = path.join("jobs");
        make_private(&jobs)?;
        let lock_path = path.join(format!("{tool}.lock"));
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(failed("opening", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { jobs, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked { path, tool: tool.to_owned() }),
            Err(TryLockError::Error(err)) => Err(failed("locking", &lock_path)(err)),
        }
    }

    /// The folder that holds the jobs' folders; watch it to learn of freed slots.
    pub fn jobs_path(&self) -> &Path {
        &self.jobs
    }

    /// The folder of the job `key`, whether it exists or not.
    pub fn job(&self, key: &JobKey) -> JobDir {
        JobDir { path: self.jobs.join(key.to_string()), key: key.clone() }
    }

    /// The folders of all running jobs, oldest id first. Other entries are left out.
    pub fn jobs(&self) -> Result<Vec<JobDir>> {
        let mut jobs = Vec::new();
        for entry in self.jobs.read_dir().map_err(failed("reading", &self.jobs))? {
            let entry = entry.map_err(failed("reading", &self.jobs))?;
            if let Some(key) = entry.file_name().to_str().and_then(parse_key) {
                jobs.push(self.job(&key));
            }
        }
        jobs.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(jobs)
    }

    /// Makes the job's folder with `line`, its job line, inside; durable when it returns. The folder appears whole or not at all.
    pub fn create_job(&self, key: &JobKey, line: &[u8]) -> Result<JobDir> {
        let job = self.job(key);
        let new = self.jobs.join(format!(".new-{key}"));
        let made = self.create_as(&new, &job, line);
        if made.is_err() {
            // Half of it is in nobody's way but the disk's; the first error is the one to tell.
            let _ = remove_dir(&new);
        }
        made.map(|()| job)
    }

    fn create_as(&self, new: &Path, job: &JobDir, line: &[u8]) -> Result<()> {
        remove_dir(new)?;
        DirBuilder::new().mode(0o700).create(new).map_err(failed("creating", new))?;
        let file = new.join("job.json");
        write_synced(&file, line).map_err(failed("writing", &file))?;
        sync_dir(new)?;
        std::fs::rename(new, &job.path).map_err(failed("creating", &job.path))?;
        sync_dir(&self.jobs).inspect_err(|_| {
            // An error means that there is no such job; the caller then cleans up what is called new.
            let _ = std::fs::rename(&job.path, new);
        })
    }

    /// Removes the job's folder and with it frees the slot. A folder that is gone already is no error.
    pub fn remove_job(&self, key: &JobKey) -> Result<()> {
        let job = self.job(key);
        let gone = self.jobs.join(format!(".gone-{key}"));
        remove_dir(&gone)?;
        match std::fs::rename(&job.path, &gone) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(failed("removing", &job.path)(err)),
        }
        sync_dir(&self.jobs)?;
        remove_dir(&gone)
    }

    /// Clears what an interrupted [`StateDir::create_job`] (`Leftover::New`) or [`StateDir::remove_job`] left; for the one tool that calls it.
    pub fn sweep(&self, what: Leftover) -> Result<()> {
        let prefix = match what {
            Leftover::New => ".new-",
            Leftover::Gone => ".gone-",
        };
        for entry in self.jobs.read_dir().map_err(failed("reading", &self.jobs))? {
            let entry = entry.map_err(failed("reading", &self.jobs))?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Which half-done step [`StateDir::sweep`] clears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// A job that was never accepted.
    New,
    /// A job that was finished.
    Gone,
}

/// One job's folder; it may not exist (a job that was read from a file has none).
#[derive(Debug, Clone)]
pub struct JobDir {
    key: JobKey,
    path: PathBuf,
}

impl JobDir {
    /// The job.
    pub fn key(&self) -> &JobKey {
        &self.key
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// `events.ndjson`.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("events.ndjson")
    }

    /// The job line as it was stored.
    pub fn read_job(&self) -> Result<String> {
        let path = self.path.join("job.json");
        std::fs::read_to_string(&path).map_err(failed("reading", &path))
    }

    /// How the job is to be stopped, if somebody said so.
    pub fn cancel(&self) -> Result<Option<Cancel>> {
        let path = self.path.join("cancel");
        match std::fs::read_to_string(&path) {
            Ok(word) => Ok(Some(Cancel::parse(&word))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(failed("reading", &path)(err)),
        }
    }

    /// Asks for the job to be stopped: makes the file `cancel`, whole at once.
    pub fn set_cancel(&self, cancel: Cancel) -> Result<()> {
        let (path, new) = (self.path.join("cancel"), self.path.join(".cancel.new"));
        write_synced(&new, cancel.as_str().as_bytes()).map_err(failed("writing", &new))?;
        std::fs::rename(&new, &path).map_err(failed("writing", &path))
    }
}

fn parse_key(name: &str) -> Option<JobKey> {
    let (id, host) = name.split_once('@')?;
    Some(JobKey { id: id.parse().ok()?, host: host.to_owned() })
}

/// Makes the folder with mode 0700, or checks that it is ours alone.
fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("creating", path))?;
    let meta = std::fs::metadata(path).map_err(failed("opening", path))?;
    let mode = meta.permissions().mode() & 0o7777;
    if meta.uid() != rustix::process::geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(StateError::Unsafe { path: path.to_owned(), mode });
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed("writing", path))
}

fn remove_dir(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(err)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> StateDir {
        StateDir::open(&dir.join("state"), "runner-poll").unwrap()
    }

    fn key(id: u64) -> JobKey {
        JobKey { id, host: "gitlab.example.com:8080".to_owned() }
    }

    #[test]
    fn a_job_appears_whole_and_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        let job = state.create_job(&key(42), b"{}\n").unwrap();
        assert_eq!(job.read_job().unwrap(), "{}\n");
        assert_eq!(state.jobs().unwrap().iter().map(|j| j.key().clone()).collect::<Vec<_>>(), [key(42)]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(job.path()), mode(&job.path().join("job.json"))), (0o700, 0o600));
        state.remove_job(&key(42)).unwrap();
        state.remove_job(&key(42)).unwrap();
        assert!(!job.exists() && state.jobs_path().read_dir().unwrap().next().is_none());
    }

    #[test]
    fn one_process_of_a_tool_uses_it_and_another_tool_may() {
        let dir = tempfile::tempdir().unwrap();
        let _held = open(dir.path());
        let path = dir.path().join("state");
        assert!(matches!(StateDir::open(&path, "runner-poll"), Err(StateError::Locked { .. })));
        assert!(StateDir::open(&path, "runner-trace").is_ok());
    }

    #[test]
    fn a_folder_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let err = StateDir::open(&path, "runner-poll").unwrap_err().to_string();
        assert!(err.contains("mode 755"), "{err}");
    }

    #[test]
    fn leftovers_are_no_jobs_and_can_be_swept() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        std::fs::create_dir(state.jobs_path().join(".new-1@h")).unwrap();
        std::fs::create_dir(state.jobs_path().join(".gone-2@h")).unwrap();
        assert!(state.jobs().unwrap().is_empty());
        state.sweep(Leftover::New).unwrap();
        assert!(!state.jobs_path().join(".new-1@h").exists() && state.jobs_path().join(".gone-2@h").exists());
    }

    #[test]
    fn the_word_in_the_cancel_file_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        let job = state.create_job(&key(1), b"{}").unwrap();
        assert_eq!(job.cancel().unwrap(), None);
        job.set_cancel(Cancel::Canceled).unwrap();
        assert_eq!(job.cancel().unwrap(), Some(Cancel::Canceled));
        std::fs::write(job.path().join("cancel"), "").unwrap();
        assert_eq!(job.cancel().unwrap(), Some(Cancel::Canceling));
    }
}

//! Which jobs hold a slot: those that have a folder in the state directory, and those that are about to get one.

use std::collections::BTreeMap;

use runner_cli::state::{JobDir, StateDir, StateError};
use runner_core::event::JobKey;
use runner_core::job::JobLine;
use serde::Deserialize;

use crate::source::RunnerId;

/// The held slots.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    held: BTreeMap<JobKey, Holder>,
}

#[derive(Debug)]
struct Holder {
    /// `None` if the job's file cannot be read: then it counts for no runner, but it counts.
    runner: Option<RunnerId>,
    project: u64,
    numbers: Numbers,
    /// The folder exists, so that its absence means that the job is over.
    made: bool,
}

/// Lowest numbers that are free: among the runner's jobs, and among those of one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// `CI_CONCURRENT_ID`.
    pub(crate) concurrent: u32,
    /// `CI_CONCURRENT_PROJECT_ID`.
    pub(crate) project: u32,
}

impl Slots {
    /// Looks which folders are there. Reads only those that are new.
    pub(crate) fn refresh(&mut self, state: &StateDir) -> Result<(), StateError> {
        let jobs = state.jobs()?;
        // `jobs` is sorted by key
        let exists = |key: &JobKey| jobs.binary_search_by(|job| job.key().cmp(key)).is_ok();
        self.held.retain(|key, holder| !holder.made || exists(key));
        for job in jobs {
            match self.held.get_mut(job.key()) {
                Some(holder) => holder.made = true,
                None => drop(self.held.insert(job.key().clone(), holder_of(&job))),
            }
        }
        Ok(())
    }

    /// Slots that are held.
    pub(crate) fn used(&self) -> usize {
        self.held.len()
    }

    /// Slots that `runner` holds.
    pub(crate) fn used_by(&self, runner: &RunnerId) -> usize {
        self.held.values().filter(|holder| holder.runner.as_ref() == Some(runner)).count()
    }

    /// Takes a slot for a job that has no folder yet; `None` if the job holds one already.
    pub(crate) fn claim(&mut self, key: &JobKey, runner: RunnerId, project: u64) -> Option<Numbers> {
        if self.held.contains_key(key) {
            return None;
        }
        let mine = || self.held.values().filter(|holder| holder.runner.as_ref() == Some(&runner));
        let numbers = Numbers {
            concurrent: lowest_free(mine().map(|holder| holder.numbers.concurrent)),
            project: lowest_free(mine().filter(|h| h.project == project).map(|holder| holder.numbers.project)),
        };
        self.held.insert(key.clone(), Holder { runner: Some(runner), project, numbers, made: false });
        Some(numbers)
    }

    /// The job was not begun, or its folder is there now: from now on the folder alone counts.
    pub(crate) fn settle(&mut self, key: &JobKey) {
        if let Some(holder) = self.held.get_mut(key) {
            holder.made = true;
        }
    }
}

fn lowest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: Vec<u32> = taken.collect();
    (0..).find(|n| !taken.contains(n)).unwrap_or(u32::MAX)
}

fn holder_of(job: &JobDir) -> Holder {
    #[derive(Default, Deserialize)]
    struct Peek {
        #[serde(default)]
        job_info: PeekInfo,
    }
    #[derive(Default, Deserialize)]
    struct PeekInfo {
        #[serde(default)]
        project_id: u64,
    }
    let line = job.read_job().ok().and_then(|text| serde_json::from_str::<JobLine>(&text).ok());
    let Some(line) = line else {
        tracing::warn!("{}: its job.json cannot be read; it keeps its slot until it is removed", job.path().display());
        let numbers = Numbers { concurrent: u32::MAX, project: u32::MAX };
        return Holder { runner: None, project: 0, numbers, made: true };
    };
    let peek: Peek = serde_json::from_str(line.payload.get()).unwrap_or_default();
    let numbers = Numbers { concurrent: line.runner.concurrent_id, project: line.runner.concurrent_project_id };
    Holder { runner: Some(RunnerId::from(&line.runner)), project: peek.job_info.project_id, numbers, made: true }
}

#[cfg(test)]
mod tests {
    use runner_core::job::RunnerRef;
    use serde_json::json;

    use super::*;

    fn key(id: u64) -> JobKey {
        JobKey { id, host: "h".to_owned() }
    }

    fn runner(name: &str) -> RunnerRef {
        serde_json::from_value(json!({"name": name, "url": "http://h", "short_token": "abc"})).unwrap()
    }

    fn numbers(concurrent: u32, project: u32) -> Option<Numbers> {
        Some(Numbers { concurrent, project })
    }

    #[test]
    fn numbers_are_the_lowest_free_ones_of_runner_and_project() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state"), "test").unwrap();
        let mut stored = runner("a");
        stored.concurrent_id = 1;
        let payload = serde_json::value::to_raw_value(&json!({"id": 1, "job_info": {"project_id": 7}})).unwrap();
        let line = JobLine::new(1, stored, payload);
        state.create_job(&key(1), &runner_core::line::encode(&line)).unwrap();

        let mut slots = Slots::default();
        slots.refresh(&state).unwrap();
        let a = RunnerId::from(&runner("a"));
        assert_eq!(slots.claim(&key(2), a.clone(), 7), numbers(0, 1));
        assert_eq!(slots.claim(&key(3), a.clone(), 7), numbers(2, 2));
        assert_eq!(slots.claim(&key(4), a.clone(), 8), numbers(3, 0));
        assert_eq!(slots.claim(&key(5), RunnerId::from(&runner("b")), 7), numbers(0, 0));
        assert_eq!(slots.claim(&key(5), a.clone(), 7), None);
        assert_eq!((slots.used(), slots.used_by(&a)), (5, 4));

        state.remove_job(&key(1)).unwrap();
        slots.settle(&key(3));
        slots.refresh(&state).unwrap();
        assert_eq!((slots.used(), slots.used_by(&a)), (3, 2), "a claimed slot stays until it is settled");
        assert_eq!(slots.claim(&key(6), a, 7), numbers(1, 0));
    }

    #[test]
    fn a_folder_that_cannot_be_read_holds_a_slot() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state"), "test").unwrap();
        state.create_job(&key(1), b"garbage").unwrap();
        let mut slots = Slots::default();
        slots.refresh(&state).unwrap();
        assert_eq!(slots.used(), 1);
    }
}

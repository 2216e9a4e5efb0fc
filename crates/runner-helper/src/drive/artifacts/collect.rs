//! Which files a list of paths stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use runner_core::glob::Glob;
use walkdir::WalkDir;

use crate::drive::expand::expand;
use crate::drive::lines::{Level, line};
use crate::drive::log::Log;
use runner_core::project_folder::cleaned;

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Globs, not expanded yet, relative to the project or below it.
    pub(crate) paths: Vec<String>,
    /// Globs for what is left out.
    pub(crate) exclude: Vec<String>,
    /// What Git does not track, if that is wanted.
    pub(crate) untracked: Option<Vec<PathBuf>>,
}

/// The files and folders below `project` that are wanted, relative and sorted. What was found and what was not goes to the log.
pub(crate) fn collect(project: &Path, wanted: &Wanted, env: &BTreeMap<String, String>, log: &Log) -> BTreeSet<PathBuf> {
    let expanded = |text: &String| {
        expand(text, env).unwrap_or_else(|err| {
            line(log, Level::Warning, &format!("{text}: {err}"), &[]);
            text.clone()
        })
    };
    let mut excludes = Excludes::new(wanted.exclude.iter().map(expanded), project, log);
    let mut found = BTreeSet::new();
    for path in wanted.paths.iter().map(expanded) {
        if path.is_empty() {
            line(log, Level::Warning, "No matching files. Path is empty.", &[]);
            continue;
        }
        let Some(glob) = glob(project, &path, log) else { continue };
        let count = walk(project, &glob, &mut excludes, &mut found, log);
        if count == 0 {
            let folder = project.display();
            let message = format!(
                "{path}: no matching files. Ensure that the artifact path is relative to the working directory ({folder})"
            );
            line(log, Level::Warning, &message, &[]);
        } else {
            line(log, Level::Info, &format!("{path}: found {count} matching artifact files and directories"), &[]);
        }
    }
    if let Some(untracked) = &wanted.untracked {
        let kept: Vec<&PathBuf> = untracked.iter().filter(|path| !excludes.hold(path)).collect();
        match kept.len() {
            0 => line(log, Level::Warning, "untracked: no files", &[]),
            n => line(log, Level::Info, &format!("untracked: found {n} files"), &[]),
        }
        found.extend(kept.into_iter().cloned());
    }
    for (text, _, count) in excludes.0.iter().filter(|(_, _, count)| *count > 0) {
        line(log, Level::Info, &format!("{text}: excluded {count} files"), &[]);
    }
    found
}

/// The glob for `path`, made relative to the project; `None`, with a line in the log, if it leads out of it or is none.
fn glob(project: &Path, path: &str, log: &Log) -> Option<Glob> {
    let relative = cleaned(&project.join(path)).strip_prefix(cleaned(project)).map(Path::to_owned);
    let Ok(relative) = relative else {
        let message = format!("processPath: artifact path is not a subpath of project directory: {path}");
        line(log, Level::Warning, &message, &[]);
        return None;
    };
    match Glob::new(&relative.to_string_lossy()) {
        Ok(glob) => Some(glob),
        Err(err) => {
            line(log, Level::Warning, &format!("{path}: {err}"), &[]);
            None
        }
    }
}

/// Adds everything that matches, and everything below it, to `found`; returns the number of visits: what lies below two matches is
/// visited twice.
fn walk(project: &Path, glob: &Glob, excludes: &mut Excludes, found: &mut BTreeSet<PathBuf>, log: &Log) -> usize {
    let mut count = 0;
    for base in glob.bases() {
        let mut matched: Vec<bool> = Vec::new(); // by depth: whether the folder there matches
        // Links are not followed: they are kept as links.
        let mut entries = WalkDir::new(project.join(&base)).sort_by_file_name().into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(err) if err.io_error().is_some_and(|err| err.kind() == io::ErrorKind::NotFound) => continue,
                Err(err) => {
                    line(log, Level::Warning, &err.to_string(), &[]);
                    continue;
                }
            };
            let Ok(relative) = entry.path().strip_prefix(project) else { continue };
            let text = relative.to_string_lossy();
            matched.truncate(entry.depth());
            matched.push(glob.matches(&text));
            let visits = matched.iter().filter(|&&matched| matched).count();
            if visits > 0 && !text.is_empty() && !excludes.hold_times(relative, visits) {
                count += visits;
                found.insert(relative.to_owned());
            }
            if visits == 0 && entry.file_type().is_dir() && !glob.reaches_below(&text) {
                entries.skip_current_dir();
            }
        }
    }
    count
}

/// Patterns of what is left out, as written, with the number of times each has been used.
struct Excludes(Vec<(String, Glob, usize)>);

impl Excludes {
    fn new(patterns: impl Iterator<Item = String>, project: &Path, log: &Log) -> Self {
        Self(patterns.filter_map(|text| Some((text.clone(), glob(project, &text, log)?, 0))).collect())
    }

    fn hold(&mut self, path: &Path) -> bool {
        self.hold_times(path, 1)
    }

    fn hold_times(&mut self, path: &Path, times: usize) -> bool {
        let path = path.to_string_lossy();
        match self.0.iter_mut().find(|(_, glob, _)| glob.matches(&path)) {
            Some((_, _, count)) => {
                *count += times;
                true
            }
            None => false,
        }
    }
}

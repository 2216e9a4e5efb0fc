//! What a failing test tells: commands, their stderr, the lines in the journals, the requests, the folders.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use fake_gitlab::FakeGitlab;
use tempfile::TempDir;

use crate::cluster::Cluster;

/// Longest part of one file that is printed.
const TAIL: usize = 8 * 1024;

/// Collects while the test runs, prints if it fails.
pub struct Report {
    files: TempDir,
    commands: Mutex<Vec<String>>,
}

impl Default for Report {
    fn default() -> Self {
        Self { files: tempfile::tempdir().expect("a folder for the report"), commands: Mutex::default() }
    }
}

impl Report {
    /// A new file for what a program prints; a number tells the runs of one program apart.
    pub fn file(&self, name: &str) -> File {
        let taken = |n: usize| self.files.path().join(format!("{n}-{name}"));
        let path = (0..).map(taken).find(|path| !path.exists()).expect("there is a free number");
        File::create(path).expect("the report's folder can be written")
    }

    /// Everything programs have printed into files whose name ends with `name`.
    pub fn printed(&self, name: &str) -> String {
        let mut files: Vec<_> = self.files.path().read_dir().expect("the report's folder").flatten().collect();
        files.sort_by_key(std::fs::DirEntry::path);
        let fitting = files.iter().filter(|file| file.file_name().to_string_lossy().ends_with(name));
        fitting.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    pub(crate) fn command(&self, command: &Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{command:?}"));
    }

    /// Prints everything on standard error, where the test harness shows it.
    #[expect(clippy::print_stderr, reason = "the test harness captures and shows it")]
    pub(crate) fn print(&self, world: &Path, gitlab: &FakeGitlab, kube: &Cluster) {
        let mut text = String::new();
        for command in &*self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(text, "$ {command}");
        }
        print_folder(self.files.path(), &mut text);
        print_folder(world, &mut text);
        for job in gitlab.jobs() {
            let trace = gitlab.trace(job.id);
            let _ = writeln!(text, "=== {job:?}\n{}", tail(&String::from_utf8_lossy(&trace)));
        }
        for request in gitlab.requests().iter().rev().take(40).rev() {
            let _ =
                writeln!(text, "gitlab: {:?} {} {} {}", request.status, request.method, request.path, request.query);
        }
        let _ = writeln!(text, "{}", kube.describe());
        eprintln!("{text}");
    }
}

/// All files below `dir` with their last part.
fn print_folder(dir: &Path, text: &mut String) {
    let mut entries: Vec<_> = dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let _ = writeln!(text, "=== {}", path.display());
        if path.is_dir() {
            print_folder(&path, text);
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            let _ = writeln!(text, "{}", tail(&String::from_utf8_lossy(&content)));
        }
    }
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

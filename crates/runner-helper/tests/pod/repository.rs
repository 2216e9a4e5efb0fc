//! Repositories on disk, and jobs that fetch them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Job, git};

/// A repository with three commits on `main`, a tag and a file that is ignored.
pub fn repository(job: &Job, name: &str) -> (PathBuf, String) {
    let folder = job.path(name);
    fs::create_dir(&folder).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    for i in 1..=3 {
        fs::write(folder.join("README.md"), format!("version {i}\n")).unwrap();
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "-q", "-m", &format!("commit {i}")]);
    }
    git(&folder, &["tag", "v1"]);
    let sha = git(&folder, &["rev-parse", "HEAD"]);
    (folder, sha)
}

pub fn info(folder: &Path, sha: &str) -> Value {
    json!({
        "repo_url": format!("file://{}", folder.display()), "ref": "main", "sha": sha, "ref_type": "branch", "depth": 1,
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
    })
}

/// A job with sources whose checkout is in a known place.
pub fn with_sources(script: &[&str], strategy: &str) -> (Job, PathBuf, String) {
    let job =
        Job::new(script).variable("GIT_STRATEGY", strategy).variable("GIT_CLONE_PATH", "$CI_BUILDS_DIR/group/project");
    let (folder, sha) = repository(&job, "repository");
    let info = info(&folder, &sha);
    (job.set("git_info", info), folder, sha)
}

/// Adds a commit that makes `file` hold `text`; returns its id.
pub fn commit(folder: &Path, file: &str, text: &str) -> String {
    fs::write(folder.join(file), text).unwrap();
    git(folder, &["add", "."]);
    git(folder, &["commit", "-q", "-m", file]);
    git(folder, &["rev-parse", "HEAD"])
}

/// Lets Git follow submodules whose address is a path, which it refuses by default.
pub fn with_file_submodules(job: Job) -> Job {
    job.variable("GIT_CONFIG_COUNT", "1")
        .variable("GIT_CONFIG_KEY_0", "protocol.file.allow")
        .variable("GIT_CONFIG_VALUE_0", "always")
}

/// A `git` that writes each of its command lines into a file and then does it; returns that file.
pub fn record_git(job: &mut Job, before: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let bin = job.path("bin");
    let log = job.path("git-log");
    fs::create_dir(&bin).unwrap();
    let real = std::process::Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    let program = format!("#!/bin/sh\necho \"$*\" >> {}\n{before}\nexec {} \"$@\"\n", log.display(), real.trim());
    fs::write(bin.join("git"), program).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    job.environment.push(("PATH".into(), format!("{}:{path}", bin.display())));
    log
}

//! Submodules: real repositories, real git.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::fs;
use std::path::{Path, PathBuf};

use pod::repository::{commit, info, repository, with_file_submodules, with_sources};
use pod::{Job, git};
use runner_core::failure::FailureReason;
use serde_json::json;

#[test]
fn j423_j516_submodules_come_as_deep_as_asked() {
    for (strategy, expected) in
        [("none", "no\n"), ("normal", "leaf-version 3\nversion 3\n"), ("recursive", "leaf-version 3\nversion 3\n")]
    {
        let (job, folder, _) = with_sources(
            &["if [ -e sub/README.md ]; then printf leaf-; cat sub/README.md; cat sub/../README.md; else echo no; fi"],
            "clone",
        );
        let (sub, _) = repository(&job, "sub");
        git(&folder, &["submodule", "--quiet", "add", sub.to_str().unwrap(), "sub"]);
        git(&folder, &["commit", "-q", "-m", "submodule"]);
        let sha = git(&folder, &["rev-parse", "HEAD"]);
        let info = info(&folder, &sha);
        let job = job.set("git_info", info).variable("GIT_SUBMODULE_STRATEGY", strategy);
        let ended = with_file_submodules(job).run().succeeded();
        assert_eq!(ended.output(), expected, "{strategy}");
    }
}

/// A job whose repository has the submodules `names`, each with one file more than it began with.
fn with_submodules(script: &[&str], strategy: &str, names: &[&str]) -> (Job, PathBuf, Vec<PathBuf>) {
    let (job, folder, _) = with_sources(script, strategy);
    let mut modules = Vec::new();
    for name in names {
        let (module, _) = repository(&job, &format!("module-{name}"));
        // As an address: Git takes no depth for a path.
        git(&folder, &["submodule", "--quiet", "add", &format!("file://{}", module.display()), name]);
        modules.push(module);
    }
    let sha = commit(&folder, "with-submodules", "x");
    let info = info(&folder, &sha);
    let job = job.set("git_info", info).variable("GIT_SUBMODULE_STRATEGY", "normal");
    (with_file_submodules(job), folder, modules)
}

/// The next job of the same repository, where `before` ran.
fn next(before: pod::Ended, script: &[&str], folder: &Path, sha: &str) -> Job {
    let job = Job::new(script).variable("GIT_STRATEGY", "fetch").variable("GIT_SUBMODULE_STRATEGY", "normal");
    let job = job.variable("GIT_CLONE_PATH", "$CI_BUILDS_DIR/group/project").set("git_info", info(folder, sha));
    with_file_submodules(job).after_job(before)
}

#[test]
fn j140_j423_j516_paths_choose_submodules() {
    for (paths, expected) in [("a", "a\n"), ("b a", "a\nb\n"), (":(exclude)a", "b\n"), ("", "a\nb\n")] {
        let (job, ..) =
            with_submodules(&["for m in a b; do ! [ -e $m/README.md ] || echo $m; done"], "clone", &["a", "b"]);
        let ended = job.variable("GIT_SUBMODULE_PATHS", paths).run().succeeded();
        assert_eq!(ended.output(), expected, "{paths}");
    }
    let (job, ..) = with_submodules(&["true"], "clone", &["a"]);
    let ended = job.variable("GIT_SUBMODULE_PATHS", "a :(exclude) b").run();
    assert!(ended.outcome.message.starts_with("GIT_SUBMODULE_PATHS: invalid submodule pathspec"), "{}", ended.log);
}

#[test]
fn j423_j516_submodules_have_their_own_depth() {
    for (depth, commits, notice) in [
        ("1", "1\n", "Updating/initializing submodules with git depth set to 1...\u{1b}[0;m"),
        ("0", "3\n", "Updating/initializing submodules...\u{1b}[0;m"),
        ("deep", "1\n", "Updating/initializing submodules with git depth set to 1...\u{1b}[0;m"),
    ] {
        let (job, ..) = with_submodules(&["git -C sub log --oneline | wc -l"], "clone", &["sub"]);
        let ended = job.variable("GIT_SUBMODULE_DEPTH", depth).run().succeeded();
        assert_eq!(ended.output(), commits, "{depth}");
        assert!(ended.section("get_sources").contains(notice), "{}", ended.log);
        let warning = "WARNING: GIT_SUBMODULE_DEPTH: expected int got \"deep\", using default value: 1";
        assert_eq!(ended.log.contains(warning), depth == "deep");
    }
}

#[test]
fn j517_a_fetch_brings_submodules_to_what_the_new_commit_says() {
    let (job, folder, modules) = with_submodules(&["echo changed > sub/README.md; touch sub/junk"], "fetch", &["sub"]);
    let first = job.run().succeeded();
    let newer = commit(&modules[0], "README.md", "version 4\n");
    git(&folder.join("sub"), &["fetch", "-q", "origin"]);
    git(&folder.join("sub"), &["checkout", "-q", &newer]);
    let sha = commit(&folder, "newer", "x");
    let second = next(first, &["cat sub/README.md; ls sub"], &folder, &sha).run().succeeded();
    assert_eq!(second.output(), "version 4\nREADME.md\n");
    // And where the submodule has moved to.
    let moved = modules[0].with_file_name("module-moved");
    fs::rename(&modules[0], &moved).unwrap();
    let newest = commit(&moved, "README.md", "version 5\n");
    git(&folder, &["submodule", "set-url", "sub", &format!("file://{}", moved.display())]);
    git(&folder.join("sub"), &["fetch", "-q", moved.to_str().unwrap(), "main"]);
    git(&folder.join("sub"), &["checkout", "-q", &newest]);
    let sha = commit(&folder, "newest", "x");
    let third = next(second, &["cat sub/README.md"], &folder, &sha).run().succeeded();
    assert_eq!(third.output(), "version 5\n");
}

#[test]
fn j423_j536_a_branch_is_followed_where_the_flags_say_so() {
    let (job, folder, modules) = with_submodules(&["cat sub/README.md"], "clone", &["sub"]);
    git(&modules[0], &["checkout", "-q", "-b", "dev"]);
    commit(&modules[0], "README.md", "from dev\n");
    git(&folder, &["config", "-f", ".gitmodules", "submodule.sub.branch", "dev"]);
    let sha = commit(&folder, "branch", "x");
    let job = job.set("git_info", info(&folder, &sha)).variable("GIT_SUBMODULE_UPDATE_FLAGS", "--remote");
    assert_eq!(job.run().succeeded().output(), "from dev\n");
}

#[test]
fn j520_a_strategy_that_is_none_fails_the_job() {
    let (job, ..) = with_submodules(&["true"], "clone", &["sub"]);
    let ended = job.variable("GIT_SUBMODULE_STRATEGY", "deep").run().failed("unknown GIT_SUBMODULE_STRATEGY");
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::RunnerSystemFailure));
    let warning = "GIT_SUBMODULE_STRATEGY: expected either 'none', 'normal' or 'recursive' got \"deep\"";
    assert!(ended.log.contains(warning), "{}", ended.log);
}

#[test]
fn j421_j519_a_file_where_a_submodule_is_to_be_is_gone_at_the_second_try() {
    let (job, folder, _) = with_submodules(&["echo left > sub/file"], "fetch", &["sub"]);
    let first = job.variable("GIT_SUBMODULE_STRATEGY", "none").run().succeeded();
    let sha = git(&folder, &["rev-parse", "HEAD"]);
    let second = next(first, &["cat sub/README.md"], &folder, &sha).variable("GET_SOURCES_ATTEMPTS", "2");
    let ended = second.variable("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "false").run().succeeded();
    assert_eq!(ended.output(), "version 3\n");
    let cleared = ended.section("clear_worktree");
    assert_eq!(cleared, "\u{1b}[32;1mDeleting tracked and untracked files...\u{1b}[0;m\n");
}

#[test]
fn j515_large_files_of_submodules_are_pulled_unless_skipped() {
    use std::os::unix::fs::PermissionsExt;
    for (skip, pulled) in [("false", 2), ("true", 0)] {
        let (mut job, ..) = with_submodules(&["true"], "clone", &["sub"]);
        // Stands for the extension: says where it was asked.
        let bin = job.path("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("git-lfs"), "#!/bin/sh\n[ \"$1\" = version ] || echo \"pulled in ${PWD##*/}\"\n").unwrap();
        fs::set_permissions(bin.join("git-lfs"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        job.environment.push(("PATH".into(), format!("{}:{path}", bin.display())));
        let ended = job.variable("GIT_LFS_SKIP_SMUDGE", skip).run().succeeded();
        assert_eq!(ended.log.matches("pulled in ").count(), pulled, "{}", ended.log);
        assert_eq!(ended.log.contains("Pulling LFS files...\u{1b}[0;m\nEntering 'sub'\npulled in sub\n"), pulled > 0);
    }
}

#[test]
fn j419_j516_without_sources_there_are_no_submodules() {
    let (job, ..) = with_submodules(&["ls"], "none", &["sub"]);
    let ended = job.run().succeeded();
    assert!(ended.section("get_sources").contains("Skipping Git submodules setup"));
    assert_eq!(ended.output(), "");
    assert_eq!(json!(ended.outcome.failure_reason), json!(null));
}

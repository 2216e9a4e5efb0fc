//! What a job leaves in its checkout, and what of it the next one meets.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::fs;
use std::path::Path;

use pod::repository::{commit, info, record_git, with_sources};
use pod::{Ended, Job, git};
use serde_json::json;

/// The next job of the same repository, where `before` ran.
fn next(before: Ended, script: &[&str], strategy: &str, folder: &Path) -> Job {
    let sha = git(folder, &["rev-parse", "main"]);
    let job = Job::new(script).variable("GIT_STRATEGY", strategy).set("git_info", info(folder, &sha));
    job.variable("GIT_CLONE_PATH", "$CI_BUILDS_DIR/group/project").after_job(before)
}

#[test]
fn j512_j427_locks_of_a_killed_git_do_not_stop_the_next_job() {
    let script = &[
        "cd .git; touch index.lock shallow.lock HEAD.lock config.lock refs/heads/main.lock",
        "mkdir -p hooks; printf '#!/bin/sh\\nexit 1\\n' > hooks/post-checkout; chmod +x hooks/post-checkout",
    ];
    for clean in [true, false] {
        let (job, folder, _) = with_sources(script, "fetch");
        let first = job.config("clean_git_config", json!(clean)).run().succeeded();
        // They are gone at the end of the job already; a runner that is killed leaves them.
        let git_folder = first.project().join(".git");
        for lock in ["index.lock", "shallow.lock", "HEAD.lock", "config.lock", "refs/heads/main.lock"] {
            assert!(!git_folder.join(lock).exists(), "{lock}");
            fs::write(git_folder.join(lock), "").unwrap();
        }
        commit(&folder, "README.md", "version 4\n");
        let second = next(first, &["cat README.md"], "fetch", &folder).config("clean_git_config", json!(clean));
        assert_eq!(second.run().succeeded().output(), "version 4\n");
    }
}

#[test]
fn j427_j527_planted_hooks_and_settings_do_not_reach_the_next_job() {
    let script = &[
        "mkdir -p .git/hooks; printf '#!/bin/sh\\necho planted hook\\n' > .git/hooks/reference-transaction",
        "chmod +x .git/hooks/reference-transaction",
        "git config core.fsmonitor 'echo planted setting >&2; false'",
        "mkdir -p ../project.tmp/git-template/hooks; cp .git/hooks/reference-transaction ../project.tmp/git-template/hooks/",
    ];
    for (clean, planted) in [(json!(null), false), (json!(true), false), (json!(false), true)] {
        let (job, folder, _) = with_sources(script, "fetch");
        let first = job.config("clean_git_config", clean.clone()).run().succeeded();
        let second = next(first, &["git status --short"], "fetch", &folder).config("clean_git_config", clean.clone());
        let ended = second.run().succeeded();
        assert_eq!(ended.log.contains("planted"), planted, "{clean}: {}", ended.log);
    }
}

#[test]
fn j420_j518_nothing_is_left_where_the_flag_says_so() {
    let script = &["echo changed > README.md; touch untracked"];
    for (strategy, left) in
        [("clone", None), ("fetch", Some(".git README.md version 3")), ("none", Some("README.md untracked changed"))]
    {
        let (job, ..) = with_sources(script, strategy);
        let ended = job.variable("FF_ENABLE_JOB_CLEANUP", "true").run().succeeded();
        let found = ended.project().exists().then(|| {
            let entries = fs::read_dir(ended.project()).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names.push(fs::read_to_string(ended.project().join("README.md")).unwrap().trim().to_owned());
            names.join(" ")
        });
        assert_eq!(found.as_deref(), left, "{strategy}");
        let skipped = ended.section("cleanup_file_variables").contains("Skipping build directory cleanup step");
        assert_eq!(skipped, strategy == "none");
    }
    let ended = Job::new(&["touch x"]).variable("GIT_STRATEGY", "empty").variable("FF_ENABLE_JOB_CLEANUP", "true");
    let ended = ended.run().succeeded();
    assert!(!ended.folder.path().join("builds/group/project-empty").exists());
}

#[test]
fn j525_j531_a_checkout_follows_its_branch_whatever_was_there() {
    let (job, folder, _) = with_sources(&["cat README.md"], "clone");
    let first = job.run().succeeded();
    git(&folder, &["checkout", "-q", "-b", "other", "HEAD~2"]);
    let other = commit(&folder, "README.md", "of another branch\n");
    let job = Job::new(&["cat README.md; ls"]).variable("GIT_STRATEGY", "fetch");
    let mut sources = info(&folder, &other);
    sources["ref"] = json!("other");
    sources["refspecs"] = json!(["+refs/heads/other:refs/remotes/origin/other"]);
    let job = job.variable("GIT_CLONE_PATH", "$CI_BUILDS_DIR/group/project").set("git_info", sources).after_job(first);
    let second = job.run().succeeded();
    assert_eq!(second.output(), "of another branch\nREADME.md\n");
    assert!(second.section("get_sources").contains("Reinitialized existing Git repository"));
    git(&folder, &["checkout", "-q", "main"]);
    let third = next(second, &["cat README.md"], "clone", &folder).run().succeeded();
    assert_eq!(third.output(), "version 3\n");
    assert!(third.section("get_sources").contains("Initialized empty Git repository"));
}

#[test]
fn j537_a_checkout_that_was_moved_includes_the_settings_of_its_new_place() {
    let (job, folder, _) = with_sources(&["true"], "fetch");
    let first = job.config("clean_git_config", json!(false)).run().succeeded();
    fs::rename(first.project(), first.folder.path().join("builds/group/moved")).unwrap();
    let script = &["git config --get-all include.path"];
    let second = next(first, script, "fetch", &folder).variable("GIT_CLONE_PATH", "$CI_BUILDS_DIR/group/moved");
    let ended = second.config("clean_git_config", json!(false)).run().succeeded();
    let expected = ended.folder.path().join("builds/group/moved.tmp/.gitlab-runner.ext.conf");
    assert_eq!(ended.output(), format!("{}\n", expected.display()));
}

#[test]
fn j426_nothing_of_the_jobs_own_files_is_left() {
    let (job, ..) = with_sources(&["echo X=1 >> $GITLAB_ENV; cat \"$CERT\""], "clone");
    let job = job.with_variable(json!({"key": "CERT", "value": "secret", "file": true}));
    let ended = job.run().succeeded();
    let temp = ended.folder.path().join("builds/group/project.tmp");
    let files = walkdir::WalkDir::new(&temp).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let left: Vec<_> = files.map(|entry| entry.path().to_owned()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[test]
fn j413_j531_one_step_clones_where_git_can() {
    for (version, native) in [("git version 2.50.1", true), ("git version 2.39.5", false)] {
        let (mut job, ..) = with_sources(&["cat README.md; git config --get-all include.path | wc -l"], "clone");
        let log = record_git(&mut job, &format!("[ \"$*\" != version ] || {{ echo '{version}'; exit; }}"));
        let job =
            job.variable("FF_USE_GIT_NATIVE_CLONE", "true").variable("GIT_CLONE_EXTRA_FLAGS", "--no-tags --quiet");
        let ended = job.run().succeeded();
        assert_eq!(ended.output(), "version 3\n1\n");
        let notice =
            "Git version at least \"2.49\"\n\u{1b}[32;1mCloning repository for main with git depth set to 1...";
        assert_eq!(ended.section("get_sources").contains(notice), native, "{}", ended.log);
        let commands = fs::read_to_string(log).unwrap();
        let clone = commands.lines().find(|line| line.contains(" clone "));
        assert_eq!(clone.is_some(), native, "{commands}");
        assert!(clone.is_none_or(|line| line.ends_with(" --depth 1 --branch main --no-tags --quiet")), "{clone:?}");
    }
}

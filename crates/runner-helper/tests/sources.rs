//! The sources: real repositories, real git.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::fs;

use pod::repository::{info, with_sources};
use pod::{Job, git};
use serde_json::json;

#[test]
fn a_clone_has_the_depth_and_commit_that_were_asked_for() {
    let script = &[
        "git log --oneline | wc -l",
        "git rev-parse HEAD",
        "git status --porcelain | wc -l",
        "cat README.md",
        "ls -d .git/config",
    ];
    let (job, folder, sha) = with_sources(script, "clone");
    let ended = job.run().succeeded();
    assert_eq!(ended.output(), format!("1\n{sha}\n0\nversion 3\n.git/config\n"));
    let sources = ended.section("get_sources");
    for line in [
        "\u{1b}[32;1mFetching changes with git depth set to 1...\u{1b}[0;m\nInitialized empty Git repository in ",
        "\u{1b}[32;1mCreated fresh repository.\u{1b}[0;m\n",
        &format!("\u{1b}[32;1mChecking out {} as detached HEAD (ref is main)...\u{1b}[0;m\n", &sha[..8]),
        "\u{1b}[32;1mSkipping Git submodules setup\u{1b}[0;m\n",
    ] {
        assert!(sources.contains(line), "{line} in {sources}");
    }
    drop(folder);
}

#[test]
fn depth_0_is_everything() {
    let (mut job, ..) = with_sources(&["git log --oneline | wc -l"], "clone");
    job.payload["git_info"]["depth"] = json!(0);
    let ended = job.run().succeeded();
    assert_eq!(ended.output(), "3\n");
    assert!(ended.section("get_sources").contains("Fetching changes...\u{1b}[0;m"));
}

#[test]
fn a_tag_is_fetched_by_its_refspec() {
    let (mut job, _, sha) = with_sources(&["git rev-parse v1", "git rev-parse HEAD"], "clone");
    job.payload["git_info"]["refspecs"] = json!(["+refs/tags/v1:refs/tags/v1"]);
    assert_eq!(job.run().succeeded().output(), format!("{sha}\n{sha}\n"));
}

#[test]
fn j512_j524_a_fetch_cleans_and_updates_what_is_there() {
    let (job, folder, _) = with_sources(&["ls", "cat README.md"], "fetch");
    let project = job.path("builds/group/project");
    fs::create_dir_all(project.parent().unwrap()).unwrap();
    git(job.folder.path(), &["clone", "-q", folder.to_str().unwrap(), project.to_str().unwrap()]);
    for file in ["left-over", "README.md", ".git/index.lock", ".git/refs/heads/x.lock"] {
        fs::write(project.join(file), "x").unwrap();
    }
    fs::write(project.join(".git/hooks/post-checkout"), "#!/bin/sh\ntouch /tmp/planted\nexit 1\n").unwrap();
    git(&folder, &["commit", "-q", "--allow-empty", "-m", "newer"]);
    fs::write(folder.join("README.md"), "version 4\n").unwrap();
    git(&folder, &["commit", "-q", "-am", "newest"]);
    let sha = git(&folder, &["rev-parse", "HEAD"]);
    let info = info(&folder, &sha);
    let ended = job.set("git_info", info).run().succeeded();
    assert_eq!(ended.output(), "README.md\nversion 4\n");
    assert!(ended.section("get_sources").contains("Reinitialized existing Git repository"));
    assert!(ended.section("get_sources").contains("Removing left-over\n"));
}

#[test]
fn j141_j422_j524_clean_flags_keep_what_they_name() {
    let (job, folder, _) = with_sources(&["ls"], "fetch");
    let project = job.path("builds/group/project");
    fs::create_dir_all(project.parent().unwrap()).unwrap();
    git(job.folder.path(), &["clone", "-q", folder.to_str().unwrap(), project.to_str().unwrap()]);
    fs::write(project.join("keep.txt"), "x").unwrap();
    fs::write(project.join("junk.txt"), "x").unwrap();
    let ended = job.variable("GIT_CLEAN_FLAGS", "-ffdx -e keep.txt").run().succeeded();
    assert_eq!(ended.output(), "README.md\nkeep.txt\n");
}

#[test]
fn j535_credentials_are_in_no_settings_file_of_the_checkout() {
    let script = &[
        "grep -rc glcbt .git/config || true",
        "git remote get-url origin",
        "git config --get-regexp insteadof | wc -l",
    ];
    let (mut job, ..) = with_sources(script, "clone");
    job.url = "http://gitlab.invalid".into();
    let ended = job.run().succeeded();
    let output = ended.output();
    assert!(output.starts_with("0\nfile://") && output.ends_with("\n1\n"), "{output}");
    // and none is left when the job is over
    let found = std::process::Command::new("grep")
        .args(["-rl", "glcbt"])
        .arg(ended.folder.path().join("builds"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
}

#[test]
fn the_users_git_settings_are_left_alone() {
    let (job, ..) = with_sources(&["true"], "clone");
    let ended = job.run().succeeded();
    assert_eq!(fs::read_dir(ended.folder.path().join("home")).unwrap().count(), 0);
}

#[test]
fn a_missing_commit_fails_the_job_without_user_scripts() {
    let (mut job, ..) = with_sources(&["echo never"], "clone");
    job.payload["git_info"]["sha"] = json!("deadbeef".repeat(5));
    let ended = job.after(&["echo never"]).run().failed("command terminated with exit code 128");
    assert_eq!(ended.outcome.exit_code, Some(128));
    assert!(ended.section("get_sources").contains("fatal: reference is not a tree: deadbeef"));
    assert_eq!(ended.stages, ["prepare_script", "get_sources", "cleanup_file_variables"]);
}

#[test]
fn j127_a_second_try_starts_with_a_clear_tree() {
    // The first try fails in the hook, which leaves a mark.
    let hook = json!([{"name": "pre_get_sources_script", "script": ["if [ ! -e ../../mark ]; then touch ../../mark; exit 5; fi"]}]);
    let (job, ..) = with_sources(&["cat README.md"], "fetch");
    let mark = job.path("mark");
    let script = format!("if [ ! -e {0} ]; then touch {0}; exit 5; fi", mark.display());
    let mut hook = hook;
    hook[0]["script"] = json!([script]);
    let job = job.set("hooks", hook).variable("GET_SOURCES_ATTEMPTS", "2");
    let ended = job.variable("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "false").run().succeeded();
    assert_eq!(
        ended.stages,
        ["prepare_script", "get_sources", "clear_worktree", "get_sources", "step_script", "cleanup_file_variables"]
    );
    assert!(ended.log.contains("WARNING: Retrying...\u{1b}[0;m\n"));
}

#[test]
fn j109_j414_hooks_run_around_the_sources_and_their_failure_is_the_jobs() {
    let hooks = json!([
        {"name": "pre_get_sources_script", "script": ["echo pre of job"]},
        {"name": "post_get_sources_script", "script": ["echo post of job; ls"]},
    ]);
    let (job, ..) = with_sources(&["true"], "clone");
    let job = job.set("hooks", hooks).config("pre_get_sources_script", json!("echo pre of runner"));
    let ended = job.config("post_get_sources_script", json!("echo post of runner; exit 5")).run();
    let ended = ended.failed("command terminated with exit code 5");
    let order = ["\npre of runner\n", "\npre of job\n", "Fetching", "\npost of job\nREADME.md\n", "\npost of runner\n"];
    let at: Vec<_> =
        order.iter().map(|text| ended.log.find(text).unwrap_or_else(|| panic!("{text} in {}", ended.log))).collect();
    assert!(at.is_sorted(), "{at:?}");
}

#[test]
fn j137_j419_j513_strategies_without_git() {
    for (strategy, notice) in [
        ("none", "Skipping Git repository setup"),
        ("empty", "Skipping Git repository setup and creating an empty build directory"),
    ] {
        let ended = Job::new(&["ls | wc -l"]).variable("GIT_STRATEGY", strategy).run().succeeded();
        assert_eq!(ended.output(), "0\n");
        let expected = format!(
            "\u{1b}[32;1m{notice}\u{1b}[0;m\n\u{1b}[32;1mSkipping Git checkout\u{1b}[0;m\n\u{1b}[32;1mSkipping Git submodules setup\u{1b}[0;m\n"
        );
        assert_eq!(ended.section("get_sources"), expected);
    }
}

#[test]
fn j532_a_branch_named_like_a_command_is_not_run() {
    let (job, folder, sha) = with_sources(&["cat README.md"], "clone");
    git(&folder, &["branch", "$(touch${IFS}planted)"]);
    let mut info = info(&folder, &sha);
    info["ref"] = json!("$(touch${IFS}planted)");
    info["refspecs"] = json!(["+refs/heads/$(touch${IFS}planted):refs/remotes/origin/x"]);
    let ended = job.set("git_info", info).run().succeeded();
    assert!(ended.section("get_sources").contains("(ref is $(touch${IFS}planted))..."));
    assert!(!ended.project().join("planted").exists());
}

#[test]
fn what_a_hook_leaves_running_ends_with_the_job() {
    let hooks = json!([{"name": "pre_get_sources_script", "script": ["sleep 1000 & echo pid=$!"]}]);
    let (job, ..) = with_sources(&["true"], "clone");
    let ended = job.set("hooks", hooks).run().succeeded();
    let pid = ended.log.lines().find_map(|line| line.strip_prefix("pid=")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The dead whom nobody has reaped yet are dead too.
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn j139_j513_large_files_are_pulled_where_git_can() {
    use std::os::unix::fs::PermissionsExt;
    for (skip, pulled) in [("", true), ("false", true), ("true", false)] {
        let (mut job, ..) = with_sources(&["true"], "clone");
        // Stands for the extension: says what it was asked, and with which filter.
        let bin = job.path("bin");
        fs::create_dir(&bin).unwrap();
        let program = "#!/bin/sh\n[ \"$1\" = version ] && exit\necho \"lfs $* $(git config filter.lfs.smudge) $GIT_LFS_SKIP_SMUDGE\"\n";
        fs::write(bin.join("git-lfs"), program).unwrap();
        fs::set_permissions(bin.join("git-lfs"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        job.environment = vec![("PATH".into(), format!("{}:{path}", bin.display()))];
        let ended = job.variable("GIT_LFS_SKIP_SMUDGE", skip).run().succeeded();
        let expected = "detached HEAD (ref is main)...\u{1b}[0;m\nlfs pull git-lfs smudge -- %f 1\n\n\u{1b}[32;1mSkipping Git submodules";
        assert_eq!(ended.section("get_sources").contains(expected), pulled, "{skip}: {}", ended.log);
    }
}

#[test]
fn sources_are_for_every_user_or_for_the_one_of_the_build_container() {
    use std::os::unix::fs::MetadataExt;
    for (flag, for_all) in [("false", true), ("true", false)] {
        let (job, ..) = with_sources(&["true"], "clone");
        let ended = job.variable("FF_DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR", flag).run().succeeded();
        let file = fs::metadata(ended.project().join("README.md")).unwrap();
        assert_eq!(file.mode() & 0o002 != 0, for_all, "{:o}", file.mode());
        assert_eq!(file.uid(), rustix::process::getuid().as_raw());
    }
}

//! What Git is told, by whom, and what of it stays.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::fs;

use pod::Job;
use pod::repository::{info, record_git, repository, with_sources};
use serde_json::json;

#[test]
fn j414_what_a_hook_tells_git_holds_for_the_sources() {
    let (job, folder, sha) = with_sources(&["cat README.md"], "clone");
    let mut sources = info(&folder, &sha);
    sources["repo_url"] = json!("file:///no/such/place");
    let instead = format!("git config --global url.file://{}.insteadOf file:///no/such/place", folder.display());
    let hooks = json!([{"name": "pre_get_sources_script", "script": [instead]}]);
    assert_eq!(job.set("git_info", sources).set("hooks", hooks).run().succeeded().output(), "version 3\n");
}

#[test]
fn j429_the_images_own_git_settings_are_used() {
    for file in [".gitconfig", ".config/git/config"] {
        let (job, folder, sha) = with_sources(&["cat README.md"], "clone");
        let mut sources = info(&folder, &sha);
        sources["repo_url"] = json!("file:///no/such/place");
        let settings = format!("[url \"file://{}\"]\n\tinsteadOf = file:///no/such/place\n", folder.display());
        let file = job.path("home").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, settings).unwrap();
        assert_eq!(job.set("git_info", sources).run().succeeded().output(), "version 3\n");
    }
}

#[test]
fn j415_a_credential_helper_is_told_to_forget_the_token() {
    for (url, told) in [("http://gitlab-ci-token:tok@127.0.0.1:1/g/p.git", true), ("", false)] {
        let (mut job, ..) = with_sources(&["true"], "clone");
        let log = job.path("asked");
        let home = job.path("home");
        fs::create_dir_all(&home).unwrap();
        let helper = format!("[credential]\n\thelper = \"!f() {{ echo $1; cat; }} >> {} ; f\"\n", log.display());
        fs::write(home.join(".gitconfig"), helper).unwrap();
        if told {
            job.payload["git_info"]["repo_url"] = json!(url);
        }
        let ended = job.run();
        assert_eq!(ended.outcome.exit_code, told.then_some(128), "{}", ended.log);
        let asked = fs::read_to_string(ended.folder.path().join("asked")).unwrap_or_default();
        let erased = asked.contains("erase\nprotocol=http\nhost=127.0.0.1:1\nusername=gitlab-ci-token\n");
        assert_eq!(erased, told, "{asked}");
    }
}

#[test]
fn j142_the_object_format_is_that_of_the_repository() {
    let job = Job::new(&["git rev-parse --show-object-format; cat f"]).variable("GIT_STRATEGY", "clone");
    let job = job.variable("GIT_CLONE_PATH", "$CI_BUILDS_DIR/group/project");
    let folder = job.path("repository");
    fs::create_dir(&folder).unwrap();
    pod::git(&folder, &["init", "-q", "-b", "main", "--object-format=sha256"]);
    let sha = pod::repository::commit(&folder, "f", "content\n");
    let mut sources = info(&folder, &sha);
    sources["repo_object_format"] = json!("sha256");
    assert_eq!(job.set("git_info", sources).run().succeeded().output(), "sha256\ncontent\n");
}

#[test]
fn j514_a_job_may_do_without_a_checkout() {
    let (job, ..) = with_sources(&["ls | wc -l; git log --oneline origin/main | wc -l"], "clone");
    let ended = job.variable("GIT_CHECKOUT", "false").run().succeeded();
    assert_eq!(ended.output(), "0\n1\n");
    assert!(ended.section("get_sources").contains("\u{1b}[32;1mSkipping Git checkout\u{1b}[0;m\n"));
}

#[test]
fn j141_j422_flags_stand_where_git_reads_them() {
    for (flags, clean, fetched, cleaned) in [
        ("", "", "--depth 1 --prune --quiet", Some("clean -ffdx")),
        ("--verbose --no-tags", "-fdx -e keep", "--depth 1 --verbose --no-tags", Some("clean -fdx -e keep")),
        ("none", "none", "--depth 1", None),
    ] {
        let (mut job, ..) = with_sources(&["true"], "fetch");
        let log = record_git(&mut job, "");
        let job = job.variable("GIT_FETCH_EXTRA_FLAGS", flags).variable("GIT_CLEAN_FLAGS", clean);
        let _ended = job.run().succeeded();
        let commands = fs::read_to_string(log).unwrap();
        let fetch = commands.lines().find(|line| line.contains(" fetch origin ")).unwrap();
        let refspec = "fetch origin --no-recurse-submodules +refs/heads/main:refs/remotes/origin/main";
        assert!(fetch.ends_with(&format!("{refspec} {fetched}")), "{fetch}");
        assert!(fetch.contains(" -c http.userAgent=gitlab-runner "), "{fetch}");
        let found = commands.lines().find_map(|line| line.find("clean -").map(|at| &line[at..]));
        assert_eq!(found, cleaned, "{commands}");
    }
}

#[test]
fn j422_credentials_are_sent_at_once_only_to_the_jobs_server() {
    for (flag, expected) in [("true", true), ("false", false)] {
        let (mut job, ..) = with_sources(&["true"], "fetch");
        job.payload["git_info"]["repo_url"] = json!("http://gitlab-ci-token:tok@127.0.0.1:1/g/p.git");
        let log = record_git(&mut job, "");
        let _ended = job.variable("FF_USE_GIT_PROACTIVE_AUTH", flag).run();
        let commands = fs::read_to_string(log).unwrap();
        let scoped = commands.contains(" -c http.http://127.0.0.1:1.proactiveAuth=basic fetch origin ");
        assert_eq!(scoped, expected, "{commands}");
    }
}

#[test]
fn j535_no_credential_is_on_a_command_line() {
    let (mut job, ..) = with_sources(&["true"], "clone");
    job.payload["git_info"]["repo_url"] = json!("http://gitlab-ci-token:very-secret@127.0.0.1:1/g/p.git");
    let log = record_git(&mut job, "");
    let ended = job.run();
    let commands = fs::read_to_string(log).unwrap();
    assert!(commands.contains("remote add origin http://127.0.0.1:1/g/p.git"), "{commands}");
    assert!(!commands.contains("very-secret") && !ended.log.contains("very-secret"), "{commands}");
}

#[test]
fn an_empty_repository_and_one_that_is_not_there_fail_with_gits_own_words() {
    for (is_there, expected) in
        [(true, "couldn't find remote ref refs/heads/main"), (false, "does not appear to be a git repository")]
    {
        let job = Job::new(&["echo never"]).variable("GIT_STRATEGY", "clone");
        let (folder, _) = repository(&job, "other");
        let empty = job.path("empty");
        if is_there {
            fs::create_dir(&empty).unwrap();
            pod::git(&empty, &["init", "-q", "--bare"]);
        }
        let mut sources = info(&folder, &"1".repeat(40));
        sources["repo_url"] = json!(format!("file://{}", empty.display()));
        let ended = job.set("git_info", sources).run().failed("command terminated with exit code 128");
        assert!(ended.section("get_sources").contains(expected), "{}", ended.log);
    }
}

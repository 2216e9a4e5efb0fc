//! Pipelines of real repositories: files go from one job to the next.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use fake_gitlab::{FakeGitlab, JobReport, JobStatus};
use tests::{PATIENCE, World, trace};

/// A repository with one commit of these files.
fn repository(dir: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(dir).unwrap();
    git(dir, &["init", "-q", "-b", "main"]);
    commit(dir, files);
}

fn commit(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    git(dir, &["add", "-A"]);
    git(dir, &["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", "change"]);
}

fn git(dir: &Path, args: &[&str]) {
    let output = Command::new("git").args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the pipeline of `definition` and gives its jobs by name.
async fn run(definition: &str, files: &[(&str, &str)]) -> (World, JobStatus, Vec<JobReport>) {
    let dir = tempfile::tempdir().unwrap();
    let mut all = vec![(".gitlab-ci.yml", definition)];
    all.extend_from_slice(files);
    repository(dir.path(), &all);
    let world = World::builder().gitlab(|gitlab| gitlab.project("group/app", dir.path())).start().await;
    let pipe = world.pipe();
    let pipeline = world.gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, world.gitlab.wait_pipeline(pipeline)).await.expect("the pipeline ends");
    pipe.drain().await;
    let jobs = world.gitlab.jobs();
    (world, status, jobs)
}

fn log(gitlab: &FakeGitlab, jobs: &[JobReport], name: &str) -> String {
    let job = jobs.iter().find(|job| job.name == name).unwrap_or_else(|| panic!("no job {name}"));
    trace::text(&gitlab.trace(job.id))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_goes_from_one_job_to_the_next() {
    let definition = r#"
stages: [build, test]
build:
  stage: build
  script:
    - mkdir -p out/deep "out/with blank"
    - echo one > out/deep/one.txt
    - echo two > "out/with blank/zwei-ü.txt"
    - echo no > out/no.log
    - ln -s deep/one.txt out/link
    - chmod 755 out/deep/one.txt
  artifacts:
    paths: [out/]
    exclude: ["out/*.log"]
test:
  stage: test
  script:
    - cat out/deep/one.txt "out/with blank/zwei-ü.txt" out/link
    - test -x out/deep/one.txt
    - test -L out/link
    - test ! -e out/no.log
lone:
  stage: test
  dependencies: []
  script:
    - test ! -e out
"#;
    let (world, status, jobs) = run(definition, &[]).await;
    assert_eq!(status, JobStatus::Success, "{jobs:#?}");
    let test = log(&world.gitlab, &jobs, "test");
    assert!(test.contains("Downloading artifacts for build") && test.contains("\none\ntwo\none\n"), "{test}");
    let build = log(&world.gitlab, &jobs, "build");
    assert!(build.contains("Uploading artifacts as \"archive\" to coordinator... 201 Created"), "{build}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_for_failed_jobs_and_reports() {
    let definition = r#"
fails:
  script:
    - echo broken > core.txt
    - echo '<testsuite/>' > report.xml
    - exit 4
  artifacts:
    when: on_failure
    paths: [core.txt]
    reports:
      junit: report.xml
on-success-only:
  script: ["echo x > x.txt", "exit 5"]
  artifacts:
    paths: [x.txt]
"#;
    let (world, status, jobs) = run(definition, &[]).await;
    assert_eq!(status, JobStatus::Failed);
    let of = |name: &str| jobs.iter().find(|job| job.name == name).unwrap();
    assert_eq!((of("fails").exit_code, of("on-success-only").exit_code), (Some(4), Some(5)));
    assert!(world.gitlab.artifact(of("fails").id, "archive").unwrap().is_some());
    assert!(world.gitlab.artifact(of("fails").id, "junit").unwrap().is_some());
    assert!(world.gitlab.artifact(of("on-success-only").id, "archive").unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_matching_file_is_a_warning_and_no_failure() {
    let definition = "job:\n  script: [\"true\"]\n  artifacts:\n    paths: [nothing/*]\n";
    let (world, status, jobs) = run(definition, &[]).await;
    assert_eq!(status, JobStatus::Success);
    let job = log(&world.gitlab, &jobs, "job");
    assert!(job.contains("nothing/*: no matching files") && job.contains("No files to upload"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_checked_out_at_their_commit_without_credentials_left() {
    let definition = r#"
depth:
  variables: { GIT_DEPTH: "1" }
  script:
    - test "$(git rev-parse HEAD)" = "$CI_COMMIT_SHA"
    - test "$(git rev-list --count HEAD)" = 1
    - cat hello.txt
    - if grep -r "$CI_JOB_TOKEN" .git; then echo leaked; exit 9; fi
    - git config remote.origin.url
    - test "$PWD" = "$CI_PROJECT_DIR"
none:
  variables: { GIT_STRATEGY: none }
  script: [test ! -e hello.txt]
clone:
  variables: { GIT_STRATEGY: clone, GIT_DEPTH: "0" }
  script: [cat hello.txt]
"#;
    let (world, status, jobs) = run(definition, &[("hello.txt", "hello\n")]).await;
    assert_eq!(status, JobStatus::Success, "{jobs:#?}");
    let depth = log(&world.gitlab, &jobs, "depth");
    for line in [
        "Fetching changes with git depth set to 1...",
        "Created fresh repository.",
        "as detached HEAD (ref is main)...",
        "\nhello\n",
    ] {
        assert!(depth.contains(line), "{line:?} is missing in\n{depth}");
    }
    assert!(!depth.contains("gitlab-ci-token"), "{depth}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_submodules() {
    let dir = tempfile::tempdir().unwrap();
    let (app, lib) = (dir.path().join("app"), dir.path().join("lib"));
    repository(&lib, &[("lib.txt", "from the library\n")]);
    let definition = "job:\n  variables: { GIT_SUBMODULE_STRATEGY: normal }\n  script:\n    - echo \"tag is $CI_COMMIT_TAG\"\n    - cat lib/lib.txt\n";
    repository(&app, &[(".gitlab-ci.yml", definition)]);
    git(&app, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib.to_str().unwrap(), "lib"]);
    // As in a group of projects: the module is the neighbour of this one.
    commit(&app, &[(".gitmodules", "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n")]);
    git(&app, &["tag", "v1.0"]);
    let world =
        World::builder().gitlab(|gitlab| gitlab.project("group/app", &app).project("group/lib", &lib)).start().await;
    let _pipe = world.pipe();
    let pipeline = world.gitlab.create_pipeline("group/app", Some("v1.0"), Vec::new()).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, world.gitlab.wait_pipeline(pipeline)).await.expect("the pipeline ends");
    let jobs = world.gitlab.jobs();
    let job = log(&world.gitlab, &jobs, "job");
    assert_eq!(status, JobStatus::Success, "{job}");
    assert!(job.contains("tag is v1.0") && job.contains("from the library"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_commit_fails_with_a_line_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path(), &[("a.txt", "a\n")]);
    let world = World::builder().gitlab(|gitlab| gitlab.project("group/app", dir.path())).start().await;
    let _pipe = world.pipe();
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let overlay = serde_json::json!({"git_info": {"sha": sha}});
    let job = world.run(fake_gitlab::JobSpec::script(["echo never"]).project("group/app").payload(overlay)).await;
    assert_eq!((job.status, job.failure_reason.as_deref()), (JobStatus::Failed, Some("script_failure")));
    let log = trace::text(&world.gitlab.trace(job.id));
    assert!(log.contains(sha) && !log.contains("\nnever\n"), "{log}");
}

//! Git over HTTP, with the real git as the client.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{FakeGitlab, JobSpec};
use serde_json::Value;
use support::{Repository, finish, git, git_command, take};

const DEFINITION: (&str, &str) = (".gitlab-ci.yml", "a: {script: x}\n");

fn repo_url(payload: &Value) -> String {
    payload["git_info"]["repo_url"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_fetches_by_refspec_with_depth_and_checks_out_the_sha() {
    let repository = Repository::with(&[DEFINITION]);
    for number in 0..30 {
        repository.commit(&format!("commit {number}"), &[("file", &number.to_string())]);
    }
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    // The branch moves on and is even deleted; the pipeline's ref keeps the commit.
    repository.commit("later", &[("file", "later")]);
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    git(work, &["init", "-q"]);
    git(work, &["remote", "add", "origin", &repo_url(&payload)]);
    let mut fetch = vec!["fetch", "-q", "origin", "--depth", "5"];
    let refspecs: Vec<&str> =
        payload["git_info"]["refspecs"].as_array().unwrap().iter().map(|spec| spec.as_str().unwrap()).collect();
    fetch.extend(&refspecs);
    git(work, &fetch);
    let sha = payload["git_info"]["sha"].as_str().unwrap();
    git(work, &["checkout", "-q", "--detach", sha]);
    assert_eq!(std::fs::read_to_string(work.join("file")).unwrap(), "29");
    assert_eq!(git(work, &["rev-list", "--count", "HEAD"]), "5");

    // Any commit may be asked for by its id.
    let old = repository.git(&["rev-parse", "HEAD~20"]);
    git(work, &["fetch", "-q", "--depth", "1", "origin", &old]);
    git(work, &["checkout", "-q", &old]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_commits_count_and_the_users_repository_stays_as_it_is() {
    let repository = Repository::with(&[DEFINITION, ("file", "committed")]);
    std::fs::write(repository.path().join("file"), "changed").unwrap();
    let before = repository.git(&["for-each-ref"]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    let pipeline = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["clone", "-q", &repo_url(&payload), "copy"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("copy/file")).unwrap(), "committed");
    let served = git(folder.path(), &["ls-remote", &repo_url(&payload)]);
    assert!(served.contains(&format!("refs/pipelines/{pipeline}")), "{served}");
    assert_eq!(repository.git(&["for-each-ref"]), before);
    assert_eq!(repository.git(&["status", "--porcelain"]), " M file");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_commits_are_seen_by_the_next_pipeline() {
    let repository = Repository::with(&[DEFINITION]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    repository.git(&["checkout", "-q", "-b", "feature/x"]);
    let sha = repository.commit("new", &[("new", "new")]);
    gitlab.create_pipeline("group/app", Some("feature/x"), Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    assert_eq!(payload["git_info"]["sha"], sha);
    assert_eq!(payload["git_info"]["protected"], false);
    assert_eq!(support::variable(&payload, "CI_COMMIT_REF_SLUG"), Some("feature-x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn relative_submodules_between_projects_work() {
    let library = Repository::with(&[("lib.txt", "library")]);
    let app = Repository::with(&[DEFINITION]);
    app.git(&["submodule", "add", "-q", library.path().to_str().unwrap(), "lib"]);
    app.git(&["config", "-f", ".gitmodules", "submodule.lib.url", "../lib.git"]);
    app.commit("with submodule", &[]);
    let gitlab = FakeGitlab::builder()
        .project("group/app", app.path())
        .project("group/lib", library.path())
        .start()
        .await
        .unwrap();
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["clone", "-q", "--recurse-submodules", &repo_url(&payload), "copy"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("copy/lib/lib.txt")).unwrap(), "library");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_needs_the_token_of_a_running_job_or_of_a_user() {
    let repository = Repository::with(&[DEFINITION]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    let with_password = |password: &str| {
        gitlab.url().replace("http://", &format!("http://gitlab-ci-token:{password}@")) + "/group/app.git"
    };
    gitlab.enqueue(JobSpec::default().project("group/app")).await.unwrap();
    let payload = take(&gitlab).await;
    let url = repo_url(&payload);
    let folder = tempfile::tempdir().unwrap();
    let refs = |url: &str| git_command(folder.path(), &["ls-remote", url]).output().unwrap();
    assert!(refs(&url).status.success());
    assert!(refs(&with_password(&gitlab.private_token())).status.success());
    assert!(!refs(&with_password("wrong")).status.success());
    assert!(!refs(&url.replace("group/app", "group/none")).status.success());
    let missing = support::send(
        support::client().get(format!("{}/group/app.git/info/refs?service=git-upload-pack", gitlab.url())),
    )
    .await
    .expect(401);
    assert_eq!(missing.header("www-authenticate"), Some("Basic realm=\"GitLab\""));
    finish(&gitlab, &payload, "success").await.expect(200);
    assert!(!refs(&url).status.success(), "the job has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_is_refused() {
    let repository = Repository::with(&[DEFINITION]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    gitlab.enqueue(JobSpec::default().project("group/app")).await.unwrap();
    let payload = take(&gitlab).await;
    let push = git_command(repository.path(), &["push", &repo_url(&payload), "HEAD:refs/heads/new"]).output().unwrap();
    assert!(!push.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_branches_make_a_compressed_request_that_is_understood() {
    // Git compresses request bodies over 1 KiB; 40 wanted commits make one.
    let repository = Repository::with(&[DEFINITION]);
    for number in 0..40 {
        repository.commit(&format!("commit {number}"), &[("file", &number.to_string())]);
        repository.git(&["branch", &format!("branch{number}")]);
    }
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    gitlab.enqueue(JobSpec::default().project("group/app")).await.unwrap();
    let payload = take(&gitlab).await;
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["-c", "protocol.version=0", "clone", "-q", &repo_url(&payload), "copy"]);
    assert_eq!(git(&folder.path().join("copy"), &["branch", "-r"]).lines().count(), 42);
    let sent: Vec<_> = gitlab
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/git-upload-pack"))
        .map(|request| request.headers.get("content-encoding").cloned())
        .collect();
    assert!(sent.iter().flatten().any(|encoding| encoding == "gzip"), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_in_chunks_is_understood() {
    let repository = Repository::with(&[DEFINITION]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    gitlab.enqueue(JobSpec::default().project("group/app")).await.unwrap();
    let payload = take(&gitlab).await;
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["clone", "-q", &repo_url(&payload), "copy"]);
    let copy = folder.path().join("copy");
    for number in 0..60 {
        git(&copy, &["commit", "-q", "--allow-empty", "-m", &format!("local {number}")]);
    }
    repository.commit("remote", &[("x", "y")]);
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    // With so small a buffer git sends chunks.
    git(&copy, &["-c", "http.postBuffer=1024", "-c", "protocol.version=0", "fetch", "-q", "origin"]);
    let sent: Vec<bool> = gitlab
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/git-upload-pack"))
        .map(|request| request.headers.contains_key("transfer-encoding"))
        .collect();
    assert!(sent.contains(&true), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_told_the_external_address() {
    let repository = Repository::with(&[DEFINITION]);
    let gitlab = FakeGitlab::builder()
        .project("group/app", repository.path())
        .external_url("https://gitlab.example.com:8443/")
        .start()
        .await
        .unwrap();
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    assert!(repo_url(&payload).ends_with("@gitlab.example.com:8443/group/app.git"), "{}", repo_url(&payload));
    for (key, value) in [
        ("CI_SERVER_URL", "https://gitlab.example.com:8443"),
        ("CI_SERVER_HOST", "gitlab.example.com"),
        ("CI_SERVER_FQDN", "gitlab.example.com:8443"),
        ("CI_SERVER_PORT", "8443"),
        ("CI_SERVER_PROTOCOL", "https"),
    ] {
        assert_eq!(support::variable(&payload, key), Some(value), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_shallow_checkout_is_served_as_the_default_branch() {
    let origin = Repository::with(&[DEFINITION]);
    for number in 0..5 {
        origin.commit(&format!("commit {number}"), &[("file", &number.to_string())]);
    }
    let sha = origin.git(&["rev-parse", "HEAD"]);
    let folder = tempfile::tempdir().unwrap();
    let checkout = folder.path();
    git(checkout, &["init", "-q"]);
    let refspec = "+refs/heads/main:refs/remotes/origin/main";
    let url = format!("file://{}", origin.path().display());
    git(checkout, &["fetch", "-q", "--depth", "2", &url, refspec]);
    git(checkout, &["checkout", "-q", "--detach", &sha]);

    let gitlab = FakeGitlab::builder().project("group/app", checkout).start().await.unwrap();
    for reference in [None, Some("HEAD"), Some("main")] {
        gitlab.create_pipeline("group/app", reference, Vec::new()).await.unwrap();
        let payload = take(&gitlab).await;
        assert_eq!(payload["git_info"]["sha"], sha);
        let copy = tempfile::tempdir().unwrap();
        git(copy.path(), &["clone", "-q", &repo_url(&payload), "copy"]);
        assert_eq!(std::fs::read_to_string(copy.path().join("copy/file")).unwrap(), "4");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_head_beside_branches_is_what_runs() {
    let repository = Repository::with(&[DEFINITION]);
    let checked_out = repository.git(&["rev-parse", "HEAD"]);
    repository.commit("newer", &[("x", "y")]);
    repository.git(&["checkout", "-q", "--detach", &checked_out]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    gitlab.create_pipeline("group/app", Some("HEAD"), Vec::new()).await.unwrap();
    let payload = take(&gitlab).await;
    assert_eq!(payload["git_info"]["sha"], checked_out);
    assert_eq!(payload["git_info"]["ref"], "detached-head");
    let newest = repository.commit("on the detached head", &[("z", "z")]);
    gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap();
    assert_eq!(take(&gitlab).await["git_info"]["sha"], newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_commits_has_no_branch_to_run() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "-b", "main"]);
    let gitlab = FakeGitlab::builder().project("group/app", folder.path()).start().await.unwrap();
    let problem = gitlab.create_pipeline("group/app", None, Vec::new()).await.unwrap_err();
    assert_eq!(problem.to_string(), "project `group/app`: no branch or tag `main`");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pipelines_at_once_do_not_disturb_each_other() {
    let repository = Repository::with(&[DEFINITION]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    repository.commit("new", &[("x", "y")]);
    let made = futures::future::join_all((0..8).map(|_| gitlab.create_pipeline("group/app", None, Vec::new()))).await;
    let ids: std::collections::BTreeSet<u64> = made.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 8);
}

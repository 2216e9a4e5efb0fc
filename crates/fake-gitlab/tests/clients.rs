//! What API clients such as python-gitlab and glab use besides pipelines and jobs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write;

use fake_gitlab::{FakeGitlab, JobSpec};
use serde_json::{Value, json};
use support::{Answer, Repository, client, finish, send, take, upload, variable};

const PROJECT: &str = "/projects/group%2Fapp";

async fn served() -> (FakeGitlab, Repository) {
    let repository = Repository::with(&[(".gitlab-ci.yml", "a:\n  script: x\n"), ("src/main.rs", "fn main() {}\n")]);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    (gitlab, repository)
}

async fn api(gitlab: &FakeGitlab, method: &str, path: &str, body: Value) -> Answer {
    let request = client().request(method.parse().unwrap(), format!("{}/api/v4{path}", gitlab.url()));
    send(request.header("PRIVATE-TOKEN", gitlab.private_token()).json(&body)).await
}

async fn get(gitlab: &FakeGitlab, path: &str) -> Answer {
    api(gitlab, "GET", path, Value::Null).await
}

#[tokio::test]
async fn branches_tags_and_commits_are_those_of_the_repository() {
    let (gitlab, repository) = served().await;
    repository.git(&["branch", "feature/x"]);
    repository.git(&["tag", "v1"]);
    let sha = repository.commit("Second commit", &[("src/main.rs", "fn main() { }\n")]);
    let branches = get(&gitlab, &format!("{PROJECT}/repository/branches")).await.expect(200).json();
    let names: Vec<&Value> = branches.as_array().unwrap().iter().map(|branch| &branch["name"]).collect();
    assert_eq!(names, ["feature/x", "main"]);
    let main = get(&gitlab, &format!("{PROJECT}/repository/branches/main")).await.expect(200).json();
    assert_eq!(
        (&main["commit"]["id"], &main["default"], &main["protected"]),
        (&json!(sha), &json!(true), &json!(true))
    );
    get(&gitlab, &format!("{PROJECT}/repository/branches/feature%2Fx")).await.expect(200);
    let absent = get(&gitlab, &format!("{PROJECT}/repository/branches/absent")).await.expect(404).json();
    assert_eq!(absent, json!({"message": "404 Branch Not Found"}));
    let tag = get(&gitlab, &format!("{PROJECT}/repository/tags/v1")).await.expect(200).json();
    assert_eq!(tag["commit"]["title"], "First commit");
    let commits = get(&gitlab, &format!("{PROJECT}/repository/commits?per_page=1")).await.expect(200);
    assert_eq!((commits.header("x-total"), &commits.json()[0]["id"]), (Some("2"), &json!(sha)));
    let commits = get(&gitlab, &format!("{PROJECT}/repository/commits?path=.gitlab-ci.yml")).await.expect(200).json();
    assert_eq!(commits.as_array().unwrap().len(), 1);
    gitlab.create_pipeline("group/app", None, vec![]).await.unwrap();
    let commit = get(&gitlab, &format!("{PROJECT}/repository/commits/{sha}")).await.expect(200).json();
    assert_eq!((&commit["title"], &commit["last_pipeline"]["id"]), (&json!("Second commit"), &json!(1)));
}

#[tokio::test]
async fn files_and_folders_are_those_of_the_commit() {
    let (gitlab, _repository) = served().await;
    let path = format!("{PROJECT}/repository/files/src%2Fmain.rs");
    let file = get(&gitlab, &format!("{path}?ref=main")).await.expect(200).json();
    assert_eq!((&file["content"], &file["size"]), (&json!("Zm4gbWFpbigpIHt9Cg=="), &json!(13)));
    assert_eq!(get(&gitlab, &format!("{path}/raw?ref=main")).await.expect(200).text(), "fn main() {}\n");
    get(&gitlab, &format!("{PROJECT}/repository/files/absent?ref=main")).await.expect(404);
    let tree = get(&gitlab, &format!("{PROJECT}/repository/tree")).await.expect(200).json();
    let paths = |tree: &Value| tree.as_array().unwrap().iter().map(|entry| entry["path"].clone()).collect::<Vec<_>>();
    assert_eq!(paths(&tree), [".gitlab-ci.yml", "src"]);
    assert_eq!(tree[1]["type"], "tree");
    let below = get(&gitlab, &format!("{PROJECT}/repository/tree?path=src")).await.expect(200).json();
    assert_eq!(paths(&below), ["src/main.rs"]);
}

#[tokio::test]
async fn definitions_are_checked() {
    let (gitlab, _repository) = served().await;
    let lint = format!("{PROJECT}/ci/lint");
    assert_eq!(get(&gitlab, &lint).await.expect(200).json()["valid"], json!(true));
    let wrong =
        api(&gitlab, "POST", &lint, json!({"content": "a:\n  script: x\n  skript: x\n"})).await.expect(200).json();
    assert_eq!(wrong["valid"], json!(false));
    assert_eq!(wrong["errors"], json!(["jobs:a config contains unknown keys: skript"]));
}

#[tokio::test]
async fn project_variables_are_kept_and_given_to_jobs() {
    let (gitlab, repository) = served().await;
    repository.git(&["branch", "feature"]);
    let variables = format!("{PROJECT}/variables");
    let created = api(&gitlab, "POST", &variables, json!({"key": "A", "value": "12345678", "masked": true})).await;
    assert_eq!(created.expect(201).json()["masked"], json!(true));
    api(&gitlab, "POST", &variables, json!({"key": "A", "value": "x"})).await.expect(400);
    api(&gitlab, "POST", &variables, json!({"key": "B", "value": "short", "masked": true})).await.expect(400);
    api(&gitlab, "POST", &variables, json!({"key": "B C", "value": "x"})).await.expect(400);
    let file = json!({"key": "P", "value": "$x", "protected": true, "variable_type": "file", "raw": true});
    api(&gitlab, "POST", &variables, file).await.expect(201);
    gitlab.create_pipeline("group/app", Some("main"), vec![]).await.unwrap();
    let job = take(&gitlab).await;
    let given = job["variables"].as_array().unwrap();
    assert!(given.contains(&json!({"key": "A", "value": "12345678", "public": false, "masked": true})));
    let expected = json!({"key": "P", "value": "$x", "public": false, "masked": false, "file": true, "raw": true});
    assert!(given.contains(&expected));
    gitlab.create_pipeline("group/app", Some("feature"), vec![]).await.unwrap();
    assert_eq!(variable(&take(&gitlab).await, "P"), None);

    let changed = api(&gitlab, "PUT", &format!("{variables}/A"), json!({"value": "87654321"})).await.expect(200).json();
    assert_eq!((&changed["value"], &changed["masked"]), (&json!("87654321"), &json!(true)));
    api(&gitlab, "DELETE", &format!("{variables}/A"), Value::Null).await.expect(204);
    let absent = get(&gitlab, &format!("{variables}/A")).await.expect(404).json();
    assert_eq!(absent, json!({"message": "404 Variable Not Found"}));
    assert_eq!(get(&gitlab, &variables).await.expect(200).json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn runners_are_found_changed_and_removed() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let change = json!({"tag_list": ["x"], "paused": true, "description": "new"});
    let changed = api(&gitlab, "PUT", "/runners/1", change).await.expect(200).json();
    assert_eq!((&changed["tag_list"], &changed["paused"]), (&json!(["x"]), &json!(true)));
    assert_eq!((&changed["description"], &changed["run_untagged"]), (&json!("new"), &json!(true)));
    for (query, count) in
        [("tag_list=x", 1), ("tag_list=y", 0), ("paused=false", 0), ("type=instance_type", 1), ("status=online", 0)]
    {
        let found = get(&gitlab, &format!("/runners?{query}")).await.expect(200).json();
        assert_eq!(found.as_array().unwrap().len(), count, "{query}");
    }
    api(&gitlab, "PUT", "/runners/1", json!({"tag_list": [], "run_untagged": false})).await.expect(400);
    api(&gitlab, "DELETE", "/runners/1", Value::Null).await.expect(204);
    get(&gitlab, "/runners/1").await.expect(404);
}

#[tokio::test]
async fn pipelines_are_filtered_and_deleted() {
    let (gitlab, repository) = served().await;
    repository.git(&["branch", "feature"]);
    for reference in ["main", "feature", "main"] {
        gitlab.create_pipeline("group/app", Some(reference), vec![]).await.unwrap();
    }
    let job = take(&gitlab).await;
    finish(&gitlab, &job, "success").await.expect(200);
    let ids = async |query: &str| {
        let found = get(&gitlab, &format!("{PROJECT}/pipelines?{query}")).await.expect(200).json();
        found.as_array().unwrap().iter().map(|pipeline| pipeline["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids("ref=main").await, [3, 1]);
    assert_eq!(ids("scope=finished").await, [1]);
    assert_eq!(ids("status=pending&sort=asc").await, [2, 3]);
    let latest = get(&gitlab, &format!("{PROJECT}/pipelines/latest?ref=feature")).await.expect(200).json();
    assert_eq!(latest["id"], 2);
    api(&gitlab, "DELETE", &format!("{PROJECT}/pipelines/2"), Value::Null).await.expect(204);
    get(&gitlab, &format!("{PROJECT}/pipelines/2")).await.expect(404);
    assert_eq!(ids("").await, [3, 1]);
}

#[tokio::test]
async fn one_file_of_an_archive_is_read() {
    let gitlab = FakeGitlab::start().await.unwrap();
    gitlab.enqueue(JobSpec::default()).await.unwrap();
    let job = take(&gitlab).await;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("out/report.txt", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"good").unwrap();
    upload(&gitlab, &job, "", "artifacts.zip", zip.finish().unwrap().into_inner()).await.expect(201);
    let file = |path: &str| format!("/projects/fake%2Fjobs/jobs/1/artifacts/{path}");
    assert_eq!(get(&gitlab, &file("out/report.txt")).await.expect(200).text(), "good");
    get(&gitlab, &file("out/absent")).await.expect(404);
}

#[tokio::test]
async fn lists_go_on_by_key_without_counting() {
    let gitlab = FakeGitlab::start().await.unwrap();
    for _ in 0..5 {
        gitlab.enqueue(JobSpec::default()).await.unwrap();
    }
    let mut url =
        format!("{}/api/v4/projects/fake%2Fjobs/jobs?pagination=keyset&per_page=2&scope=pending", gitlab.url());
    let mut ids = Vec::new();
    loop {
        let answer = send(client().get(&url).header("PRIVATE-TOKEN", gitlab.private_token())).await.expect(200);
        ids.extend(answer.json().as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()));
        assert_eq!(answer.header("x-total"), None);
        let Some(link) = answer.header("link") else { break };
        // A new job moves nothing.
        gitlab.enqueue(JobSpec::default()).await.unwrap();
        url = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!(ids, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_token_for_reading_changes_nothing() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let call = |method: &str, path: &str| {
        let request = client().request(method.parse().unwrap(), format!("{}/api/v4{path}", gitlab.url()));
        send(request.header("PRIVATE-TOKEN", gitlab.read_only_token()).json(&json!({"runner_type": "instance_type"})))
    };
    call("GET", "/projects").await.expect(200);
    for (method, path) in
        [("POST", "/user/runners"), ("DELETE", "/runners/1"), ("DELETE", "/projects/1"), ("PUT", "/runners/1")]
    {
        assert_eq!(call(method, path).await.expect(403).json()["error"], "insufficient_scope", "{method} {path}");
    }
}

//! Artifacts and caches, against a small server that keeps what it gets.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use pod::Job;
use serde_json::json;
use zip::write::SimpleFileOptions;

/// One upload as it came.
#[derive(Debug, Clone)]
struct Upload {
    query: BTreeMap<String, String>,
    token: String,
    file_name: String,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Store {
    uploads: Vec<Upload>,
    downloads: BTreeMap<u64, Vec<u8>>,
    /// Statuses to answer with before anything else.
    faults: Vec<u16>,
    requests: usize,
}

type Shared = Arc<Mutex<Store>>;

/// A server with two routes of GitLab's, and its runtime.
struct Server {
    url: String,
    store: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = Shared::default();
        let app = Router::new()
            .route("/api/v4/jobs/{id}/artifacts", get(download).post(upload))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&store));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, store, _runtime: runtime }
    }

    fn faults(self, statuses: &[u16]) -> Self {
        self.store.lock().unwrap().faults = statuses.to_vec();
        self
    }

    fn job(&self, script: &[&str]) -> Job {
        let mut job = Job::new(script);
        job.url.clone_from(&self.url);
        job
    }

    fn uploads(&self) -> Vec<Upload> {
        self.store.lock().unwrap().uploads.clone()
    }

    fn requests(&self) -> usize {
        self.store.lock().unwrap().requests
    }
}

fn fault(store: &Shared) -> Option<StatusCode> {
    let mut store = store.lock().unwrap();
    store.requests += 1;
    if store.faults.is_empty() { None } else { Some(StatusCode::from_u16(store.faults.remove(0)).unwrap()) }
}

async fn upload(
    State(store): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    mut form: Multipart,
) -> StatusCode {
    let field = form.next_field().await.unwrap().unwrap();
    let file_name = field.file_name().unwrap().to_owned();
    let bytes = field.bytes().await.map(|bytes| bytes.to_vec());
    if let Some(status) = fault(&store) {
        return status;
    }
    let Ok(bytes) = bytes else { return StatusCode::BAD_REQUEST };
    let token = headers["job-token"].to_str().unwrap().to_owned();
    store.lock().unwrap().uploads.push(Upload { query, token, file_name, bytes });
    StatusCode::CREATED
}

async fn download(State(store): State<Shared>, Path(id): Path<u64>, headers: HeaderMap) -> Result<Vec<u8>, StatusCode> {
    if let Some(status) = fault(&store) {
        return Err(status);
    }
    assert_eq!(headers["job-token"], "token-of-dependency");
    store.lock().unwrap().downloads.get(&id).cloned().ok_or(StatusCode::NOT_FOUND)
}

/// Entries of a zip: name, mode, content.
fn entries(bytes: &[u8]) -> Vec<(String, u32, String)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut entry = zip.by_index(i).unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            (String::from_utf8(entry.name_raw().to_vec()).unwrap(), entry.unix_mode().unwrap(), content)
        })
        .collect()
}

const TREE: &[&str] = &[
    "mkdir -p out/a/b out/empty; chmod 755 out out/a out/a/b out/empty",
    "echo one > out/one.txt; chmod 600 out/one.txt",
    "echo two > out/a/two.txt; echo three > out/a/b/three.log; echo d > out/.dot; chmod 644 out/a/two.txt out/a/b/three.log out/.dot",
    "echo '#!/bin/sh' > out/run.sh; chmod 755 out/run.sh",
    "ln -s one.txt out/link",
    "echo u > \"out/name with space ü.txt\"; chmod 644 out/name*",
    "mkfifo out/pipe",
];

#[test]
fn a_folder_is_uploaded_with_modes_links_and_empty_folders() {
    let server = Server::start();
    let job = server.job(TREE).set(
        "artifacts",
        json!([{"paths": ["out/"], "exclude": ["out/**/*.log", "out/a/*.txt"], "expire_in": "1 week"}]),
    );
    let ended = job.run().succeeded();
    let [upload] = server.uploads().try_into().unwrap();
    assert_eq!(upload.file_name, "artifacts.zip");
    assert_eq!(upload.token, "glcbt-64_0123456789abcdef");
    let query = [("artifact_format", "zip"), ("artifact_type", "archive"), ("expire_in", "1 week")];
    assert_eq!(upload.query, query.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let expected = [
        ("out/", 0o040_755, ""),
        ("out/.dot", 0o100_644, "d\n"),
        ("out/a/", 0o040_755, ""),
        ("out/a/b/", 0o040_755, ""),
        ("out/empty/", 0o040_755, ""),
        ("out/link", 0o120_777, "one.txt"),
        ("out/name with space ü.txt", 0o100_644, "u\n"),
        ("out/one.txt", 0o100_600, "one\n"),
        ("out/run.sh", 0o100_755, "#!/bin/sh\n"),
    ];
    let found = entries(&upload.bytes);
    let found: Vec<_> = found.iter().map(|(name, mode, content)| (name.as_str(), *mode, content.as_str())).collect();
    assert_eq!(found, expected);
    let section = ended.section("upload_artifacts_on_success");
    for line in [
        "\u{1b}[32;1mUploading artifacts...\u{1b}[0;m\n",
        "out/: found 10 matching artifact files and directories\u{1b}[0;m \n",
        "out/**/*.log: excluded 1 files                    \u{1b}[0;m \n",
        "Uploading artifacts as \"archive\" to coordinator... 201 Created\u{1b}[0;m  id\u{1b}[0;m=42 status\u{1b}[0;m=201 token\u{1b}[0;m=[MASKED]\n",
    ] {
        let line = line.replace("token\u{1b}[0;m=[MASKED]", "token\u{1b}[0;m=64_012345");
        assert!(section.contains(&line), "{line} in {section}");
    }
}

#[test]
fn which_files_a_path_stands_for() {
    for (paths, exclude, expected) in [
        (
            json!(["out/**/*.txt", "out/*.sh"]),
            json!([]),
            &["out/a/two.txt", "out/name with space ü.txt", "out/one.txt", "out/run.sh"][..],
        ),
        (json!(["out/a/**"]), json!([]), &["out/a/", "out/a/b/", "out/a/b/three.log", "out/a/two.txt"]),
        (json!(["out/a"]), json!(["out/a/**/*"]), &["out/a/"]),
        (json!(["./out/{one,zero}.txt"]), json!([]), &["out/one.txt"]),
        (json!(["$CI_PROJECT_DIR/out/one.txt", "../project/out/run.sh"]), json!([]), &["out/one.txt", "out/run.sh"]),
        (json!(["out/${WHICH:-one}.txt", "/etc/passwd", "../../x"]), json!([]), &["out/one.txt"]),
        (json!(["out/*/"]), json!(["out/[!a]*", "out/a/b/*"]), &["out/a/", "out/a/b/", "out/a/two.txt"]),
    ] {
        let server = Server::start();
        let job = server.job(TREE).set("artifacts", json!([{"paths": paths, "exclude": exclude}]));
        job.run().succeeded();
        let names: Vec<String> = entries(&server.uploads()[0].bytes).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, expected, "{paths} without {exclude}");
    }
}

#[test]
fn reports_are_sent_as_gzip_or_as_they_are() {
    let server = Server::start();
    let artifacts = json!([
        {"name": "dotenv/.env", "paths": ["build.env", "b.env"], "artifact_type": "dotenv", "artifact_format": "gzip", "when": "always"},
        {"name": "report.json", "paths": ["r.json"], "artifact_type": "codequality", "artifact_format": "raw", "when": "always"},
        {"name": "never", "paths": ["r.json"], "when": "on_failure"},
    ]);
    let script = &["echo A=1 > build.env; echo B=2 > b.env; echo [] > r.json"];
    server.job(script).set("artifacts", artifacts).run().succeeded();
    let uploads = server.uploads();
    assert_eq!(uploads.len(), 2);
    assert_eq!((uploads[0].file_name.as_str(), uploads[0].query["artifact_type"].as_str()), (".env.gz", "dotenv"));
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(uploads[0].bytes.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "B=2\nA=1\n");
    assert_eq!((uploads[1].file_name.as_str(), uploads[1].bytes.as_slice()), ("report.json", &b"[]\n"[..]));
}

#[test]
fn a_failed_job_uploads_what_is_for_failure() {
    let server = Server::start();
    let artifacts = json!([
        {"name": "s", "paths": ["a"]}, {"name": "f", "paths": ["a"], "when": "on_failure"}, {"name": "e", "paths": ["a"], "when": "always"}
    ]);
    let job = server.job(&["echo a > a; exit 3"]).after(&["echo after >> a"]).set("artifacts", artifacts);
    let ended = job.run().failed("command terminated with exit code 3");
    let names: Vec<_> = server.uploads().into_iter().map(|upload| upload.file_name).collect();
    assert_eq!(names, ["f.zip", "e.zip"]);
    assert_eq!(entries(&server.uploads()[0].bytes)[0].2, "a\nafter\n");
    assert!(ended.stages.contains(&"upload_artifacts_on_failure".to_owned()));
}

#[test]
fn nothing_to_upload_is_no_failure() {
    let server = Server::start();
    let ended = server.job(&["true"]).set("artifacts", json!([{"paths": ["no/*.xml", ""]}])).run().succeeded();
    assert_eq!(server.requests(), 0);
    let section = ended.section("upload_artifacts_on_success");
    let project = ended.project().display().to_string();
    assert!(section.contains(&format!("WARNING: no/*.xml: no matching files. Ensure that the artifact path is relative to the working directory ({project})")));
    assert!(
        section.contains("WARNING: No matching files. Path is empty.") && section.contains("ERROR: No files to upload")
    );
}

#[test]
fn refused_uploads_fail_the_job_and_passing_trouble_is_waited_out() {
    for (statuses, requests, message, line) in [
        (&[403][..], 1, "command terminated with exit code 1", "FATAL: permission denied"),
        (&[413], 1, "command terminated with exit code 1", "FATAL: too large"),
        (&[500, 500], 3, "", "WARNING: Retrying..."),
        (&[500, 500, 500], 3, "command terminated with exit code 1", "FATAL: "),
        (&[503, 503, 503], 4, "", "503 Service Unavailable"),
    ] {
        let server = Server::start().faults(statuses);
        let job =
            server.job(&["echo a > a"]).set("artifacts", json!([{"paths": ["a"]}])).after(&["echo $CI_JOB_STATUS"]);
        let ended = job.run().failed(message);
        assert_eq!(server.requests(), requests, "{statuses:?}");
        assert!(ended.section("upload_artifacts_on_success").contains(line), "{}", ended.log);
        assert!(ended.section("after_script").ends_with("success\n"));
    }
}

#[test]
fn more_than_one_raw_file_is_an_error() {
    let server = Server::start();
    let artifacts = json!([{"paths": ["*.json"], "artifact_format": "raw", "artifact_type": "codequality"}]);
    let ended = server.job(&["echo 1 > a.json; echo 2 > b.json"]).set("artifacts", artifacts).run();
    let ended = ended.failed("command terminated with exit code 1");
    assert!(ended.log.contains("FATAL: only one file can be sent as raw"));
}

#[test]
fn untracked_files_are_those_git_does_not_know() {
    let server = Server::start();
    let script = &[
        "git init -q . && git config user.email a@b && git config user.name a",
        "echo t > tracked; git add tracked; git commit -qm 1",
        "echo '*.ign' > .git/info/exclude; echo i > i.ign; echo n > new; mkdir s; echo x > s/ü.txt; echo y > s/y",
    ];
    let job = server.job(script).set("artifacts", json!([{"untracked": true, "exclude": ["s/y"]}]));
    let ended = job.run().succeeded();
    let names: Vec<String> = entries(&server.uploads()[0].bytes).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["i.ign", "new", "s/ü.txt"]);
    assert!(ended.log.contains("untracked: found 3 files") && ended.log.contains("s/y: excluded 1 files"));
}

fn archive() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("out/run.sh", SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    zip.write_all(b"#!/bin/sh\necho from the archive\n").unwrap();
    zip.add_symlink("link", "out/run.sh", SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap().into_inner()
}

fn dependencies() -> serde_json::Value {
    json!([
        {"id": 41, "token": "token-of-dependency", "name": "producer", "artifacts_file": {"filename": "artifacts.zip", "size": 1}},
        {"id": 40, "token": "token-of-dependency", "name": "without", "artifacts_file": null},
    ])
}

#[test]
fn artifacts_of_earlier_jobs_are_there() {
    for (statuses, requests) in [(&[][..], 1), (&[500], 2)] {
        let server = Server::start().faults(statuses);
        server.store.lock().unwrap().downloads.insert(41, archive());
        let ended = server.job(&["./link", "ls"]).set("dependencies", dependencies()).run().succeeded();
        assert_eq!(ended.output(), "from the archive\nlink\nout\n");
        assert_eq!(server.requests(), requests);
        let section = ended.section("download_artifacts");
        assert!(section.starts_with("\u{1b}[32;1mDownloading artifacts for producer (41)...\u{1b}[0;m\n"));
        assert!(section.contains("Downloading artifacts from coordinator... ok      \u{1b}[0;m  host"), "{section}");
        let mode = std::fs::metadata(ended.project().join("out/run.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

#[test]
fn a_dependency_that_cannot_be_had_fails_the_job() {
    for (status, line) in
        [(404, "FATAL: file does not exist"), (403, "FATAL: permission denied"), (401, "FATAL: permission denied")]
    {
        let server = Server::start().faults(&[status]);
        let job = server.job(&["echo never"]).after(&["echo never"]).set("dependencies", dependencies());
        let ended = job.run().failed("command terminated with exit code 1");
        assert!(ended.section("download_artifacts").contains(line), "{}", ended.log);
        assert_eq!((server.requests(), ended.log.contains("never")), (1, false));
    }
}

#[test]
fn an_archive_that_leads_out_of_the_project_is_refused() {
    let server = Server::start();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("../../evil", SimpleFileOptions::default()).unwrap();
    server.store.lock().unwrap().downloads.insert(41, zip.finish().unwrap().into_inner());
    let ended = server.job(&["echo never"]).set("dependencies", dependencies()).run();
    let ended = ended.failed("command terminated with exit code 1");
    assert!(ended.log.contains("FATAL: extracting the archive: `../../evil` leads out of the project directory"));
    assert!(!ended.folder.path().join("builds/evil").exists());
}

#[test]
fn what_one_job_uploads_another_can_unpack() {
    let server = Server::start();
    server.job(TREE).set("artifacts", json!([{"paths": ["out"]}])).run().succeeded();
    let bytes = server.uploads()[0].bytes.clone();
    server.store.lock().unwrap().downloads.insert(41, bytes);
    let script =
        &["cat out/link out/a/b/three.log", "stat -c %a out/run.sh out/one.txt; test -d out/empty; test ! -e out/pipe"];
    let ended = server.job(script).set("dependencies", dependencies()).run().succeeded();
    assert_eq!(ended.output(), "one\nthree\n755\n600\n");
}

#[test]
fn a_cache_is_kept_and_restored_with_the_lines_of_the_original() {
    let cache = json!([{"key": "k-$NAME", "paths": ["c/"]}]);
    let job = Job::new(&["mkdir c; echo x > c/x"]).variable("NAME", "main").set("cache", cache.clone());
    let ended = job.run().succeeded();
    let missing = ended.section("restore_cache");
    assert!(missing.starts_with(
        "\u{1b}[32;1mChecking cache for k-main...\u{1b}[0;m\nNo URL provided, cache will not be downloaded"
    ));
    assert!(
        missing.contains("WARNING: Cache file does not exist")
            && missing.ends_with("\u{1b}[0;33mFailed to extract cache\u{1b}[0;m\n")
    );
    let saved = ended.section("archive_cache");
    assert!(
        saved.contains("c/: found 2 matching artifact files and directories")
            && saved.ends_with("Created cache\u{1b}[0;m\n"),
        "{saved}"
    );
    let archive = ended.folder.path().join("cache/group/project/k-main/cache.zip");
    // The next job finds it.
    let next = Job::new(&["cat c/x"])
        .variable("NAME", "other")
        .set("cache", json!([{"key": "k-$NAME", "paths": ["c/"], "fallback_keys": ["k-main"], "policy": "pull"}]));
    let target = next.path("cache/group/project/k-main/cache.zip");
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::copy(archive, target).unwrap();
    let ended = next.run().succeeded();
    assert_eq!(ended.output(), "x\n");
    assert!(ended.section("restore_cache").ends_with("Successfully extracted cache\u{1b}[0;m\n"));
    assert!(ended.section("archive_cache").contains("Not uploading cache k-other due to policy"));
}

#[test]
fn cache_policies_and_bad_keys_are_told() {
    let cache = json!([
        {"key": "p", "paths": ["c/"], "policy": "push"}, {"key": "../../etc", "paths": ["none/"]}, {"key": "..", "paths": ["c/"]},
    ]);
    let ended = Job::new(&["true"]).set("cache", cache).run().succeeded();
    let restored = ended.section("restore_cache");
    for line in [
        "Not downloading cache p due to policy",
        "cache key \"../../etc\" sanitized to \"etc\"",
        "Checking cache for etc...",
        "cache key \"..\" could not be sanitized",
        "Skipping cache extraction due to empty cache key",
    ] {
        assert!(restored.contains(line), "{line} in {restored}");
    }
    assert!(ended.section("archive_cache").contains("WARNING: No files to cache."));
    let ended = Job::new(&["true"]).set("cache", json!([{"key": "k", "paths": ["c"], "policy": "sometimes"}])).run();
    ended.failed("unknown cache policy sometimes for k");
}

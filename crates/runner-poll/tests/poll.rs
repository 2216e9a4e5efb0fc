//! runner-poll as a process against a fake GitLab.

#![allow(clippy::unwrap_used, reason = "clippy does not know that this is a test")]

mod support;

use std::time::Duration;

use fake_gitlab::{Cut, FakeGitlab, Fault, JobSpec, JobStatus, RunnerSpec};
use rustix::process::Signal;
use support::{Place, config};

const REQUEST: &str = "/api/v4/jobs/request";

async fn gitlab() -> FakeGitlab {
    FakeGitlab::start().await.unwrap()
}

fn one_runner(gitlab: &FakeGitlab, head: &str, lines: &str) -> Place {
    Place::new(&config(gitlab.url(), head, &[("k8s", gitlab.runner_token(), lines)]))
}

async fn enqueue(gitlab: &FakeGitlab, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(gitlab.enqueue(JobSpec::default()).await.unwrap());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_printed_with_all_the_executor_needs_and_is_stored_and_confirmed() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "id = 7\n[runners.kubernetes]\nimage = \"alpine\"\n");
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&[]);
    let hello = poll.expect("hello").await;
    assert_eq!((&hello["tool"], &hello["resumable"]), (&"runner-poll".into(), &true.into()));
    let job = poll.expect("job").await;
    assert_eq!(job["id"], id);
    assert_eq!(job.get("resume"), None);
    let runner = &job["runner"];
    assert_eq!((&runner["name"], &runner["url"], &runner["id"]), (&"k8s".into(), &gitlab.url().into(), &7.into()));
    assert_eq!(runner["short_token"], runner_core::secret::short_token(gitlab.runner_token()));
    assert_eq!(runner["config"]["kubernetes"]["image"], "alpine");
    assert_eq!(runner["config"].get("token"), None);
    assert_eq!((&runner["concurrent_id"], &runner["concurrent_project_id"]), (&0.into(), &0.into()));
    assert!(!runner["correlation_id"].as_str().unwrap().is_empty());
    assert_eq!(job["payload"]["token"], gitlab.payload(id).unwrap()["token"]);

    let stored = std::fs::read_to_string(place.folder(id, gitlab.url()).join("job.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stored).unwrap(), job);
    let system_id = std::fs::read_to_string(place.config().with_file_name(".runner_system_id")).unwrap();
    assert_eq!(runner["system_id"], system_id.as_str());
    let confirmed = gitlab.wait_request(|r| r.method == "PUT" && r.path == format!("/api/v4/jobs/{id}")).await;
    assert_eq!(confirmed.json.unwrap()["state"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_takes_one_job_and_ends() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 5", "");
    let ids = enqueue(&gitlab, 2).await;
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], ids[0]);
    poll.expect("end").await;
    assert_eq!((poll.line().await, poll.code().await), (None, 0));
    assert_eq!(gitlab.job(ids[1]).unwrap().status, JobStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_asked_for_only_while_a_slot_is_free() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 2", "");
    let ids = enqueue(&gitlab, 4).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    let mut taken = [poll.expect("job").await, poll.expect("job").await];
    taken.sort_by_key(|job| job["runner"]["concurrent_id"].as_u64());
    let [first, second] = taken;
    assert_eq!((&first["runner"]["concurrent_id"], &first["runner"]["concurrent_project_id"]), (&0.into(), &0.into()));
    assert_eq!(
        (&second["runner"]["concurrent_id"], &second["runner"]["concurrent_project_id"]),
        (&1.into(), &1.into())
    );
    assert_eq!(gitlab.job(ids[2]).unwrap().status, JobStatus::Pending);
    let requests = gitlab.requests().iter().filter(|r| r.path == REQUEST).count();
    assert_eq!(requests, 2);
    std::fs::remove_dir_all(place.folder(first["id"].as_u64().unwrap(), gitlab.url())).unwrap();
    let third = poll.expect("job").await;
    assert_eq!((&third["id"], &third["runner"]["concurrent_id"]), (&ids[2].into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_runner_keeps_its_limit_and_none_is_forgotten() {
    let gitlab = gitlab().await;
    let second = gitlab.create_runner(RunnerSpec::default()).unwrap();
    let runners = [("a", gitlab.runner_token(), "limit = 1\n"), ("b", &*second, "limit = 2\n")];
    let place = Place::new(&config(gitlab.url(), "concurrent = 10", &runners));
    enqueue(&gitlab, 5).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(poll.expect("job").await["runner"]["name"].as_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["a", "b", "b"]);
    poll.signal(Signal::QUIT);
    poll.expect("end").await;
    assert_eq!(gitlab.jobs().iter().filter(|job| job.status == JobStatus::Pending).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_taken_and_not_printed_is_printed_by_the_next_start() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    gitlab.inject(Fault::on("PUT", "/api/v4/jobs/*").delay_ms(600_000));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until(&place.jobs(), || place.folder(id, gitlab.url()).exists()).await;
    poll.signal(Signal::KILL);
    assert_eq!(poll.line().await, None);
    gitlab.clear_faults();

    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    let job = poll.expect("job").await;
    assert_eq!((&job["id"], &job["resume"]), (&id.into(), &true.into()));
    let put = gitlab.wait_request(|r| r.method == "PUT" && r.status == Some(200)).await;
    assert_eq!(put.json.unwrap()["state"], "running", "nobody knew whether GitLab had been told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_a_journal_is_printed_again_without_a_word_to_gitlab() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    poll.expect("job").await;
    poll.signal(Signal::TERM);
    assert_eq!((poll.line().await, poll.code().await), (None, 143), "no `end`: the next start continues");
    std::fs::write(place.folder(id, gitlab.url()).join("events.ndjson"), "").unwrap();
    let before = gitlab.requests().len();
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["resume"], true);
    poll.signal(Signal::QUIT);
    poll.expect("end").await;
    assert_eq!(poll.code().await, 0);
    assert!(gitlab.requests()[before..].iter().all(|r| r.path == REQUEST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_canceled_meanwhile_is_not_printed() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    for (header, ended) in [("canceled", None), ("canceling", Some("job_canceled"))] {
        let ids = enqueue(&gitlab, 2).await;
        gitlab.inject(Fault::on("PUT", "/api/v4/jobs/*").header("Job-Status", header));
        let mut poll = place.start(&["--once"]);
        poll.expect("hello").await;
        assert_eq!(poll.expect("job").await["id"], ids[1], "{header}");
        poll.expect("end").await;
        assert_eq!(poll.code().await, 0);
        assert!(!place.folder(ids[0], gitlab.url()).exists());
        let path = format!("/api/v4/jobs/{}", ids[0]);
        let put = gitlab.requests().into_iter().filter(|r| r.path == path).filter_map(|r| r.json);
        let reasons: Vec<_> = put.filter_map(|body| Some(body.get("failure_reason")?.clone())).collect();
        assert_eq!(reasons, Vec::from_iter(ended), "{header}");
        std::fs::remove_dir_all(place.folder(ids[1], gitlab.url())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_cannot_be_read_is_handed_back_with_the_reason_in_its_log() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let broken = JobSpec::default().payload(serde_json::json!({"steps": "none"}));
    let id = gitlab.enqueue(broken).await.unwrap();
    let next = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], next);
    let job = gitlab.wait_finished(id).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"));
    assert_eq!(job.claimed_checksum, Some(job.trace_crc32));
    let trace = String::from_utf8(gitlab.trace(id)).unwrap();
    assert!(trace.contains("ERROR: Job failed (system failure): the job's payload cannot be read: "), "{trace}");
    assert!(!place.folder(id, gitlab.url()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_stored_is_handed_back_and_the_error_names_the_file() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 5", "");
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    // In the way of the new folder; only trying shows it.
    let blocked = place.jobs().join(format!(".new-1@{}", gitlab.url().trim_start_matches("http://")));
    std::fs::write(&blocked, "").unwrap();
    let id = enqueue(&gitlab, 1).await[0];
    let job = gitlab.wait_finished(id).await;
    assert_eq!((id, job.failure_reason.as_deref()), (1, Some("runner_system_failure")));
    let trace = String::from_utf8(gitlab.trace(id)).unwrap();
    assert!(trace.contains("the runner cannot store the job: "), "{trace}");
    place.until_logged("no jobs are taken for 10 s", 1).await;
    assert!(place.stderr().contains(&blocked.display().to_string()), "{}", place.stderr());
    poll.signal(Signal::QUIT);
    poll.expect("end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_again_while_its_folder_is_there_is_handed_back() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 5", "");
    let ids = enqueue(&gitlab, 2).await;
    let folder = place.folder(ids[0], gitlab.url());
    std::fs::create_dir_all(&folder).unwrap();
    for dir in [place.jobs(), place.jobs().join("..")] {
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], ids[1]);
    assert_eq!(gitlab.wait_finished(ids[0]).await.failure_reason.as_deref(), Some("runner_system_failure"));
    assert!(folder.exists(), "it belongs to the earlier run");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_or_failing_gitlab_is_told_about_once_and_asked_on() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    gitlab.inject(Fault::on("POST", REQUEST).status(500));
    gitlab.inject(Fault::on("POST", REQUEST).nth(2).cut(Cut::Before));
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    let log = place.stderr();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("500 Internal Server Error") && log.contains("GitLab answers again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_html_is_a_failure_and_not_the_end() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let fault = Fault::on("POST", REQUEST).status(201).body("<html>sign in</html>").header("Content-Type", "text/html");
    gitlab.inject(fault);
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(place.stderr().contains("answered text/html instead of application/json"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_runner_rests_and_the_other_one_works_on() {
    let gitlab = gitlab().await;
    let runners = [("bad", "glrt-wrong", "unhealthy_requests_limit = 2\n"), ("good", gitlab.runner_token(), "")];
    let place = Place::new(&config(gitlab.url(), "concurrent = 3", &runners));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until_logged("it is not asked for 1h0m0s", 1).await;
    let refused = || gitlab.requests().iter().filter(|r| r.status == Some(403)).count();
    assert_eq!(refused(), 2);
    let id = enqueue(&gitlab, 1).await[0];
    let job = poll.expect("job").await;
    assert_eq!((&job["id"], &job["runner"]["name"]), (&id.into(), &"good".into()));
    assert_eq!(refused(), 2);
    assert!(!place.stderr().contains("glrt-wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_expires_and_stands_in_the_file() {
    let gitlab = gitlab().await;
    gitlab.change_settings(|settings| settings.runner_token_lifetime = Some(86_400));
    let old = gitlab.runner_token();
    let dates = "token_obtained_at = 2020-01-01T00:00:00Z # then\ntoken_expires_at = 2020-02-01T00:00:00Z\nlimit = 2\n";
    let place = Place::new(&config(gitlab.url(), "concurrent = 5", &[("k8s", old, dates)]));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    let reset = gitlab.wait_request(|r| r.path == "/api/v4/runners/reset_authentication_token").await;
    assert_eq!(reset.json.unwrap()["token"], old);
    let id = enqueue(&gitlab, 1).await[0];
    assert_eq!(poll.expect("job").await["id"], id, "it asks with the new token");
    let text = std::fs::read_to_string(place.config()).unwrap();
    assert!(!text.contains(old) && text.contains("Z # then\n") && !text.contains("2020-"), "{text}");
    let refused = gitlab.requests().iter().filter(|r| r.status == Some(403)).count();
    assert_eq!(refused, 0, "no request was made with the old token after that");
    assert!(place.stderr().contains("token renewed to ") && !place.stderr().contains(old), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_renewed_where_it_could_not_be_saved() {
    let gitlab = gitlab().await;
    let dates = "token_obtained_at = 2020-01-01T00:00:00Z\ntoken_expires_at = 2020-02-01T00:00:00Z\n";
    let place = Place::new(&config(gitlab.url(), "", &[("k8s", gitlab.runner_token(), dates)]));
    std::fs::create_dir(place.config().with_file_name("config.toml.lock")).unwrap();
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until_logged("its token cannot be renewed: opening ", 1).await;
    assert_eq!(poll.expect("job").await["id"], id, "the old token is good as long as it lasts");
    assert!(gitlab.requests().iter().all(|r| r.path != "/api/v4/runners/reset_authentication_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_taken_with_the_old_token_count_for_the_limit() {
    let gitlab = gitlab().await;
    gitlab.change_settings(|settings| settings.runner_token_lifetime = Some(86_400));
    let lines = "id = 1\nlimit = 1\n";
    let place = Place::new(&config(gitlab.url(), "concurrent = 5", &[("k8s", gitlab.runner_token(), lines)]));
    let ids = enqueue(&gitlab, 2).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], ids[0]);
    let dates = "token_obtained_at = 2020-01-01T00:00:00Z\ntoken_expires_at = 2020-02-01T00:00:00Z\n";
    place.configure(&config(
        gitlab.url(),
        "concurrent = 5",
        &[("k8s", gitlab.runner_token(), &format!("{lines}{dates}"))],
    ));
    place.until_logged("token renewed to ", 1).await;
    place.until_logged("configuration read again", 2).await;
    poll.signal(Signal::QUIT);
    poll.expect("end").await;
    assert_eq!(gitlab.job(ids[1]).unwrap().status, JobStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_gitlab_holds_keeps_no_other_runner_waiting() {
    let gitlab = FakeGitlab::builder().long_poll(Duration::from_secs(600)).start().await.unwrap();
    let second = gitlab.create_runner(RunnerSpec { tags: vec!["b".to_owned()], ..RunnerSpec::default() }).unwrap();
    let runners = [("a", gitlab.runner_token(), ""), ("b", &*second, "")];
    let place = Place::new(&config(gitlab.url(), "concurrent = 1", &runners));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    // Each has a value of the queue now, with which the next request would be held.
    for token in [gitlab.runner_token(), &second] {
        gitlab.wait_request(|r| r.json.as_ref().is_some_and(|json| json["token"] == token)).await;
    }
    let id = gitlab.enqueue(JobSpec::default().tag("b")).await.unwrap();
    let job = poll.expect("job").await;
    assert_eq!((&job["id"], &job["runner"]["name"]), (&id.into(), &"b".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_value_goes_back_with_the_next_request() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let _poll = place.start(&[]);
    let asked = gitlab.wait_request(|r| r.path == REQUEST && r.json.as_ref().unwrap()["last_update"].is_string());
    let asked = support::within(asked, &place.config()).await;
    let first = &gitlab.requests()[0];
    assert_eq!(first.json.as_ref().unwrap().get("last_update"), None);
    let given = first.response_headers["x-gitlab-last-update"].to_str().unwrap();
    assert_eq!(asked.json.unwrap()["last_update"], given);
}

#[tokio::test(flavor = "multi_thread")]
async fn quit_waits_for_the_request_under_way_and_prints_its_job() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    gitlab.inject(Fault::on("PUT", "/api/v4/jobs/*").delay_ms(300));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until(&place.jobs(), || place.folder(id, gitlab.url()).exists()).await;
    poll.signal(Signal::QUIT);
    assert_eq!(poll.expect("job").await["id"], id);
    poll.expect("end").await;
    assert_eq!(poll.code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_comes_while_it_is_stopped_is_kept_for_the_next_start() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    gitlab.inject(Fault::on("PUT", "/api/v4/jobs/*").delay_ms(600_000));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    // GitLab has given the job; whether its answer has arrived is open.
    gitlab.wait_status(id, JobStatus::Running).await;
    poll.signal(Signal::TERM);
    assert_eq!((poll.line().await, poll.code().await), (None, 143));
    assert!(place.folder(id, gitlab.url()).join("job.json").exists());
    gitlab.clear_faults();
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["resume"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_noticed_at_once() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    poll.close_stdout();
    assert_eq!(poll.code().await, 75);
    assert!(place.stderr().contains("runner-poll: standard output was closed"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_read_again_when_it_changes_and_a_broken_one_is_not_used() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 1", "");
    enqueue(&gitlab, 2).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    poll.expect("job").await;
    place.configure("concurrent = \n");
    place.until_logged("going on with the configuration from before", 1).await;
    place.configure(&config(gitlab.url(), "concurrent = 2", &[("renamed", gitlab.runner_token(), "")]));
    assert_eq!(poll.expect("job").await["runner"]["name"], "renamed");
    poll.signal(Signal::HUP);
    place.until_logged("configuration read again", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_used_stops_the_taking_and_not_the_tool() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    gitlab.wait_request(|r| r.path == REQUEST).await;
    std::fs::remove_dir(place.jobs()).unwrap();
    place.until_logged("no jobs are taken", 1).await;
    assert!(place.stderr().contains(&format!("reading {}: ", place.jobs().display())), "{}", place.stderr());
    let id = enqueue(&gitlab, 1).await[0];
    std::fs::create_dir(place.jobs()).unwrap();
    poll.signal(Signal::HUP); // so that it looks now
    assert_eq!(poll.expect("job").await["id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_state_directory_is_refused() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let mut first = place.start(&[]);
    first.expect("hello").await;
    let mut second = place.start(&[]);
    assert_eq!((second.line().await, second.code().await), (None, 74));
    assert!(place.stderr().contains("another runner-poll uses this state directory"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_work_is_one_clear_line() {
    let runner = "[[runners]]\nurl = \"http://127.0.0.1:1\"\ntoken = \"glrt-SECRET\"\nexecutor = \"kubernetes\"\n";
    for (text, expected) in [
        ("concurrent = 1\n[[runners]]\ntoken = glrt-SECRET\n".to_owned(), "line 3, column 9: "),
        (format!("{runner}limit = \"x\"\n"), "line 5: `runners[0].limit`: "),
        ("concurrent = 1\n".to_owned(), "there are no [[runners]]"),
        (runner.replace("kubernetes", "shell"), "executor `shell` is not supported"),
        (format!("{runner}tls-ca-file = \"/none.pem\"\n").replace("http:", "https:"), "no runner can be used"),
    ] {
        let place = Place::new(&text);
        let mut poll = place.start(&[]);
        assert_eq!((poll.line().await, poll.code().await), (None, 78), "{text}");
        let stderr = place.stderr();
        let said: Vec<_> = stderr.lines().filter(|line| line.starts_with("runner-poll: ")).collect();
        assert_eq!(said.len(), 1, "{stderr}");
        assert!(said[0].contains(expected) && said[0].contains("config.toml"), "{}", said[0]);
        assert!(!stderr.contains("SECRET"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_jobs_come_out_at_once() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 20", "request_concurrency = 4\n");
    let mut expected = enqueue(&gitlab, 20).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    let mut ids = Vec::new();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        let job = poll.expect("job").await;
        ids.push(job["id"].as_u64().unwrap());
        numbers.push(job["runner"]["concurrent_id"].as_u64().unwrap());
    }
    ids.sort_unstable();
    numbers.sort_unstable();
    expected.sort_unstable();
    assert_eq!((ids, numbers), (expected, (0..20).collect()));
    tokio::time::timeout(Duration::from_secs(5), async {
        poll.signal(Signal::INT);
        poll.exit().await
    })
    .await
    .unwrap();
}

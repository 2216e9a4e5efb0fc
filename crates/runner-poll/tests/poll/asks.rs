//! Who asks for a job, when, and with what.

use std::time::Duration;

use fake_gitlab::{FakeGitlab, JobSpec, JobStatus, RunnerSpec};
use rustix::process::Signal;

use crate::support::{Place, config, within};
use crate::{REQUEST, enqueue, gitlab, one_runner};

#[tokio::test(flavor = "multi_thread")]
async fn p04_p10_a_job_is_asked_for_only_while_a_slot_is_free() {
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
async fn p06_each_runner_keeps_its_limit_and_none_is_forgotten() {
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
async fn p50_the_queue_value_goes_back_with_the_next_request() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let _poll = place.start(&[]);
    let asked = gitlab.wait_request(|r| r.path == REQUEST && r.json.as_ref().unwrap()["last_update"].is_string());
    let asked = within(asked, &place.config()).await;
    let first = &gitlab.requests()[0];
    assert_eq!(first.json.as_ref().unwrap().get("last_update"), None);
    let given = first.response_headers["x-gitlab-last-update"].to_str().unwrap();
    assert_eq!(asked.json.unwrap()["last_update"], given);
}

#[tokio::test(flavor = "multi_thread")]
async fn p52_a_request_that_gitlab_holds_keeps_no_other_runner_waiting() {
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

#[tokio::test(flavor = "multi_thread")]
async fn p11_entries_that_cannot_be_asked_are_told_and_the_others_work() {
    let gitlab = gitlab().await;
    let runners = [("empty", "", ""), ("good", gitlab.runner_token(), ""), ("shell", "t", "")];
    let text = config(gitlab.url(), "", &runners);
    let (first, last) = text.rsplit_once("kubernetes").unwrap();
    let place = Place::new(&format!("{first}shell{last}"));
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    let job = poll.expect("job").await;
    assert_eq!((&job["id"], &job["runner"]["name"]), (&id.into(), &"good".into()));
    let log = place.stderr();
    assert!(log.contains("runner `empty`: `token` is empty; it is skipped"), "{log}");
    assert!(log.contains("runner `shell`: executor `shell` is not supported"), "{log}");
    assert!(gitlab.requests().iter().filter(|r| r.path == REQUEST).all(|r| r.json.as_ref().unwrap()["token"] != "t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p40_p41_p42_each_request_says_who_asks() {
    let gitlab = gitlab().await;
    let labels = "labels = { site = \"north\", rack = \"7.b\", no = \"too short\" }";
    let lines = "[runners.labels]\nrack = \"8\"\nzone = \"with space\"\n";
    let place = Place::new(&config(gitlab.url(), labels, &[("k8s", gitlab.runner_token(), lines)]));
    let _poll = place.start(&[]);
    let asked = gitlab.wait_request(|r| r.path == REQUEST).await.json.unwrap();
    let id = asked["system_id"].as_str().unwrap();
    let (kind, rest) = id.split_at(2);
    assert!(matches!(kind, "s_" | "r_") && rest.len() == 12 && rest.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
    assert_eq!(std::fs::read_to_string(place.config().with_file_name(".runner_system_id")).unwrap(), id);
    let info = &asked["info"];
    assert_eq!((&info["name"], &info["executor"]), (&"gitlab-runner".into(), &"kubernetes".into()));
    assert_eq!(info["features"]["cancel_gracefully"], true);
    assert_eq!(info["labels"], serde_json::json!({"rack": "8", "site": "north"}));
    let log = place.stderr();
    assert!(log.contains("label `no`") && log.contains("label `zone`"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p53_a_paused_runner_gets_nothing_and_is_asked_on() {
    let gitlab = gitlab().await;
    gitlab.pause_runner(gitlab.runner_token(), true);
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    gitlab.wait_request(|r| r.path == REQUEST && r.status == Some(204)).await;
    gitlab.pause_runner(gitlab.runner_token(), false);
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(!place.stderr().contains("WARN"), "{}", place.stderr());
}

//! From GitLab's answer to the line.

use fake_gitlab::{Fault, JobSpec};
use rustix::process::Signal;

use crate::{REQUEST, enqueue, gitlab, one_runner, unconfirmed};

#[tokio::test(flavor = "multi_thread")]
async fn p60_p40_a_job_is_printed_with_all_the_executor_needs_and_is_stored_and_confirmed() {
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
async fn p65_a_job_that_was_taken_and_not_printed_is_printed_by_the_next_start() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let (mut poll, id) = unconfirmed(&gitlab, &place).await;
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
async fn p65_a_job_with_a_journal_is_printed_again_without_a_word_to_gitlab() {
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
async fn p61_a_job_that_was_canceled_meanwhile_is_not_printed() {
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
async fn p62_a_payload_that_cannot_be_read_is_handed_back_with_the_reason_in_its_log() {
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
async fn p63_a_job_that_is_given_again_while_its_folder_is_there_is_handed_back() {
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

//! The state directory: full, unusable, in use.

use fake_gitlab::JobSpec;
use rustix::process::Signal;

use crate::{REQUEST, enqueue, gitlab, one_runner};

#[tokio::test(flavor = "multi_thread")]
async fn p72_a_job_that_cannot_be_stored_is_handed_back_and_the_error_names_the_file() {
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
async fn p71_a_state_directory_that_cannot_be_used_stops_the_taking_and_not_the_tool() {
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
async fn p73_a_second_one_on_the_same_state_directory_is_refused() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let mut first = place.start(&[]);
    first.expect("hello").await;
    let mut second = place.start(&[]);
    assert_eq!((second.line().await, second.code().await), (None, 74));
    assert!(place.stderr().contains("another runner-poll uses this state directory"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn p70_a_full_disk_takes_no_jobs_until_there_is_room() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let Some(mut poll) = place.start_on_small_disk("8m") else { return };
    poll.expect("hello").await;
    let filler = poll.state().join("filler");
    std::fs::write(&filler, vec![0; 6 << 20]).unwrap();
    poll.signal(Signal::HUP); // so that it looks now
    place.until_logged("no storage space; no jobs are taken", 1).await;
    assert!(place.stderr().contains(&format!("{}: no storage space", place.jobs().display())), "{}", place.stderr());
    let id = enqueue(&gitlab, 1).await[0];
    std::fs::remove_file(&filler).unwrap();
    poll.signal(Signal::HUP);
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(place.stderr().contains("the state directory can be used again"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn p72_a_job_for_which_the_disk_has_no_room_is_handed_back_and_the_error_names_the_file() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let Some(mut poll) = place.start_on_small_disk("5m") else { return };
    poll.expect("hello").await;
    let large = JobSpec::default().variable("LARGE", "x".repeat(6 << 20));
    let id = gitlab.enqueue(large).await.unwrap();
    assert_eq!(gitlab.wait_finished(id).await.failure_reason.as_deref(), Some("runner_system_failure"));
    let trace = String::from_utf8(gitlab.trace(id)).unwrap();
    assert!(
        trace.contains("the runner cannot store the job: ") && trace.contains("No space left on device"),
        "{trace}"
    );
    place.until_logged("/job.json: No space left on device (os error 28); no jobs are taken for 10 s", 1).await;
    assert_eq!(std::fs::read_dir(poll.state().join("jobs")).unwrap().count(), 0, "nothing half-made stays");
}

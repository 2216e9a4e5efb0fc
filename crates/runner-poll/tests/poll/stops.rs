//! Signals, and a reader that goes away.

use fake_gitlab::{Fault, JobStatus};
use rustix::process::Signal;

use crate::{enqueue, gitlab, one_runner, unconfirmed};

#[tokio::test(flavor = "multi_thread")]
async fn p35_quit_waits_for_the_request_under_way_and_prints_its_job() {
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
async fn p37_p38_a_job_that_comes_while_it_is_stopped_is_kept_for_the_next_start() {
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
async fn p36_a_second_quit_waits_for_nothing() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let (mut poll, id) = unconfirmed(&gitlab, &place).await;
    poll.signal(Signal::QUIT);
    place.until_logged("no more jobs are taken", 1).await;
    poll.signal(Signal::QUIT);
    assert_eq!((poll.line().await, poll.code().await), (None, 131));
    assert!(place.folder(id, gitlab.url()).exists());
}

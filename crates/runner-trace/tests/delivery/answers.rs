use fake_gitlab::{Cut, FakeGitlab, Fault};

use crate::harness::{Site, hello, soon};

const TRACE: &str = "/api/v4/jobs/*/trace";
const JOB: &str = "/api/v4/jobs/*";

/// Three chunks.
fn text() -> String {
    (0..50_000).map(|n| format!("{n:08} a log that needs several chunks\n")).collect()
}

/// Each fault on a server of its own, all at once: most of the time is waiting.
async fn delivered_despite(faults: impl IntoIterator<Item = Fault>) {
    futures::future::join_all(faults.into_iter().map(delivered_despite_one)).await;
}

async fn delivered_despite_one(fault: Fault) {
    let site = Site::new().await;
    let job = site.job().await;
    site.fault(fault);
    let ended = site.replay(&job.whole(&text())).await;
    site.finished(&job, text().as_bytes());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.done(&job)["accepted"], true);
}

#[tokio::test]
async fn a_server_that_fails_for_a_while_gets_everything_later() {
    delivered_despite([500, 503, 429, 409, 400].map(|status| Fault::on("PATCH", TRACE).nth(2).status(status))).await;
}

#[tokio::test]
async fn more_failures_than_the_retry_layer_bears_are_waited_out() {
    delivered_despite([Fault::on("PATCH", TRACE).times(6).status(502)]).await;
}

#[tokio::test]
async fn a_connection_cut_before_or_after_the_effect_loses_and_doubles_nothing() {
    delivered_despite([Cut::Before, Cut::After].map(|cut| Fault::on("PATCH", TRACE).nth(2).cut(cut))).await;
}

#[tokio::test]
async fn a_log_that_the_server_lost_is_sent_again() {
    delivered_despite([Fault::on("PATCH", TRACE).nth(2).lose_trace()]).await;
}

#[tokio::test]
async fn a_wrong_offset_of_the_server_is_tried_and_corrected() {
    let ranges = ["0-100", "0-99999999", "nonsense"];
    delivered_despite(ranges.map(|range| Fault::on("PATCH", TRACE).nth(2).status(416).header("Range", range))).await;
}

#[tokio::test]
async fn chunks_that_a_proxy_finds_too_large_become_smaller() {
    let site = Site::new().await;
    let job = site.job().await;
    site.fault(Fault::on("PATCH", TRACE).nth(2).status(413));
    let journal: String = job.whole(&text()).iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(site.folder(&job).join("events.ndjson"), journal).unwrap();
    assert_eq!(site.replay(&[]).await.code, Some(0));
    site.finished(&job, text().as_bytes());
    let requests = site.gitlab.requests();
    let sizes: Vec<_> = requests.iter().filter(|r| r.method == "PATCH").map(|r| &r.headers["content-length"]).collect();
    assert_eq!((sizes[1].to_str().unwrap(), sizes[2].to_str().unwrap()), ("1048576", "524288"));
}

#[tokio::test]
async fn a_final_state_is_repeated_until_it_is_accepted() {
    delivered_despite([
        Fault::on("PUT", JOB).times(2).status(500),
        Fault::on("PUT", JOB).status(409),
        Fault::on("PUT", JOB).cut(Cut::Before),
        Fault::on("PUT", JOB).times(3).status(202).header("X-GitLab-Trace-Update-Interval", "1"),
        Fault::on("PUT", JOB).status(429).header("Retry-After", "1"),
    ])
    .await;
}

#[tokio::test]
async fn a_server_with_live_traces_is_asked_again() {
    let site = Site::with(FakeGitlab::builder().live_trace(true)).await;
    let job = site.job().await;
    let ended = site.replay(&job.whole("abc\n")).await;
    site.finished(&job, b"abc\n");
    assert_eq!(ended.code, Some(0));
    let puts = site.gitlab.requests().into_iter().filter(|request| request.method == "PUT");
    assert_eq!(puts.map(|put| put.status).collect::<Vec<_>>(), [Some(202), Some(200)]);
}

#[tokio::test]
async fn a_log_that_is_wrong_on_the_server_is_sent_again_from_its_first_byte() {
    let site = Site::new().await;
    let job = site.job().await;
    site.fault(Fault::on("PUT", JOB).status(412));
    site.fault(Fault::on("PATCH", TRACE).nth(2).lose_trace());
    let ended = site.replay(&job.whole("all of it\n")).await;
    site.finished(&job, b"all of it\n");
    assert_eq!(ended.code, Some(0));
    assert_eq!(site.patches(&job)[1].0, "0-9");
}

#[tokio::test]
async fn a_result_whose_acceptance_was_lost_counts_as_accepted() {
    // the second PUT is refused with `Job-Status: success`
    delivered_despite([Fault::on("PUT", JOB).cut(Cut::After)]).await;
}

#[tokio::test]
async fn a_job_that_is_not_ours_is_given_up() {
    let site = Site::new().await;
    let mut job = site.job().await;
    job.token = "glcbt-wrong".to_owned();
    let ended = site.replay(&job.whole("x\n")).await;
    assert_eq!((ended.code, &ended.done(&job)["accepted"]), (Some(1), &serde_json::json!(false)));
    assert!(!site.folder(&job).exists());
    assert!(!ended.stderr.contains("glcbt-wrong"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_gets_everything_when_it_comes() {
    let site = Site::new().await;
    let job = site.job().await;
    // nothing is answered until the first failed attempt was seen
    site.fault(Fault::on("PATCH", "/api/v4/**").times(1_000_000).cut(Cut::Before));
    let mut tool = site.start();
    tool.send(&[hello()]).await;
    tool.send(&job.whole("patience\n")).await;
    soon("an attempt", site.gitlab.wait_request(|request| request.method == "PATCH" && request.status.is_none())).await;
    site.gitlab.clear_faults();
    soon("the job", site.gitlab.wait_finished(job.id)).await;
    site.finished(&job, b"patience\n");
    tool.kill().await;
}

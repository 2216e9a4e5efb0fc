use fake_gitlab::Fault;

use crate::harness::{Site, Tool, end, hello, soon};

/// Waits for the folder's `cancel` file by the events of the folder.
async fn cancel_word(site: &Site, job: &crate::harness::Job, word: &str) {
    let watcher = runner_cli::watch::Watcher::new().unwrap();
    let watch = watcher.watch(&site.folder(job)).unwrap();
    let path = site.folder(job).join("cancel");
    soon("the cancel file", async {
        while std::fs::read_to_string(&path).ok().as_deref() != Some(word) {
            watch.changed().await;
        }
    })
    .await;
}

async fn running(site: &Site, job: &crate::harness::Job) -> Tool {
    let mut tool = site.start();
    tool.send(&[hello(), job.open(), job.pod(0, "running\n")]).await;
    soon("the text", site.gitlab.wait_trace(job.id, "running\n")).await;
    tool
}

#[tokio::test]
async fn a_graceful_cancel_is_passed_on_and_the_log_goes_on() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = running(&site, &job).await;
    site.gitlab.cancel(job.id);
    tool.send(&[job.pod(8, "more\n")]).await;
    cancel_word(&site, &job, "canceling").await;
    tool.send(&[job.pod(13, "after_script\n"), job.failed(1, "job_canceled", 26), end()]).await;
    let ended = tool.end().await;
    assert_eq!(site.gitlab.job(job.id).unwrap().status.as_str(), "canceled");
    assert_eq!(site.gitlab.trace(job.id), b"running\nmore\nafter_script\n");
    assert_eq!((ended.code, &ended.done(&job)["accepted"]), (Some(1), &serde_json::json!(true)));
}

#[tokio::test]
async fn a_job_that_is_over_for_gitlab_is_stopped_at_once_and_nothing_more_is_sent() {
    for fault in [
        Fault::on("PATCH", "/api/v4/jobs/*/trace").nth(2).times(9).status(403),
        Fault::on("PATCH", "/api/v4/jobs/*/trace").nth(2).times(9).header("Job-Status", "canceled"),
    ] {
        let site = Site::new().await;
        let job = site.job().await;
        site.fault(fault);
        let mut tool = running(&site, &job).await;
        tool.send(&[job.pod(8, "more\n")]).await;
        cancel_word(&site, &job, "canceled").await;
        let patches = site.patches(&job).len();
        site.fault(Fault::on("PUT", "/api/v4/jobs/*").status(403).header("Job-Status", "canceled"));
        tool.send(&[job.pod(13, "unheard\n"), job.failed(1, "job_canceled", 21), end()]).await;
        let ended = tool.end().await;
        assert_eq!(site.patches(&job).len(), patches);
        assert_eq!((ended.code, &ended.done(&job)["accepted"]), (Some(1), &serde_json::json!(false)));
        assert!(!site.folder(&job).exists());
    }
}

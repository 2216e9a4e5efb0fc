use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::harness::{Site, end, hello, soon};

#[tokio::test]
async fn a_lost_neighbour_gives_75_and_the_journal_stays() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    tool.send(&[hello(), job.open(), job.pod(0, "text\n")]).await;
    soon("the text", site.gitlab.wait_trace(job.id, "text\n")).await;
    let ended = tool.end().await;
    assert_eq!(ended.code, Some(75), "{ended:#?}");
    assert!(!ended.lines.contains(&json!({"v": 1, "type": "end"})));
    assert!(site.folder(&job).join("events.ndjson").exists());
}

#[tokio::test]
async fn a_closed_output_gives_75_without_another_line() {
    let site = Site::new().await;
    let mut tool = site.start();
    assert_eq!(tool.line().await["type"], "hello");
    let (mut child, stdin) = tool.close_output();
    assert_eq!(soon("the exit", child.wait()).await.unwrap().code(), Some(75));
    drop(stdin);
}

#[tokio::test]
async fn an_input_that_ends_before_the_result_is_delivered_as_far_as_it_goes() {
    let site = Site::new().await;
    let job = site.job().await;
    let ended = site.replay(&[job.open(), job.pod(0, "half\n")]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the input ended before its result"), "{}", ended.stderr);
    assert_eq!(site.gitlab.trace(job.id), b"half\n");
    assert!(site.folder(&job).join("events.ndjson").exists());
}

#[tokio::test]
async fn failed_jobs_can_be_ignored() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start_with(&["--ignore-job-result"]);
    tool.send(&[job.open(), job.failed(1, "script_failure", 0)]).await;
    assert_eq!(tool.end().await.code, Some(0));
}

#[tokio::test]
async fn a_signal_stops_at_once() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    tool.send(&[hello(), job.open()]).await;
    assert_eq!(tool.line().await["type"], "hello");
    tool.terminate();
    assert_eq!(tool.exit().await.code, Some(143));
}

#[tokio::test]
async fn no_input_is_no_work() {
    let site = Site::new().await;
    let ended = site.replay(&[end()]).await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.lines.iter().map(|line| line["type"].as_str().unwrap()).collect::<Vec<_>>(), ["hello", "end"]);
}

#[tokio::test]
async fn a_second_process_on_the_same_state_directory_is_refused() {
    let site = Site::new().await;
    let mut first = site.start();
    assert_eq!(first.line().await["type"], "hello");
    let ended = site.start().exit().await;
    assert_eq!(ended.code, Some(74));
    assert!(ended.stderr.starts_with("runner-trace: ") && ended.stderr.contains("another runner-trace"), "{ended:?}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_made_is_named() {
    let site = Site::new().await;
    let job = site.job().await;
    // a folder where the journal should be
    std::fs::create_dir(site.folder(&job).join("events.ndjson")).unwrap();
    let mut tool = site.start();
    let line = format!("{}\n", job.open());
    // the tool may have ended already at its start
    let _ = tool.stdin().write_all(line.as_bytes()).await;
    let ended = tool.end().await;
    assert_eq!(ended.code, Some(74), "{ended:#?}");
    assert!(ended.stderr.ends_with("events.ndjson: Is a directory (os error 21)\n"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_full_disk_is_named_and_waited_out_while_uploads_go_on() {
    let site = Site::new().await;
    let (job, other) = (site.job().await, site.job().await);
    std::os::unix::fs::symlink("/dev/full", site.folder(&job).join("events.ndjson")).unwrap();
    let mut tool = site.start();
    tool.send(&other.whole(&"x".repeat(2_000_000))).await;
    tool.send(&[job.open()]).await;
    soon("the other job", site.gitlab.wait_finished(other.id)).await;
    assert_eq!(site.gitlab.trace(other.id).len(), 2_000_000);
    let error = soon("the error", tool.error_line()).await;
    assert!(error.contains("events.ndjson: No space left"), "{error}");
    // it waits for the disk even at the end of its input, but not against a signal
    tool.close_input();
    tool.terminate();
    assert_eq!(tool.exit().await.code, Some(143));
}

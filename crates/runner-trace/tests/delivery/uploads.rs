use runner_core::text::limit_notice;
use serde_json::json;

use crate::harness::{Site, end, hello, soon};

#[tokio::test]
async fn a_job_is_delivered_and_its_folder_removed() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    let stage = {
        let mut line = job.line("stage");
        line["stage"] = json!("get_sources");
        line["at"] = json!("2026-01-02T03:04:05Z");
        line
    };
    let lines = [
        hello(),
        job.open(),
        job.executor(0, "Preparing hunter2\n"),
        stage,
        job.pod(0, "hi\n"),
        job.success(18, 3),
        end(),
    ];
    tool.send(&lines).await;
    let ended = tool.end().await;

    let text = b"Preparing [MASKED]\nhi\n";
    let report = site.finished(&job, text);
    assert_eq!((report.status.as_str(), report.exit_code), ("success", Some(0)));
    assert!(!site.folder(&job).exists());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let kinds: Vec<_> = ended.lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hello", "done", "end"]);
    let done = ended.done(&job);
    assert_eq!(
        (&done["state"], &done["bytes"], &done["accepted"]),
        (&json!("success"), &json!(text.len()), &json!(true))
    );
    assert_eq!(done["checksum"], report.trace_crc32);
}

#[tokio::test]
async fn the_first_text_is_sent_at_once_and_the_next_within_the_interval() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    tool.send(&[hello(), job.open(), job.pod(0, "first\n")]).await;
    soon("the first text", site.gitlab.wait_trace(job.id, "first\n")).await;
    let before = std::time::Instant::now();
    tool.send(&[job.pod(6, "second\n")]).await;
    soon("the second text", site.gitlab.wait_trace(job.id, "second\n")).await;
    assert!(before.elapsed().as_millis() < 1500, "{:?}", before.elapsed());
    assert_eq!(site.patches(&job), [("0-5".to_owned(), Some(202)), ("6-12".to_owned(), Some(202))]);
    tool.kill().await;
}

#[tokio::test]
async fn a_job_that_talks_without_pause_is_sent_once_an_interval() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    tool.send(&[hello(), job.open()]).await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(5));
    let begin = std::time::Instant::now();
    let mut offset = 0;
    while begin.elapsed().as_millis() < 2500 {
        pace.tick().await;
        tool.send(&[job.pod(offset, "tick\n")]).await;
        offset += 5;
    }
    // at once, and after one and two seconds
    let patches = site.patches(&job).len();
    assert!((2..=3).contains(&patches), "{patches}");
    tool.send(&[job.success(0, offset), end()]).await;
    assert_eq!(tool.end().await.code, Some(0));
    site.finished(&job, "tick\n".repeat(usize::try_from(offset / 5).unwrap()).as_bytes());
}

#[tokio::test]
async fn a_result_reaches_gitlab_with_exit_code_and_reason() {
    for (reason, reported) in [
        ("script_failure", "script_failure"),
        ("job_execution_timeout", "job_execution_timeout"),
        ("runner_configuration_error", "script_failure"),
        ("image_pull_failure", "runner_system_failure"),
        ("job_canceled", "unknown_failure"),
    ] {
        let site = Site::new().await;
        let job = site.job().await;
        let ended = site.replay(&[job.open(), job.pod(0, "x\n"), job.failed(7, reason, 2)]).await;
        let report = site.finished(&job, b"x\n");
        assert_eq!((report.exit_code, report.failure_reason.as_deref()), (Some(7), Some(reported)));
        assert_eq!((ended.code, &ended.done(&job)["failure_reason"]), (Some(1), &json!(reported)), "{ended:#?}");
    }
}

#[tokio::test]
async fn a_job_without_text_is_reported_too() {
    let site = Site::new().await;
    let job = site.job().await;
    let ended = site.replay(&[job.open(), job.success(0, 0)]).await;
    site.finished(&job, b"");
    assert_eq!((ended.code, site.patches(&job).len()), (Some(0), 0));
}

#[tokio::test]
async fn a_long_log_goes_out_in_chunks_without_waiting_between_them() {
    let site = Site::with(fake_gitlab::FakeGitlab::builder().trace_interval(60)).await;
    let job = site.job().await;
    let text: String =
        (0..60_000).map(|n| format!("{n:08} some line of a long log that is sent in chunks\n")).collect();
    let ended = site.replay(&job.whole(&text)).await;
    site.finished(&job, text.as_bytes());
    assert_eq!(ended.code, Some(0));
    let longest = site.patches(&job).into_iter().map(|(range, _)| {
        let (start, end) = range.split_once('-').unwrap();
        end.parse::<u64>().unwrap() + 1 - start.parse::<u64>().unwrap()
    });
    assert_eq!(longest.max(), Some(1 << 20));
}

#[tokio::test]
async fn odd_bytes_arrive_as_they_are() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut binary = job.line("log");
    binary["source"] = json!("pod");
    binary["offset"] = json!(5);
    binary["base64"] = json!("/wD+"); // ff 00 fe
    let lines = [job.open(), job.pod(0, "a\0\r\u{1b}b"), binary, job.pod(8, "no newline"), job.success(0, 18)];
    site.replay(&lines).await;
    site.finished(&job, "a\0\r\u{1b}b\u{fffd}\0\u{fffd}no newline".as_bytes());
}

#[tokio::test]
async fn a_log_over_its_limit_keeps_its_final_line() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut last = job.executor(0, "Job succeeded\n");
    last["final"] = json!(true);
    let mut lines = job.whole(&"é".repeat(100_000));
    lines[0] = job.open_limited(4096);
    lines.pop();
    lines.extend([last, job.success(14, 200_000)]);
    let ended = site.replay(&lines).await;
    let text = format!("{}{}Job succeeded\n", "é".repeat(1536), limit_notice(4096));
    site.finished(&job, text.as_bytes());
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn a_job_is_finished_only_when_all_its_text_is_there() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    tool.send(&[hello(), job.open(), job.pod(0, "abc"), job.success(0, 6)]).await;
    soon("the text", site.gitlab.wait_trace(job.id, "abc")).await;
    assert!(!site.gitlab.job(job.id).unwrap().status.is_finished());
    tool.send(&[job.pod(3, "def"), end()]).await;
    assert_eq!(tool.end().await.code, Some(0));
    site.finished(&job, b"abcdef");
}

#[tokio::test]
async fn repeated_text_is_left_out_and_a_gap_is_an_error_that_waits() {
    let site = Site::new().await;
    let job = site.job().await;
    let lines = [
        job.open(),
        job.pod(0, "abc"),
        job.pod(1, "bcd"),
        job.pod(6, "never"),
        job.open(),
        job.pod(0, "abcd"),
        job.pod(4, "ef"),
        job.success(0, 6),
    ];
    let ended = site.replay(&lines).await;
    site.finished(&job, b"abcdef");
    assert_eq!(ended.code, Some(0));
    let gap = format!("line 4: job {}@{}: 2 bytes of `pod` are missing before offset 6", job.id, job.host);
    assert!(ended.stderr.contains(&gap), "{}", ended.stderr);
}

#[tokio::test]
async fn a_line_that_cannot_be_used_is_told_by_its_number_and_the_others_go_on() {
    let site = Site::new().await;
    let (job, other) = (site.job().await, site.job().await);
    let mut tool = site.start();
    tool.send(&[hello(), job.open()]).await;
    tool.send_text("nonsense\n\n{\"v\":2,\"type\":\"end\"}\n").await;
    tool.send(&[other.pod(0, "too early")]).await;
    tool.send_text("{\"v\":1,\"type\":\"metrics\",\"x\": 1.0}\n").await;
    tool.send(&[job.pod(0, "x"), job.success(0, 1), end()]).await;
    let ended = tool.end().await;
    site.finished(&job, b"x");
    assert_eq!(ended.code, Some(0));
    for error in ["line 3: ", "line 5: protocol version 2", "line 6: job "] {
        assert!(ended.stderr.contains(error), "{error}: {}", ended.stderr);
    }
    assert!(ended.lines.contains(&json!({"v": 1, "type": "metrics", "x": 1.0})), "{:#?}", ended.lines);
}

#[tokio::test]
async fn lines_without_host_belong_to_the_job_of_that_id() {
    let site = Site::new().await;
    let job = site.job().await;
    let lines = job.whole("abc\n").into_iter().map(|mut line| {
        line.as_object_mut().unwrap().remove("host");
        line
    });
    assert_eq!(site.replay(&lines.collect::<Vec<_>>()).await.code, Some(0));
    site.finished(&job, b"abc\n");
    assert!(!site.folder(&job).exists());
}

#[tokio::test]
async fn a_job_without_folder_is_delivered_and_leaves_nothing() {
    let site = Site::new().await;
    let job = site.replayed_job().await;
    assert_eq!(site.replay(&job.whole("from a file\n")).await.code, Some(0));
    site.finished(&job, b"from a file\n");
    assert_eq!(std::fs::read_dir(site.state_dir().join("jobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_journal_holds_the_very_lines_that_were_received() {
    let site = Site::new().await;
    let job = site.job().await;
    let mut tool = site.start();
    let text = format!("{}\n", job.pod(0, "x").to_string().replace("{\"", "{  \"").replace("\":", "\" :"));
    tool.send(&[hello(), job.open()]).await;
    tool.send_text(&text).await;
    soon("the text", site.gitlab.wait_trace(job.id, "x")).await;
    let journal = std::fs::read_to_string(site.folder(&job).join("events.ndjson")).unwrap();
    assert_eq!(journal, format!("{}\n{text}", job.open()));
    tool.kill().await;
}

#[tokio::test]
async fn many_jobs_at_once_do_not_mix() {
    let site = Site::new().await;
    let mut jobs = Vec::new();
    for n in 0..20 {
        let job = site.job().await;
        let text: String = (0..2000).map(|line| format!("job {n} line {line}\n")).collect();
        jobs.push((job.whole(&text), job, text));
    }
    let longest = jobs.iter().map(|(lines, ..)| lines.len()).max().unwrap();
    let turns = (0..longest).flat_map(|at| jobs.iter().filter_map(move |(lines, ..)| lines.get(at).cloned()));
    let ended = site.replay(&turns.collect::<Vec<_>>()).await;
    for (_, job, text) in &jobs {
        site.finished(job, text.as_bytes());
    }
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn slow_uploads_of_some_jobs_delay_no_other() {
    let site = Site::new().await;
    let mut tool = site.start();
    tool.send(&[hello()]).await;
    for _ in 0..6 {
        let slow = site.job().await;
        let path = format!("/api/v4/jobs/{}/trace", slow.id);
        site.fault(fake_gitlab::Fault::on("PATCH", &path).times(100).delay_ms(3_600_000));
        tool.send(&[slow.open(), slow.pod(0, &"x".repeat(3_000_000))]).await;
    }
    let quick = site.job().await;
    let text = "y".repeat(500_000);
    tool.send(&quick.whole(&text)).await;
    soon("the quick job", site.gitlab.wait_finished(quick.id)).await;
    site.finished(&quick, text.as_bytes());
    tool.kill().await;
}

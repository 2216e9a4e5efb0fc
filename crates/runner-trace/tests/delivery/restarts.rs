use std::io::Write;

use fake_gitlab::{Cut, Fault};
use futures::StreamExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::harness::{Job, Site, end, hello, soon};

#[tokio::test]
async fn a_finished_job_is_delivered_from_its_journal_without_any_input() {
    let site = Site::new().await;
    let job = site.job().await;
    let journal: String = job.whole("from the journal\n").iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(site.folder(&job).join("events.ndjson"), journal).unwrap();
    let mut tool = site.start();
    tool.line().await; // hello
    let done = tool.line().await;
    assert_eq!((&done["type"], &done["job"]), (&"done".into(), &job.id.into()));
    site.finished(&job, b"from the journal\n");
    assert!(!site.folder(&job).exists());
    tool.kill().await;
}

#[tokio::test]
async fn a_torn_line_is_cut_off_and_the_job_continued() {
    let site = Site::new().await;
    let job = site.job().await;
    let path = site.folder(&job).join("events.ndjson");
    std::fs::write(&path, format!("{}\n{}\n{{\"v\":1,\"type\":\"lo", job.open(), job.pod(0, "abc"))).unwrap();
    let ended = site.replay(&[job.pod(3, "def"), job.success(0, 6)]).await;
    site.finished(&job, b"abcdef");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

#[tokio::test]
async fn after_a_restart_the_log_goes_on_where_gitlab_has_it() {
    let site = Site::new().await;
    let job = site.job().await;
    let text = "0123456789\n".repeat(20_000);
    let lines = job.whole(&text);
    let mut tool = site.start();
    tool.send(&[hello()]).await;
    tool.send(&lines[..150]).await;
    soon("a part of the log", site.gitlab.wait_for(job.id, |job| job.trace_bytes > 0)).await;
    tool.kill().await;
    let journal = std::fs::read_to_string(site.folder(&job).join("events.ndjson")).unwrap();
    let ended = site.replay(&lines[journal.matches('\n').count()..]).await;
    site.finished(&job, text.as_bytes());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    // what GitLab had was not sent again, but for the piece that asks where to go on
    let sent: u64 = site
        .patches(&job)
        .iter()
        .map(|(range, _)| {
            let (start, end) = range.split_once('-').unwrap();
            end.parse::<u64>().unwrap() + 1 - start.parse::<u64>().unwrap()
        })
        .sum();
    assert!(sent <= text.len() as u64 + 4096, "{sent}");
}

#[tokio::test]
async fn a_job_whose_result_was_accepted_before_the_crash_counts_as_accepted() {
    let site = Site::new().await;
    let job = site.job().await;
    let lines = job.whole("text\n");
    site.replay(&lines).await;
    // the folder as it was just before its removal
    let journal: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::create_dir(site.folder(&job)).unwrap();
    std::fs::write(site.folder(&job).join("events.ndjson"), journal).unwrap();
    let ended = site.replay(&[]).await;
    assert_eq!((ended.code, &ended.done(&job)["accepted"]), (Some(0), &true.into()), "{ended:#?}");
    assert_eq!(ended.done(&job)["bytes"], 5);
}

/// One run of the property: what happens to the server, and after how many lines the tool is killed.
#[derive(Debug, Clone)]
struct History {
    faults: Vec<(u64, u8)>,
    kills: Vec<usize>,
    lines: usize,
}

fn history() -> impl Strategy<Value = History> {
    let faults = proptest::collection::vec((1u64..8, 0u8..7), 0..4);
    let kills = proptest::collection::vec(1usize..200, 1..4);
    (faults, kills, 20usize..200).prop_map(|(faults, kills, lines)| History { faults, kills, lines })
}

fn fault(nth: u64, kind: u8) -> Fault {
    let patch = Fault::on("PATCH", "/api/v4/jobs/*/trace").nth(nth);
    match kind {
        0 => patch.status(500),
        1 => patch.cut(Cut::Before),
        2 => patch.cut(Cut::After),
        3 => patch.lose_trace(),
        4 => patch.status(416).header("Range", "0-17"),
        5 => Fault::on("PUT", "/api/v4/jobs/*").nth(nth.min(2)).cut(Cut::After),
        _ => Fault::on("PUT", "/api/v4/jobs/*").status(412),
    }
}

/// The lines of a job with text of both sources, and the log they make.
fn job_lines(job: &Job, count: usize) -> (Vec<Value>, String) {
    let mut lines = vec![job.open()];
    let (mut executor, mut pod, mut text) = (0, 0, String::new());
    for n in 0..count {
        let piece = format!("{n}: é {}\n", "x".repeat(n * 37 % 2000));
        let line = match n < 5 {
            true => job.executor(executor, &piece),
            false => job.pod(pod, &piece),
        };
        *(if n < 5 { &mut executor } else { &mut pod }) += piece.len() as u64;
        lines.push(line);
        text += &piece;
    }
    lines.push(job.success(executor, pod));
    (lines, text)
}

#[tokio::test]
async fn any_faults_and_kills_end_with_exactly_the_journals_text() {
    let mut runner = TestRunner::deterministic();
    let histories: Vec<History> = (0..24).map(|_| history().new_tree(&mut runner).unwrap().current()).collect();
    // a few at once: most of the time is waiting
    futures::stream::iter(histories).for_each_concurrent(12, ends_with_exactly_the_journals_text).await;
}

async fn ends_with_exactly_the_journals_text(history: History) {
    let site = Site::new().await;
    let job = site.job().await;
    history.faults.iter().for_each(|(nth, kind)| site.fault(fault(*nth, *kind)));
    let (lines, text) = job_lines(&job, history.lines);
    for kill in &history.kills {
        let mut tool = site.start();
        // a restarted executor may repeat what it is not sure of
        let sent = lines[..lines.len().min(*kill)].iter().map(|line| format!("{line}\n")).collect::<String>();
        tool.try_send(&format!("{}\n{sent}", hello())).await;
        tool.kill().await;
    }
    let mut tool = site.start();
    tool.send(&[hello()]).await;
    // what was done before the last kill is not done again
    if site.folder(&job).exists() {
        tool.send(&lines).await;
    }
    tool.send(&[end()]).await;
    let ended = tool.end().await;
    assert_eq!(ended.code, Some(0), "{history:?} {ended:#?}");
    site.finished(&job, text.as_bytes());
    assert!(!site.folder(&job).exists());
}

#[tokio::test]
async fn a_journal_torn_at_any_byte_is_continued_to_the_same_log() {
    let site = Site::new().await;
    for torn in [0, 1, 40, 170, 300, 500, 700] {
        let job = site.job().await;
        let (lines, text) = job_lines(&job, 12);
        let whole: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        let mut journal = std::fs::File::create(site.folder(&job).join("events.ndjson")).unwrap();
        journal.write_all(&whole[..torn]).unwrap();
        let ended = site.replay(&lines).await;
        site.finished(&job, text.as_bytes());
        assert_eq!(ended.code, Some(0), "{torn}: {ended:#?}");
    }
}

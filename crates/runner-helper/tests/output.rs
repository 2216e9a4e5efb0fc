//! What a script prints and what of it reaches the log.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::io::Read;
use std::process::Command;

use pod::{Job, Pod};
use serde_json::json;

/// Runs `script` and compares what it prints with what the same commands print into a file.
fn same_as_directly(script: &str) {
    let direct = Command::new("bash").args(["-c", script]).output().unwrap();
    let expected: String = String::from_utf8_lossy_per_byte(&direct.stdout);
    let ended = Job::new(&[script]).run().succeeded();
    let section = ended.section("step_script");
    let first = section.find('\n').unwrap() + 1;
    assert!(section[first..] == expected, "{script}: {} and {} bytes", section.len() - first, expected.len());
}

trait PerByte {
    fn from_utf8_lossy_per_byte(bytes: &[u8]) -> String;
}

impl PerByte for String {
    /// Each byte that is part of no character becomes one U+FFFD.
    fn from_utf8_lossy_per_byte(bytes: &[u8]) -> String {
        let chunks = bytes.utf8_chunks();
        chunks.map(|chunk| format!("{}{}", chunk.valid(), "\u{fffd}".repeat(chunk.invalid().len()))).collect()
    }
}

#[test]
fn output_reaches_the_log_byte_by_byte() {
    for script in [
        "printf 'no newline at the end'",
        r"printf 'a\000b\n'",
        r"printf 'x\377\376y\303\n'",
        r"printf '10%%\r20%%\rdone\n'",
        "printf '\\303'; printf '\\251\\n'",
        "head -c 1000000 /dev/zero | tr '\\0' x; echo",
        "printf '\\033[31mred\\033[0m\\n'; echo to stderr >&2; echo and back",
        "echo one >&2; echo two; echo three >&2; echo four",
    ] {
        let merged = format!("exec 2>&1\n{script}");
        let direct = Command::new("bash").args(["-c", &merged]).output().unwrap();
        let ended = Job::new(&[script]).run().succeeded();
        let section = ended.section("step_script");
        let expected = String::from_utf8_lossy_per_byte(&direct.stdout);
        assert!(section.ends_with(&format!("\u{1b}[0;m\n{expected}")), "{script}: {section:.300}");
    }
}

#[test]
fn four_megabytes_arrive_whole() {
    same_as_directly("seq 1 520000");
}

#[test]
fn j529_output_past_the_limit_is_dropped_and_the_script_goes_on() {
    let job = Job::new(&["seq 1 200000", "echo done > finished"]).config("output_limit", json!(64));
    let ended = job.run().succeeded();
    assert_eq!(ended.outcome.length, 128 * 1024, "the limit and a little more");
    assert!(ended.project().join("finished").exists());
}

#[test]
fn a_reader_that_stands_still_loses_nothing() {
    // The pipe of `drive`'s stdout holds 64 KiB; nobody reads it until the script has ended.
    let mut job = Job::new(&["seq 1 400000", "touch finished"]);
    job.environment.push(("X".into(), "y".into()));
    for name in ["job", "control", "share", "spool", "builds", "cache"] {
        std::fs::create_dir_all(job.path(name)).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_runner-helper");
    let mut serve = Command::new(program).arg("serve").arg("--share").arg(job.path("share")).spawn().unwrap();
    let mut drive = Command::new(program);
    drive.arg("drive").arg("--share").arg(job.path("share"));
    for flag in ["job", "annotations", "spool", "builds-dir", "cache-dir", "termination-log"] {
        let path = match flag {
            "job" => "job/job.json",
            "annotations" => "control/annotations",
            "builds-dir" => "builds",
            "cache-dir" => "cache",
            other => other,
        };
        drive.arg(format!("--{flag}")).arg(job.path(path));
    }
    let mut drive = drive.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let line = json!({"v": 1, "type": "job", "id": 42, "payload": job.payload, "runner": {"url": job.url}});
    pod::put(&job.path("job/job.json"), &format!("{line}\n"));
    wait_for_file(&job.path("termination-log"));
    assert!(job.path("builds/group/project/finished").exists());
    let mut stdout = drive.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        stdout.read_to_string(&mut all).unwrap();
        all
    });
    pod::put(&job.path("control/annotations"), "runner-tools.dev/acknowledged=\"100000000\"\n");
    pod::wait(&mut serve);
    // `drive` may go at once when all is acknowledged; what it had printed before is read whole.
    pod::wait(&mut drive);
    let all = reader.join().unwrap();
    assert!(all.starts_with("{\"seq\":0,"));
}

fn wait_for_file(file: &std::path::Path) {
    use rustix::fs::inotify;
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, file.parent().unwrap(), flags).unwrap();
    while !file.exists() {
        rustix::io::read(&fd, &mut [0; 4096]).unwrap();
    }
}

#[test]
fn j509_masked_values_are_hidden_over_any_split() {
    let script = &[
        "echo $SECRET",
        "printf topse; sync; printf 'cret!\\n'",
        "for c in t o p s e c r e t; do printf $c; done; echo",
        "echo glpat-abc glcbt-xyz own-zzz",
        "echo 'http://h/?private_token=abc&x=1'",
        "echo $CI_JOB_TOKEN",
        "printf topsec",
    ];
    let job = Job::new(script)
        .masked("SECRET", "topsecret")
        .variable("CI_JOB_TOKEN", "glcbt-64_0123456789abcdef")
        .set("features", json!({"trace_sections": true, "token_mask_prefixes": ["own-"]}));
    let ended = job.run().succeeded();
    let expected = "[MASKED]\n[MASKED]!\n[MASKED]\nglpat-[MASKED] glcbt-[MASKED] own-[MASKED]\n\
                    http://h/?private_token=[MASKED]&x=1\n[MASKED]\ntopsec";
    // The script's own text holds the value in pieces only; commands are masked as well.
    assert_eq!(ended.output(), expected);
    assert!(!ended.log.contains("topsecret"));
}

#[test]
fn j207_lines_are_stamped_by_default() {
    let mut job = Job::new(&["echo one", "printf '10%%\\r20%%\\r'", "printf 'end'"]);
    job.payload["variables"] = json!([{"key": "GIT_STRATEGY", "value": "none"}]);
    let ended = job.run().succeeded();
    for line in ended.log.split_terminator('\n') {
        let (date, rest) = line.split_at(27);
        assert!(date.starts_with("20") && date.ends_with('Z'), "{line}");
        assert!(["00O ", "00O+", "01O ", "01O+"].contains(&&rest[1..5]), "{line}");
    }
    let work = ended.log.split_terminator('\n').map(|line| &line[28..]).filter(|line| line.starts_with("01"));
    let work: Vec<&str> = work.collect();
    let at = work.iter().position(|line| *line == "01O one").unwrap();
    assert!(work[at + 2..].concat().contains("20%"), "{work:?}");
    assert!(work.iter().any(|line| line.ends_with("end")), "{work:?}");
}

#[test]
fn text_is_printed_again_on_request() {
    let pod = Job::new(&["echo hello", "seq 1 30000"]).start();
    let outcome = pod.result();
    let before = pod.wait_for("frames", |frames| Some(frames.len()));
    pod.annotate("runner-tools.dev/replay-from=\"10/1\"\n");
    let (first, text_len) = pod.wait_for("the replay", |frames| {
        let replayed = &frames[before..];
        let texts = replayed
            .iter()
            .filter_map(|f| if let runner_core::frame::Body::Log(t) = &f.body { Some((f.offset, t)) } else { None });
        let texts: Vec<_> = texts.collect();
        let len: usize = texts.iter().map(|(_, text)| text.len()).sum();
        let complete = matches!(replayed.last()?.body, runner_core::frame::Body::Result(_));
        complete.then(|| (texts[0].0, len))
    });
    assert_eq!((first, text_len as u64), (10, outcome.length - 10));
    pod.end().succeeded();
}

#[test]
fn a_warm_pod_waits_for_its_job() {
    let pod = Pod::warm(Job::new(&["echo warm"]));
    wait_for_file(&pod.job.path("share/runner-helper"));
    assert_eq!(pod.log(), "");
    pod.give_job();
    pod.wait_for_log("\nwarm\n");
    pod.end().succeeded();
}

#[test]
fn j202_a_masked_value_in_a_line_of_the_runner_is_hidden() {
    let ended = Job::new(&["true"]).masked("GIT_CHECKOUT", "topsecret").run().succeeded();
    assert!(ended.log.contains("GIT_CHECKOUT: expected bool got \"[MASKED]\", using"), "{}", ended.log);
    assert!(!ended.log.contains("topsecret"));
}

#[test]
fn j509_masked_values_are_hidden_as_json_and_in_addresses_too() {
    let value = "to \"secret\"/x";
    let script = &["printf '%s\n' '{\"a\": \"to \\\"secret\\\"/x\"}' 'http://h/?q=to%20%22secret%22%2Fx&b'"];
    let ended = Job::new(script).masked("SECRET", value).run().succeeded();
    assert_eq!(ended.output(), "{\"a\": \"[MASKED]\"}\nhttp://h/?q=[MASKED]&b\n");
}

#[test]
fn j212_the_cut_at_the_limit_is_not_within_a_character() {
    for pad in ["", "x"] {
        let script = format!("printf '%s' '{pad}'; for i in $(seq 9000); do printf ééééééééé; done");
        let ended = Job::new(&[&script]).config("output_limit", json!(1)).run().succeeded();
        let (length, most) = (ended.outcome.length, 65 * 1024);
        assert!(length == most || length == most - 1, "{length}");
        assert!(ended.log.ends_with('é') && !ended.log.contains('\u{fffd}'));
    }
}

#[test]
fn a_secret_that_is_part_of_a_sections_name_leaves_the_markers_as_they_are() {
    let job = Job::new(&["echo a script"]).masked("SECRET", "script").masked("OTHER", "section_end");
    let ended = job.run().succeeded();
    assert_eq!(ended.section("step_script"), "\u{1b}[32;1m$ echo a [MASKED]\u{1b}[0;m\na [MASKED]\n");
    assert!(ended.log.contains("Executing \"step_[MASKED]\" stage"), "{}", ended.log);
}

//! What a script prints is what GitLab gets, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use tests::{World, trace};

/// What the script printed, without the echo of its commands.
async fn printed(world: &World, script: &str) -> Vec<u8> {
    let spec = JobSpec::script([format!("exec 2>&1; {script}")]).variable("FF_TIMESTAMPS", "false");
    let job = world.run(spec).await;
    assert_eq!(job.status, JobStatus::Success, "{script}");
    assert_eq!(Some(job.trace_crc32), job.claimed_checksum, "GitLab's log is the one the runner meant");
    let log = world.gitlab.trace(job.id);
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|window| window == needle);
    let echo = format!("{}\u{1b}[0;m\n", script.lines().next().unwrap());
    let start = find(&log, echo.as_bytes()).expect("the command is echoed") + echo.len();
    let len = find(&log[start..], b"section_end:").expect("the section ends");
    log[start..start + len].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bytes_arrive_unchanged() {
    let world = World::start().await;
    let _pipe = world.pipe();
    for (script, expected) in [
        ("printf 'no newline'", &b"no newline"[..]),
        (r"printf 'a\000b\n'", b"a\0b\n"),
        (r"printf '10%%\r20%%\r\n'", b"10%\r20%\r\n"),
        (r"printf '\033[31mred\033[0m\n'", b"\x1b[31mred\x1b[0m\n"),
        ("printf 'h\u{e9}llo \u{1f600}\\n'", "h\u{e9}llo \u{1f600}\n".as_bytes()),
        // The one documented change: what is not UTF-8 becomes U+FFFD.
        (r"printf 'x\377y\n'", "x\u{fffd}y\n".as_bytes()),
        (r"printf '\303'; sleep 0.2; printf '\251\n'", "\u{e9}\n".as_bytes()),
        (r#"printf '{"command_exit_code":0,"script":"x"}\n'"#, b"{\"command_exit_code\":0,\"script\":\"x\"}\n"),
        (r#"printf '{"seq":0,"offset":0,"log":"x"}\n'"#, b"{\"seq\":0,\"offset\":0,\"log\":\"x\"}\n"),
        (":", b""),
    ] {
        let got = printed(&world, script).await;
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected), "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_megabyte_arrives_whole() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let got = printed(&world, "head -c 1000000 /dev/zero | tr '\\0' x").await;
    assert!(got.len() == 1_000_000 && got.iter().all(|&b| b == b'x'), "{} bytes", got.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn four_megabytes_of_log_arrive_byte_for_byte() {
    let world = World::builder().runner("output_limit = 8192").start().await;
    let _pipe = world.pipe();
    let got = printed(&world, "seq 1 600000").await;
    let expected: String = (1..=600_000).map(|n| format!("{n}\n")).collect();
    assert!(expected.len() > 4_000_000);
    assert!(got == expected.as_bytes(), "{} of {} bytes", got.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_the_log_ends_with_a_notice_and_the_final_line() {
    let world = World::builder().runner("output_limit = 16").start().await;
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["seq 1 100000", "exit 3"])).await;
    assert_eq!((job.status, job.exit_code), (JobStatus::Failed, Some(3)));
    let log = world.gitlab.trace(job.id);
    let text = String::from_utf8_lossy(&log);
    assert!(log.len() <= 16 * 1024, "{} bytes", log.len());
    assert!(text.contains("Job's log exceeded limit of 16384 bytes."), "{text}");
    assert!(text.contains("Job failed: command terminated with exit code 3"), "{text}");
    assert_eq!(Some(job.trace_crc32), job.claimed_checksum);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_has_its_time_and_stream() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["echo out", "echo err >&2"])).await;
    let log = world.gitlab.trace(job.id);
    for line in String::from_utf8_lossy(&log).lines() {
        let (stamp, rest) = (line.get(..28), line.get(28..32));
        assert!(stamp.is_some_and(|s| s.ends_with("Z ")), "{line:?}");
        assert!(rest.is_some_and(|r| ["00O ", "00O+", "01O ", "01O+"].contains(&r)), "{line:?}");
    }
    let work = String::from_utf8(trace::script_output(&log)).unwrap();
    assert!(work.contains("out\n") && work.contains("err\n"), "{work}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_live() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let id = world.gitlab.enqueue(JobSpec::script(["echo first", "sleep 600"])).await.unwrap();
    world.log_shows(id, "first\n").await;
    assert_eq!(world.gitlab.job(id).unwrap().status, JobStatus::Running);
    std::fs::write(world.job_folder(id).join("cancel"), "").unwrap();
    assert_eq!(world.finished(id).await.status, JobStatus::Failed, "it was stopped");
}

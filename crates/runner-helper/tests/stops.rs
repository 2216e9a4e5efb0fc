//! What ends a job from outside: its time, a cancel, a lost container, a deleted pod. Nothing of it survives.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::time::Instant;

use pod::{Job, wait};
use runner_core::failure::FailureReason;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

const CANCELING: &str = "runner-tools.dev/cancel=\"canceling\"\n";
const CANCELED: &str = "runner-tools.dev/cancel=\"canceled\"\n";

/// Process ids the script has printed as `pid=N`.
fn pids(log: &str) -> Vec<Pid> {
    let numbers = log.lines().filter_map(|line| line.strip_prefix("pid=")?.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

fn assert_gone(log: &str) {
    for pid in pids(log) {
        assert!(test_kill_process(pid).is_err(), "{pid:?} still runs");
    }
}

#[test]
fn j117_the_jobs_time_ends_everything() {
    let job = Job::new(&["echo pid=$$", "sleep 60"]).after(&["echo never"]).set("runner_info", json!({"timeout": 1}));
    let ended = job.run().failed("execution took longer than 1s seconds");
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::JobExecutionTimeout));
    assert!(ended.log.contains("WARNING: step_script could not run to completion because the timeout was exceeded."));
    assert!(!ended.log.contains("Running after_script") && !ended.log.contains("cleanup"));
    assert_gone(&ended.log);
}

#[test]
fn j151_j411_j505_j507_the_scripts_time_ends_the_script() {
    let job = Job::new(&["echo pid=$$", "sleep 60"]).after(&["echo status $CI_JOB_STATUS"]);
    let ended = job.variable("RUNNER_SCRIPT_TIMEOUT", "500ms").run();
    let ended = ended.failed("script timeout: context deadline exceeded");
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::JobExecutionTimeout));
    assert!(ended.section("after_script").ends_with("status timedout\n"));
    assert!(!ended.log.contains("export ") && !ended.log.contains("pipefail"), "no body is printed");
    assert_gone(&ended.log);
}

#[test]
fn j151_the_time_of_after_script_is_its_own() {
    let job = Job::new(&["true"]).after(&["echo pid=$$", "sleep 60"]).variable("RUNNER_AFTER_SCRIPT_TIMEOUT", "300ms");
    let ended = job.run().succeeded();
    assert!(ended.log.contains("WARNING: after_script could not run to completion"));
    assert!(ended.log.contains("WARNING: after_script failed, but job will continue unaffected: build aborted"));
    assert_gone(&ended.log);
}

#[test]
fn j151_bad_times_are_told_and_ignored() {
    let job =
        Job::new(&["true"]).variable("RUNNER_SCRIPT_TIMEOUT", "90").variable("RUNNER_AFTER_SCRIPT_TIMEOUT", "-5s");
    let ended = job.run().succeeded();
    assert!(ended.log.contains("WARNING: Ignoring malformed RUNNER_SCRIPT_TIMEOUT timeout: 90\u{1b}[0;m\n"));
    assert!(ended.log.contains("WARNING: Ignoring relative RUNNER_AFTER_SCRIPT_TIMEOUT timeout: -5s\u{1b}[0;m\n"));
}

#[test]
fn j505_j507_a_canceled_script_is_followed_by_after_script() {
    let pod =
        Job::new(&["echo pid=$$", "echo ready-$((40+2))", "sleep 60"]).after(&["echo status $CI_JOB_STATUS"]).start();
    pod.wait_for_log("\nready-42\n");
    pod.annotate(CANCELING);
    let ended = pod.end().failed("canceled");
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::JobCanceled));
    assert!(ended.log.contains("WARNING: script canceled externally (UI, API)"));
    assert!(ended.section("after_script").ends_with("status canceled\n"));
    assert_gone(&ended.log);
}

#[test]
fn a_script_that_ignores_term_is_gone_before_after_script() {
    let script =
        &["trap '' TERM", "echo pid=$$", "(while :; do sleep 0.1; done) & echo pid=$!", "echo ready-$((40+2))", "wait"];
    let pod = Job::new(script).after(&["kill -0 $(cat pid) 2>/dev/null && echo alive || echo gone"]).start();
    pod.wait_for_log("\nready-42\n");
    let pids = pids(&pod.log());
    std::fs::write(pod.job.path("builds/group/project/pid"), pids[1].as_raw_nonzero().to_string()).unwrap();
    pod.annotate(CANCELING);
    let ended = pod.end().failed("canceled");
    assert!(ended.section("after_script").ends_with("\ngone\n"), "{}", ended.log);
    assert_eq!(pids.len(), 2);
    assert_gone(&ended.log);
}

#[test]
fn j508_an_abort_ends_everything_at_once() {
    let pod = Job::new(&["echo pid=$$", "echo ready-$((40+2))", "sleep 60"]).after(&["echo never"]).start();
    pod.wait_for_log("\nready-42\n");
    pod.annotate(CANCELED);
    let ended = pod.end().failed("canceled");
    assert!(!ended.log.contains("after_script"));
    assert_gone(&ended.log);
}

#[test]
fn a_cancel_before_the_script_ends_the_job() {
    let pod = pod::Pod::warm(Job::new(&["echo never"]).after(&["echo never"]));
    pod.annotate(CANCELING);
    // Read before the job is: the helper looks at the file when the job comes.
    pod.give_job();
    let ended = pod.end().failed("canceled");
    assert!(!ended.log.contains("echo never"), "{}", ended.log);
}

#[test]
fn a_cancel_in_after_script_changes_nothing() {
    let pod = Job::new(&["true"])
        .after(&["echo ready-$((40+2))", "while [ ! -e go ]; do sleep 0.05; done", "echo on"])
        .start();
    pod.wait_for_log("\nready-42\n");
    pod.annotate(CANCELING);
    std::fs::write(pod.job.path("builds/group/project/go"), "").unwrap();
    assert!(pod.end().succeeded().section("after_script").ends_with("\non\n"));
}

#[test]
fn what_a_script_leaves_running_does_not_hold_it_up_and_ends_with_the_job() {
    let script =
        &["sleep 1000 & echo pid=$!", "setsid sh -c 'echo pid=$$; exec sleep 1000' &", "sleep 0.1", "echo done"];
    let began = Instant::now();
    let ended = Job::new(script).run().succeeded();
    assert!(began.elapsed().as_secs() < 20);
    assert_eq!(pids(&ended.log).len(), 2);
    assert_gone(&ended.log);
}

#[test]
fn a_build_container_that_dies_is_reported_as_lost() {
    let mut pod = Job::new(&["echo ready-$((40+2))", "sleep 60"]).after(&["echo never"]).start();
    pod.wait_for_log("\nready-42\n");
    pod.serve.kill().unwrap();
    let outcome = pod.result();
    assert!(outcome.container_lost);
    assert_eq!(outcome.failure_reason, Some(FailureReason::RunnerSystemFailure));
    assert!(!pod.log().contains("Running after_script"));
}

#[test]
fn a_deleted_pod_leaves_no_result_and_no_process() {
    // One write, so that the words are there when the line is.
    let script = &["echo pid=$$", "printf 'ready-%s\\nlast words' 42 > x; cat x", "sleep 60"];
    let mut pod = Job::new(script).variable("FF_TIMESTAMPS", "true").start();
    pod.wait_for_log(" ready-42\n");
    kill_process(Pid::from_child(&pod.drive), Signal::TERM).unwrap();
    assert_eq!(wait(&mut pod.drive).code(), Some(143));
    assert_eq!(wait(&mut pod.serve).code(), Some(1), "serve has lost its helper");
    assert!(!pod.job.path("termination").exists());
    pod.wait_until_closed();
    let log = pod.log().replace(" 01O ", "\n");
    assert!(log.contains("\nlast words"), "{log}");
    assert_eq!(pids(&log).len(), 1);
    assert_gone(&log);
}

#[test]
fn serve_passes_a_term_on() {
    let script = &["trap 'echo got TERM; exit 5' TERM", "echo ready-$((40+2))", "while :; do sleep 0.05; done"];
    let mut pod = Job::new(script).start();
    pod.wait_for_log("\nready-42\n");
    kill_process(Pid::from_child(&pod.serve), Signal::TERM).unwrap();
    assert_eq!(wait(&mut pod.serve).code(), Some(143));
    pod.wait_for_log("\ngot TERM\n");
    // Its exit code 5 is not the job's: the script did not end by itself.
    let result = pod.result();
    assert!(result.container_lost, "{result:?}");
    assert_eq!(result.exit_code, None, "{result:?}");
}

//! How scripts end, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use pod::Job;
use runner_core::event::State;
use runner_core::failure::FailureReason;
use serde_json::json;

#[test]
fn j116_j510_j538_a_script_ends_with_the_code_of_its_first_failing_command() {
    for (script, code, output) in [
        (&["echo one", "true"][..], 0, "one\n"),
        (&["echo one", "exit 7", "echo never"], 7, "one\n"),
        (&["exit 255"], 255, ""),
        (&["false", "echo never"], 1, ""),
        (&["sh -c 'exit 9'", "echo never"], 9, ""),
        (&["false | true", "echo never"], 1, ""),
        (&["false && echo no", "echo still here"], 0, "still here\n"),
        (&["set +e", "false", "echo on"], 0, "on\n"),
        (&["exit 0", "echo never"], 0, ""),
        (&["if false; then", "echo no", "else", "echo else", "fi", "echo after"], 0, "else\nafter\n"),
        (&["cd /", "x=1", "f() { echo f$x; }", "f; pwd"], 0, "f1\n/\n"),
        (&["kill -9 $$"], 137, ""),
        (&["kill -TERM $$"], 143, ""),
        (&["sh -c 'kill -9 $$'"], 137, "*"),
        (&["trap 'echo bye' EXIT", "exit 3"], 3, "bye\n"),
        (&["cat", "read x || echo eof"], 0, "eof\n"),
        (&["", "echo one", "   ", "# only a comment"], 0, "\none\n\n"),
        (&["{\"command_exit_code\":0,\"script\":\"x\"}"], 127, "*"),
        (
            &["echo '{\"command_exit_code\":0,\"script\":\"x\"}'", "exit 4"],
            4,
            "{\"command_exit_code\":0,\"script\":\"x\"}\n",
        ),
    ] {
        let ended = Job::new(script).run();
        let message = if code == 0 { String::new() } else { format!("command terminated with exit code {code}") };
        let ended = ended.failed(&message);
        let expected = match code {
            0 => (State::Success, None, None),
            code => (State::Failed, Some(code), Some(FailureReason::ScriptFailure)),
        };
        let outcome = &ended.outcome;
        assert_eq!((outcome.state, outcome.exit_code, outcome.failure_reason), expected, "{script:?}");
        assert_eq!(ended.code, Some(code), "{script:?}");
        if output != "*" {
            assert_eq!(ended.output(), output, "{script:?}\n{}", ended.log);
        }
    }
}

#[test]
fn j501_stages_come_in_order_with_their_markers() {
    let ended = Job::new(&["echo hello"]).after(&["echo \"after $CI_JOB_STATUS\""]).run().succeeded();
    let stages = ["prepare_script", "get_sources", "step_script", "after_script", "cleanup_file_variables"];
    assert_eq!(ended.stages, stages);
    let mut at = 0;
    for stage in stages {
        // The executor has begun the first.
        if stage != "prepare_script" {
            at += ended.log[at..].find(&format!(":{stage}\r\u{1b}[0K\u{1b}[0K\u{1b}[36;1m")).unwrap();
        }
        at += ended.log[at..].find(&format!(":{stage}\r\u{1b}[0K")).unwrap();
    }
    assert!(ended.log.starts_with("Running on ") && ended.log.contains(" via executor-host...\nsection_end:"));
    assert_eq!(ended.section("step_script"), "\u{1b}[32;1m$ echo hello\u{1b}[0;m\nhello\n");
    assert_eq!(
        ended.section("after_script"),
        "\u{1b}[32;1mRunning after script...\u{1b}[0;m\n\u{1b}[32;1m$ echo \"after $CI_JOB_STATUS\"\u{1b}[0;m\nafter success\n"
    );
    assert!(ended.log.contains("\u{1b}[36;1mExecuting \"step_script\" stage of the job script\u{1b}[0;m\u{1b}[0;m\n"));
}

#[test]
fn without_markers_there_are_only_headings() {
    let ended = Job::new(&["echo hello"]).set("features", json!({})).run().succeeded();
    assert!(!ended.log.contains("section_") && ended.log.contains("Executing \"step_script\""));
}

#[test]
fn a_command_that_is_not_there_is_named() {
    for shell in ["bash", "sh"] {
        let ended = Job::new(&["no-such-command --flag"]).config("shell", json!(shell)).run();
        let ended = ended.failed("command terminated with exit code 127");
        let output = ended.output();
        assert!(output.contains("/step_script: ") && output.contains("no-such-command: "), "{output}");
    }
}

#[test]
fn j425_j522_long_commands_are_folded() {
    let script = &["echo one\necho two", "  echo trimmed \n"];
    let ended = Job::new(script).run().succeeded();
    assert_eq!(
        ended.section("step_script"),
        "\u{1b}[32;1m$ echo one # collapsed multi-line command\u{1b}[0;m\none\ntwo\n\u{1b}[32;1m$ echo trimmed\u{1b}[0;m\ntrimmed\n"
    );
    let ended = Job::new(&["echo a", "echo 'b%s\\n'\necho c"]).variable("FF_SCRIPT_SECTIONS", "true").run().succeeded();
    let log = &ended.log;
    assert!(
        log.contains(":section_script_step_1[hide_duration=true,collapsed=true]\r\u{1b}[0K\u{1b}[32;1m$ echo 'b%s\\n'\necho c\u{1b}[0;m\nsection_end:"),
        "{log}"
    );
    assert!(log.contains(":section_script_step_1\r\u{1b}[0K\nb%s\\n\nc\n"), "{log}");
}

#[test]
fn j403_the_exit_code_check_sees_what_errexit_does_not() {
    let job = Job::new(&["false && echo no", "echo never"]).variable("FF_ENABLE_BASH_EXIT_CODE_CHECK", "true");
    assert_eq!(job.run().failed("command terminated with exit code 1").output(), "");
}

#[test]
fn j145_j425_j504_steps_run_in_order_until_one_fails() {
    let steps = json!([
        {"name": "script", "script": ["echo first"]},
        {"name": "release", "script": ["echo release $NAME", "exit 3"]},
        {"name": "other", "script": ["echo never"]},
        {"name": "after_script", "script": ["echo $CI_JOB_STATUS", "exit 9"]},
    ]);
    let ended = Job::new(&[]).variable("NAME", "x").set("steps", steps).run();
    let ended = ended.failed("command terminated with exit code 3");
    assert!(ended.section("step_release").contains("$ echo release x\u{1b}[0;m\nrelease x\n"));
    assert!(ended.section("after_script").contains("\nfailed\n"));
    assert!(!ended.log.contains("step_other"));
    let warning = "WARNING: after_script failed, but job will continue unaffected: command terminated with exit code 9";
    assert!(ended.log.contains(warning), "{}", ended.log);
}

#[test]
fn a_failing_after_script_counts_if_the_job_says_so() {
    let job = Job::new(&["true"]).after(&["exit 9"]).variable("AFTER_SCRIPT_IGNORE_ERRORS", "false");
    job.run().failed("command terminated with exit code 9");
}

#[test]
fn j425_scripts_of_the_runner_come_around_the_jobs() {
    let job = Job::new(&["echo job"])
        .config("pre_build_script", json!("echo pre"))
        .config("post_build_script", json!("echo post"));
    assert_eq!(job.run().succeeded().output(), "pre\njob\npost\n");
}

#[test]
fn j534_a_job_that_cannot_run_says_why() {
    let outcome = Job::new(&["true"]).variable("GIT_CLONE_PATH", "/elsewhere").start().result();
    assert_eq!(outcome.failure_reason, Some(FailureReason::RunnerConfigurationError));
    assert!(outcome.message.starts_with("the GIT_CLONE_PATH=\"/elsewhere\" has to be within "));
}

#[test]
fn what_would_change_a_jobs_meaning_is_refused() {
    let outcome = Job::new(&["true"]).set("run", json!("[{}]")).start().result();
    assert_eq!(outcome.message, "the `run` keyword is not supported by this runner");
    assert_eq!(outcome.failure_reason, Some(FailureReason::RunnerConfigurationError));
}

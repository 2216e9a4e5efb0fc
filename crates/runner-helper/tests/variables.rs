//! What scripts find in their environment, in every shell.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use pod::Job;
use serde_json::json;

const SHELLS: [&str; 2] = ["bash", "sh"];

#[test]
fn j401_j506_values_of_any_kind_arrive_unchanged() {
    let values = [
        "plain",
        "two words",
        "it's",
        "\"q\" $HOME `id` $(id) \\ \\n",
        "line 1\nline 2\n",
        "tab\tcr\r",
        "ünï-☺",
        " lead and trail ",
        "*?[a]{b,c}~",
        "!history",
        "#no comment",
        "-n",
        "\u{1b}[0m",
        "a=b",
        "",
    ];
    for shell in SHELLS {
        let mut job = Job::new(&["for i in $(seq 0 14); do eval \"printf '%s|' \\\"\\$V$i\\\"\"; done; echo"])
            .config("shell", json!(shell));
        for (i, value) in values.iter().enumerate() {
            job = job.with_variable(json!({"key": format!("V{i}"), "value": value, "raw": true}));
        }
        let expected: String = values.iter().map(|value| format!("{value}|")).collect();
        assert_eq!(job.run().succeeded().output(), format!("{expected}\n"), "{shell}");
    }
}

#[test]
fn commands_are_shown_and_run_as_written() {
    for shell in SHELLS {
        for command in ["echo 'a\\nb'", "echo \"it's\" '%s'", "printf '%s\\n' '$HOME' \\\\", "echo ☺ `echo x`"] {
            let ended = Job::new(&[command]).config("shell", json!(shell)).run().succeeded();
            let section = ended.section("step_script");
            assert!(section.starts_with(&format!("\u{1b}[32;1m$ {command}\u{1b}[0;m\n")), "{shell}: {section}");
        }
    }
}

#[test]
fn j305_references_expand_once_and_the_last_of_a_key_wins() {
    let job = Job::new(&["echo \"$A|$B|$RAW|$TWICE|$PATH_LIKE\""])
        .variable("A", "$B-${C}")
        .variable("B", "$C")
        .variable("C", "1")
        .with_variable(json!({"key": "RAW", "value": "$A $$", "raw": true}))
        .variable("TWICE", "first")
        .variable("TWICE", "second")
        .variable("PATH_LIKE", "$$x $UNKNOWN.");
    assert_eq!(job.run().succeeded().output(), "$C-1|1|$A $$|second|$x .\n");
}

#[test]
fn j101_j104_j129_the_runners_own_variables_are_there() {
    let script = &[
        "echo $CI_BUILDS_DIR $CI_PROJECT_DIR $PWD $RUNNER_TEMP_PROJECT_DIR",
        "echo $CI_SERVER $CI_DISPOSABLE_ENVIRONMENT $CI_JOB_STATUS $CI_JOB_TIMEOUT $CI_CONCURRENT_ID $CI_RUNNER_SHORT_TOKEN",
        "echo $CI_RUNNER_VERSION $FF_TIMESTAMPS $FF_SCRIPT_SECTIONS $OF_RUNNER $CI_JOB_IMAGE",
    ];
    let job = Job::new(script)
        .config("environment", json!(["OF_RUNNER=weak", "CI_JOB_TIMEOUT=5", "BOTH=weak"]))
        .set("image", json!({"name": "alpine"}));
    let builds = job.path("builds").display().to_string();
    let project = format!("{builds}/group/project");
    let expected = format!(
        "{builds} {project} {project} {project}.tmp\nyes true running 3600 0 abcdefghi\n19.4.0 false false weak alpine\n"
    );
    assert_eq!(job.run().succeeded().output(), expected);
}

#[test]
fn j406_j511_j528_a_file_variable_is_a_path_and_is_removed_at_the_end() {
    let script = &["cat \"$CERT\"; echo; cat \"$REF\"", "wc -c < \"$CERT\"", "basename \"$CERT\""];
    let job = Job::new(script)
        .with_variable(json!({"key": "CERT", "value": "line 1\nline 2 $NAME\n", "file": true}))
        .variable("NAME", "x")
        .variable("REF", "$CERT");
    let ended = job.run().succeeded();
    assert_eq!(ended.output(), "line 1\nline 2 x\n\nline 1\nline 2 x\n16\nCERT\n");
    let left = std::fs::read_dir(ended.folder.path().join("builds/group/project.tmp")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn j502_values_are_handed_over_to_later_scripts_only_as_text() {
    let script = &[
        "echo \"NEW=hello world\" >> \"$GITLAB_ENV\"",
        "echo 'QUOTED=\"q\" $HOME `id`' >> \"$GITLAB_ENV\"",
        "echo >> \"$GITLAB_ENV\"",
        "echo '1BAD=x' >> \"$GITLAB_ENV\"",
        "printf 'LAST=3' >> \"$GITLAB_ENV\"",
        "echo \"[$NEW]\"",
    ];
    for shell in SHELLS {
        let job = Job::new(script).after(&["echo \"[$NEW] [$QUOTED] [$LAST]\""]).config("shell", json!(shell));
        let ended = job.run().succeeded();
        assert_eq!(ended.output(), "[]\n");
        assert!(ended.section("after_script").ends_with("\n[hello world] [\"q\" $HOME `id`] [3]\n"), "{}", ended.log);
        assert!(ended.log.contains("WARNING: GITLAB_ENV: line 3 is empty"));
        assert!(ended.log.contains("WARNING: GITLAB_ENV: line 4 is not NAME=value"));
    }
}

#[test]
fn a_name_no_shell_can_have_is_left_out_and_told() {
    let ended = Job::new(&["echo script"]).variable("1ABC", "x").variable("A-B", "x").run().succeeded();
    assert!(ended.log.contains("left out, because no shell can have variables of these names: 1ABC, A-B"));
}

#[test]
fn variables_that_change_a_shells_start_are_the_jobs_only() {
    let job = Job::new(&["echo $BASH_ENV", "bash -c 'echo inner'"]).variable("BASH_ENV", "/dev/fd/9");
    let output = job.run().succeeded().output();
    assert!(output.starts_with("/dev/fd/9\n") && output.contains("inner\n"), "{output}");
    let job = Job::new(&["x=a:b; set -- $x; echo $1"]).variable("IFS", ":").config("shell", json!("sh"));
    assert_eq!(job.run().succeeded().output(), "a\n");
}

#[test]
fn what_is_too_long_for_the_kernel_still_reaches_the_script() {
    for shell in SHELLS {
        let job = Job::new(&["echo ${#LONG} ${#MANY7}", "unset LONG; ls >/dev/null && echo ls"])
            .config("shell", json!(shell));
        let mut job = job.variable("LONG", &"x".repeat(200_000));
        for i in 0..20 {
            job = job.variable(&format!("MANY{i}"), &"y".repeat(60_000));
        }
        assert_eq!(job.run().succeeded().output(), "200000 60000\nls\n", "{shell}");
    }
}

#[test]
fn a_script_of_megabytes_runs() {
    let long = format!("echo start\n{}echo end", ": 0123456789012345678901234567890123456789\n".repeat(50_000));
    assert_eq!(Job::new(&[&long]).run().succeeded().output(), "start\nend\n");
}

#[test]
fn the_containers_own_environment_stays() {
    let mut job = Job::new(&["echo $FROM_IMAGE $BOTH", "umask"]).variable("BOTH", "job");
    job.environment = vec![("FROM_IMAGE".into(), "image".into()), ("BOTH".into(), "image".into())];
    let output = job.run().succeeded().output();
    assert!(output.starts_with("image job\n"), "{output}");
    assert!(!output.contains("\n0000\n"), "the helper's umask is not the script's: {output}");
}

#[test]
fn j128_j521_tracing_shows_commands_unless_the_runner_forbids_it() {
    let job = Job::new(&["echo $SECRET"]).masked("SECRET", "topsecret").variable("CI_DEBUG_TRACE", "true");
    let ended = job.run().succeeded();
    assert!(ended.log.contains("\n+ echo [MASKED]\n") && !ended.log.contains("topsecret"), "{}", ended.log);
    let job = Job::new(&["echo x"]).variable("CI_DEBUG_TRACE", "true").config("debug_trace_disabled", json!(true));
    let ended = job.run().succeeded();
    assert!(
        !ended.log.contains("+ echo")
            && ended.log.contains("WARNING: CI_DEBUG_TRACE: usage is disabled on this Runner")
    );
}

#[test]
fn the_script_is_in_no_argument_and_not_left_in_an_open_descriptor() {
    let script = &[
        "echo no-secret-$((1+1)) > /dev/null",
        "tr '\\0' ' ' < /proc/$$/cmdline; echo",
        "ls -l /proc/self/fd | grep -c memfd || true",
    ];
    for shell in SHELLS {
        let output = Job::new(script).config("shell", json!(shell)).run().succeeded().output();
        assert!(!output.contains("no-secret"), "{output}");
        assert!(output.ends_with("\n0\n"), "{shell}: {output}");
    }
}

#[test]
fn a_jobs_own_status_variable_wins_over_the_runners() {
    let ended =
        Job::new(&["echo $CI_JOB_STATUS"]).after(&["echo $CI_JOB_STATUS"]).variable("CI_JOB_STATUS", "mine").run();
    let ended = ended.succeeded();
    assert_eq!(ended.output(), "mine\n");
    assert!(ended.section("after_script").ends_with("\nmine\n"));
}

#[test]
fn settings_without_effect_are_told() {
    let job = Job::new(&["true"]).variable("RUNNER_GENERATE_ARTIFACTS_METADATA", "true");
    let log = job.run().succeeded().log;
    let warning = "RUNNER_GENERATE_ARTIFACTS_METADATA has no effect in this runner";
    assert!(log.contains(warning), "{log}");
}

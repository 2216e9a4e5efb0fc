//! The commands of `docs/fake-gitlab.md` do what the page says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

/// All `sh` blocks of the page, in order.
fn commands(page: &str) -> String {
    let mut commands = String::new();
    let mut is_inside = false;
    for line in page.lines() {
        match (is_inside, line) {
            (false, "```sh") => is_inside = true,
            (true, "```") => is_inside = false,
            (true, line) => {
                commands.push_str(line);
                commands.push('\n');
            }
            _ => {}
        }
    }
    commands
}

#[test]
fn the_documented_life_of_a_runner_works_with_curl() {
    let is_there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !["bash", "curl", "jq"].into_iter().all(is_there) {
        return; // Nothing to try it with.
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fake-gitlab.md");
    let page = std::fs::read_to_string(page).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_fake-gitlab"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", &commands(&page)])
        .env("PATH", path)
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let shown = format!("{stdout}\n--- stderr\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}");
    for expected in [
        "2 test created\n1 build pending\n",
        "202 0-6\n416 0-6\n202 0-11\n",
        "canceling\n",
        "3 pending\n3 test\n",
        "hello world",
        "fake/jobs\nfalse\n",
        "503\n200\n",
        "true\n429 60\n",
        "POST /api/v4/runners/verify 503\nPOST /api/v4/runners/verify 200\n",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is not in\n{shown}");
    }
}

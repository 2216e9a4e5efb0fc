//! runner-register at a terminal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fake_gitlab::FakeGitlab;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A person at a terminal at which runner-register was started.
struct Person {
    dir: tempfile::TempDir,
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Person {
    fn starts(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner-register"));
        command.env_clear().env("CONFIG_FILE", dir.path().join("config.toml")).args(args);
        command.stdin(line.try_clone().unwrap()).stdout(Stdio::piped()).stderr(line);
        let child = command.spawn().unwrap();
        drop(command); // and with it the terminal's other end
        let keyboard = File::from(keyboard);
        let (to, screen) = channel();
        let mut output = keyboard.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if to.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { dir, child, keyboard, screen, seen: String::new() }
    }

    /// Waits until the screen shows `text` after what was seen before.
    fn reads(&mut self, text: &str) -> &mut Self {
        while !self.seen.contains(text) {
            match self.screen.recv_timeout(DEADLINE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(err) => panic!("no `{text}` ({err}) in:\n{}", self.seen),
            }
        }
        self.seen = self.seen.split_off(self.seen.find(text).unwrap() + text.len());
        self
    }

    fn types(&mut self, line: &str) -> &mut Self {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
        self
    }

    fn shows_what_is_typed(&self) -> bool {
        tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// The exit code, what else the screen shows, and stdout.
    fn sees_the_end(mut self) -> (i32, String, String, tempfile::TempDir) {
        let status = self.child.wait().unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        while let Ok(bytes) = self.screen.recv_timeout(DEADLINE) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        (code, self.seen, stdout, self.dir)
    }
}

/// Works with the terminal away from the runtime, so that the fake GitLab can answer.
async fn at_a_terminal<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn runner(dir: &tempfile::TempDir) -> Value {
    let text = std::fs::read_to_string(dir.path().join("config.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    serde_json::to_value(&table["runners"][0]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_what_is_missing_is_asked_for_and_the_token_is_not_shown() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let (url, token) = (gitlab.url().to_owned(), gitlab.runner_token().to_owned());
    let typed = token.clone();
    let (code, screen, stdout, dir) = at_a_terminal(move || {
        let mut person = Person::starts(&[]);
        person.reads("GitLab's address [https://gitlab.com]: ").types("gitlab");
        person.reads("`gitlab`: relative URL without a base").reads("GitLab's address").types(&url);
        person.reads("registration token: ");
        assert!(!person.shows_what_is_typed());
        person.types("").reads("a token is needed").reads("registration token: ").types(&typed);
        person.reads("Name of the runner [");
        assert!(person.shows_what_is_typed());
        person.types("desk").reads("Image of jobs that name none").types("alpine:3.22");
        person.sees_the_end()
    })
    .await;
    assert_eq!(code, 0, "{screen}");
    assert!(stdout.starts_with("registered runner `desk` ") && !screen.contains(&token), "{stdout}{screen}");
    let runner = runner(&dir);
    assert_eq!((&runner["name"], &runner["token"]), (&"desk".into(), &token.into()));
    assert_eq!(runner["kubernetes"]["image"], "alpine:3.22");
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_a_registration_token_asks_for_what_gitlab_keeps_and_what_was_given_is_not_asked_for() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let (url, token) = (gitlab.url().to_owned(), gitlab.registration_token());
    let (code, screen, _, dir) = at_a_terminal(move || {
        let mut person = Person::starts(&["--url", &url, "--name", "given", "--kubernetes-image", "ruby"]);
        person.reads("registration token: ").types(&token);
        person.reads("Tags, divided by commas: ").types("a,b");
        person.reads("Note for administrators: ").types("");
        person.sees_the_end()
    })
    .await;
    assert_eq!(code, 0, "{screen}");
    assert_eq!(runner(&dir)["name"], "given");
    let sent = gitlab.wait_request(|r| r.path == "/api/v4/runners").await.json.unwrap();
    assert_eq!((&sent["tag_list"], &sent["description"]), (&"a,b".into(), &"given".into()));
    assert_eq!(sent.get("maintenance_note"), None);
}

#[test]
fn g24_without_questions_what_is_missing_is_an_error_at_a_terminal_too() {
    let (code, screen, ..) = Person::starts(&["-n"]).sees_the_end();
    assert_eq!(code, 2);
    assert!(screen.contains("GitLab's address is missing: give --url or set CI_SERVER_URL\r\n"), "{screen}");
}

#[test]
fn a_person_who_leaves_gets_an_error_and_the_terminal_back() {
    let mut person = Person::starts(&["--url", "https://gitlab.example.com"]);
    person.reads("registration token: ");
    assert!(!person.shows_what_is_typed());
    let pid = rustix::process::Pid::from_child(&person.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    person.child.wait().unwrap();
    assert!(person.shows_what_is_typed());
    assert_eq!(person.sees_the_end().0, 130);

    let mut person = Person::starts(&["--url", "https://gitlab.example.com"]);
    person.reads("registration token: ");
    person.keyboard.write_all(b"\x04").unwrap(); // the end of the input
    let (code, screen, ..) = person.sees_the_end();
    assert_eq!(code, 2);
    assert!(screen.contains("the terminal's input ended before the last answer"), "{screen}");
}

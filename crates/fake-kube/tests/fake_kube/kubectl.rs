//! kubectl, where it is installed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::bed::{Bed, pod};

struct Kubectl<'a>(&'a Bed);

impl Kubectl<'_> {
    fn start(&self, arguments: &[&str]) -> Child {
        Command::new("kubectl")
            .args(["--namespace", "ci"])
            .args(arguments)
            .env("KUBECONFIG", self.0.kube.kubeconfig_path())
            .env("HOME", self.0.kube.root()) // its discovery cache goes with the server
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs kubectl with some input; its output, and a panic with all of it if it fails.
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self.start(arguments);
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

fn is_installed() -> bool {
    let version = Command::new("kubectl").args(["version", "--client"]).output();
    version.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn kubectl_applies_shows_follows_and_deletes() {
    if !is_installed() {
        return; // nothing to test against; kube-rs covers the same calls
    }
    let bed = Bed::new().await;
    let kubectl = Kubectl(&bed);
    let manifest = pod("shown", "echo hello; exit 3").to_string();
    let mut watch = kubectl.start(&["get", "pods", "--watch"]);
    assert_eq!(kubectl.run(&["apply", "--validate=false", "-f", "-"], &manifest), "pod/shown created\n");
    assert_eq!(kubectl.run(&["apply", "--validate=false", "-f", "-"], &manifest), "pod/shown unchanged\n");
    kubectl.run(&["wait", "--for=jsonpath={.status.phase}=Failed", "--timeout=30s", "pod/shown"], "");
    let table = kubectl.run(&["get", "pods"], "");
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().take(4).collect();
    assert_eq!(row, ["shown", "0/1", "Error", "0"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.split_whitespace().take(4).eq(row.iter().copied())), "the watch ended");
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(kubectl.run(&["logs", "-f", "shown"], ""), "hello\n");
    kubectl.run(&["annotate", "pod", "shown", "a=b"], "");
    kubectl.run(&["label", "pod", "shown", "color=red"], "");
    assert_eq!(kubectl.run(&["get", "pods", "-l", "color=red", "-o", "name"], ""), "pod/shown\n");
    let described = kubectl.run(&["describe", "pod", "shown"], "");
    assert!(described.contains("Exit Code:    3") && described.contains("Started container main"), "{described}");
    kubectl.run(&["delete", "pod", "shown"], "");
    assert_eq!(kubectl.run(&["get", "pods", "-o", "name"], ""), "");
}

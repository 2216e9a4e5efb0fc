//! The program `fake-kube`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions::is_pod_running};
use kube::{Api, Client, Config};

use crate::bed::{PATIENCE, pod};

/// Kills the program if a test fails before it stops it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-kube"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn it_prints_its_url_writes_a_kubeconfig_and_cleans_up_when_asked_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, root) = (folder.path().join("kubeconfig"), folder.path().join("root"));
    let arguments =
        ["--kubeconfig", kubeconfig.to_str().unwrap(), "--root", root.to_str().unwrap(), "--status-lag", "10"];
    let mut program = Program(start(&arguments).spawn().unwrap());
    let mut url = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(kubeconfig.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let config = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config).unwrap());
    let manifest = serde_json::from_value(pod("runs", "sleep 65432")).unwrap();
    pods.create(&PostParams::default(), &manifest).await.unwrap();
    tokio::time::timeout(PATIENCE, await_condition(pods, "runs", is_pod_running())).await.unwrap().unwrap();
    let pid = rustix::process::Pid::from_child(&program.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(program.0.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test]
async fn killed_without_warning_it_leaves_nothing_either() {
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, root) = (folder.path().join("kubeconfig"), folder.path().join("root"));
    let arguments = ["--kubeconfig", kubeconfig.to_str().unwrap(), "--root", root.to_str().unwrap()];
    let mut program = Program(start(&arguments).spawn().unwrap());
    let mut url = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let config = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config).unwrap());
    // One without the mark, one without the session.
    let mut manifest = pod("left", "cd /v; env -i sleep 65434 & echo $!; setsid sleep 65433 & echo $!; wait");
    manifest["spec"]["volumes"] = serde_json::json!([{"name": "v"}]);
    manifest["spec"]["containers"][0]["volumeMounts"] = serde_json::json!([{"name": "v", "mountPath": "/v"}]);
    let manifest = serde_json::from_value(manifest).unwrap();
    pods.create(&PostParams::default(), &manifest).await.unwrap();
    tokio::time::timeout(PATIENCE, await_condition(pods.clone(), "left", is_pod_running())).await.unwrap().unwrap();
    let follow = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(pods.log_stream("left", &follow).await.unwrap());
    let mut pids = String::new();
    while pids.lines().count() < 2 || !pids.ends_with('\n') {
        pids.push_str(&crate::bed::read_until(&mut log, "\n").await);
    }
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    let gone = async {
        // Nobody is left to tell when it is done.
        while std::fs::read_dir(&root).unwrap().count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    for pid in pids.lines() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

#[test]
fn an_address_in_use_is_one_line_on_stderr() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = Program(start(&["--listen", &address]).spawn().unwrap());
    let mut stderr = String::new();
    program.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(program.0.wait().unwrap().code(), Some(74));
    assert!(stderr.starts_with(&format!("fake-kube: listen on `{address}`: ")), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

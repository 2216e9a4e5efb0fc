//! The node under the pods: what runs there, ended and started again by a test.

use std::process::Stdio;

use k8s_openapi::api::core::v1::Pod;
use tokio::process::Command;

use super::RealCluster;

/// What a cluster consists of, as `scripts/cluster` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Holds the objects.
    Etcd,
    /// Runs the containers and writes their logs.
    Containerd,
    /// Whom all talk to.
    ApiServer,
    /// Brings pods to the node and their logs to the API server.
    Kubelet,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::Kubelet => "kubelet",
        }
    }
}

/// The node of a test that has the cluster alone. It is whole again when this is dropped.
pub struct Node<'a> {
    cluster: &'a RealCluster,
}

impl RealCluster {
    /// The node, to be broken. For tests with [`alone`](crate::WorldBuilder::alone).
    pub fn node(&self) -> Node<'_> {
        assert!(self.is_alone(), "other tests use this node");
        Node { cluster: self }
    }
}

impl Node<'_> {
    /// Ends the component at once.
    pub async fn kill(&self, component: Component) {
        script(&["kill", component.name()]).await;
    }

    /// Stops the component where it is; its connections stay open.
    pub async fn stop(&self, component: Component) {
        script(&["kill", component.name(), "STOP"]).await;
    }

    /// Lets a stopped component go on.
    pub async fn go_on(&self, component: Component) {
        script(&["kill", component.name(), "CONT"]).await;
    }

    /// Starts what was killed; returns when the node is ready.
    pub async fn start(&self) {
        script(&["up"]).await;
    }

    /// The same with a kubelet that rotates logs of containers at this size.
    pub async fn restart_kubelet(&self, log_max_size: &str) {
        self.kill(Component::Kubelet).await;
        script(&["up", "--log-max-size", log_max_size]).await;
    }

    /// Kills the first process of a container, past Kubernetes.
    pub async fn kill_container(&self, pod: &str, container: &str) {
        let pod = self.cluster.api::<Pod>().get(pod).await.expect("the pod can be read");
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let status = statuses.into_iter().find(|status| status.name == container).expect("the container has a status");
        let id = status.container_id.expect("the container was made");
        let id = id.strip_prefix("containerd://").expect("containerd runs the container");
        script(&["exec", "ctr", "tasks", "kill", "--signal", "SIGKILL", id]).await;
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // A kubelet may be stopped, or have settings of the test's. One that was killed already is no error.
        for args in [&["kill", "kubelet"] as &[&str], &["up"]] {
            let _ = std::process::Command::new(SCRIPT).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// What brings the cluster up and down.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster");

async fn script(args: &[&str]) {
    let output = Command::new(SCRIPT).args(args).stdin(Stdio::null()).output().await;
    let output = output.expect("scripts/cluster can be started");
    assert!(output.status.success(), "scripts/cluster {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

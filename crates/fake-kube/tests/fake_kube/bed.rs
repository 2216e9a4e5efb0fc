//! What every test needs: a server, a client, and waits that have a deadline.

use std::time::Duration;

use fake_kube::{Builder, FakeKube};
use futures::{AsyncReadExt, StreamExt};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Longer than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bed {
    pub(crate) kube: FakeKube,
    pub(crate) client: Client,
}

impl Bed {
    /// A server that does not keep a test waiting.
    pub(crate) async fn new() -> Self {
        Self::with(FakeKube::builder().back_off(Duration::from_millis(50))).await
    }

    pub(crate) async fn with(builder: Builder) -> Self {
        let builder = builder.status_lag(Duration::from_millis(20));
        let kube = builder.start().await.unwrap();
        let client = client(&kube).await;
        Self { kube, client }
    }

    pub(crate) fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "ci")
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "ci")
    }

    /// Creates a pod from JSON.
    pub(crate) async fn create(&self, pod: Value) -> Pod {
        let pod = serde_json::from_value(pod).unwrap();
        self.api().create(&PostParams::default(), &pod).await.unwrap()
    }

    pub(crate) async fn create_secret(&self, secret: Value) -> Secret {
        let secret = serde_json::from_value(secret).unwrap();
        self.secrets().create(&PostParams::default(), &secret).await.unwrap()
    }

    /// Waits until the pod of this name satisfies the condition.
    pub(crate) async fn wait(&self, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let named = |pods: &[Value]| pods.iter().find(|pod| pod["metadata"]["name"] == name).cloned();
        let pods = self.kube.wait_for_pods(|pods| named(pods).is_some_and(|pod| condition(&pod)));
        match tokio::time::timeout(PATIENCE, pods).await {
            Ok(pods) => named(&pods).unwrap(),
            Err(_) => panic!("waited in vain for {name}: {:#}", json!(self.kube.pods())),
        }
    }

    pub(crate) async fn wait_for_phase(&self, name: &str, phase: &str) -> Value {
        self.wait(name, |pod| pod["status"]["phase"] == phase).await
    }

    /// Waits until a container of this pod has a log.
    pub(crate) async fn wait_for_start(&self, name: &str) -> Value {
        self.wait(name, |pod| {
            let state = &pod["status"]["containerStatuses"][0]["state"];
            state["running"].is_object() || state["terminated"].is_object()
        })
        .await
    }

    pub(crate) async fn wait_until_gone(&self, name: &str) {
        let gone = self.kube.wait_for_pods(|pods| pods.iter().all(|pod| pod["metadata"]["name"] != name));
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }

    /// The whole log of the first container, once the pod has ended.
    pub(crate) async fn output_of(&self, pod: Value) -> String {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.create(pod).await;
        self.wait(&name, |pod| ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase)).await;
        self.api().logs(&name, &LogParams::default()).await.unwrap()
    }
}

pub(crate) async fn client(kube: &FakeKube) -> Client {
    let kubeconfig = Kubeconfig::read_from(kube.kubeconfig_path()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// A pod that runs a script once.
pub(crate) fn pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "test"}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [
            {"name": "main", "image": "alpine:3", "command": ["sh", "-c", script]},
        ]},
    })
}

/// The first container's state.
pub(crate) fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

/// Reads a followed log until it contains `wanted`.
pub(crate) async fn read_until(log: &mut (impl futures::AsyncRead + Unpin), wanted: &str) -> String {
    let mut text = String::new();
    let mut block = [0; 4096];
    let read = async {
        while !text.contains(wanted) {
            let n = log.read(&mut block).await.unwrap();
            assert!(n > 0, "the log ended before {wanted:?}: {text:?}");
            text.push_str(&String::from_utf8_lossy(&block[..n]));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    text
}

/// The next item of a stream, or a panic after a while.
pub(crate) async fn next<S: futures::Stream + Unpin>(stream: &mut S) -> S::Item {
    tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap()
}

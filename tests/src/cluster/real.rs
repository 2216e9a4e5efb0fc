//! A namespace of a real cluster, with the account and the rights that `deploy/` gives the programs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, EvictParams, ListParams, ObjectMeta, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};

/// The account and its rights, as users of the project get them.
const RBAC: &str = include_str!("../../../deploy/rbac.yaml");

/// Name of that account.
const ACCOUNT: &str = "runner-tools";

/// How a test shares the cluster with those that run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// It only uses its namespace.
    WithOthers,
    /// It breaks parts of the cluster: no other test runs meanwhile.
    Alone,
}

/// One test's namespace. It is deleted when this is dropped.
pub struct RealCluster {
    /// The administrator's.
    kubeconfig: PathBuf,
    client: Client,
    namespace: String,
    /// The node's address, which pods reach.
    address: String,
    token: String,
    share: Share,
    /// The namespace is another test world's.
    is_guest: bool,
    /// Held as long as the test runs.
    _lock: File,
}

impl RealCluster {
    /// A new namespace with the account in it. Ends the test if the cluster does not answer as it should.
    pub(crate) async fn start(kubeconfig: PathBuf, share: Share) -> Self {
        let lock = lock(&kubeconfig, share).await;
        let client = client(&kubeconfig).await;
        let address = node_address(&client).await;
        let namespace = namespace(&client).await;
        let token = account(&client, &namespace).await;
        Self { kubeconfig, client, namespace, address, token, share, is_guest: false, _lock: lock }
    }

    /// The same namespace for a neighbour, which must end before this does.
    pub(crate) fn beside(&self) -> Self {
        Self {
            kubeconfig: self.kubeconfig.clone(),
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            address: self.address.clone(),
            token: self.token.clone(),
            share: self.share,
            is_guest: true,
            _lock: self._lock.try_clone().expect("a descriptor can be copied"),
        }
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API of one kind of objects in the test's namespace, with the administrator's rights.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.share == Share::Alone
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The account's name, as the API server knows it.
    pub(crate) fn account(&self) -> String {
        format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace)
    }

    /// The pods, and the version of the list.
    pub(crate) async fn pods(&self) -> (Vec<Value>, String) {
        let list = self.api::<Pod>().list(&ListParams::default()).await.expect("pods can be listed");
        let version = list.metadata.resource_version.clone().unwrap_or_default();
        (list.items.iter().map(|pod| json!(pod)).collect(), version)
    }

    pub(crate) async fn secrets(&self) -> Vec<Value> {
        let list = self.api::<Secret>().list(&ListParams::default()).await.expect("Secrets can be listed");
        list.items.iter().map(|secret| json!(secret)).collect()
    }

    pub(crate) async fn wait_for_pods(&self, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let api = self.api::<Pod>();
        loop {
            let (pods, version) = self.pods().await;
            if condition(&pods) {
                return pods;
            }
            // Whatever happens, even the end of the watch: look again.
            let changes = api.watch(&WatchParams::default(), &version).await.expect("pods can be watched");
            let _ = std::pin::pin!(changes).next().await;
        }
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        let deleted = self.api::<Pod>().delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|err| panic!("pod {name}: {err}"));
    }

    /// Evicts the pod as `kubectl drain` does.
    pub async fn evict(&self, name: &str) {
        let evicted = self.api::<Pod>().evict(name, &EvictParams::default()).await;
        evicted.unwrap_or_else(|err| panic!("pod {name}: {err}"));
    }

    /// A kubeconfig for the account, nobody else's.
    pub(crate) fn write_kubeconfig(&self, path: &Path) {
        let mut config = read_kubeconfig(&self.kubeconfig);
        config.auth_infos.clear();
        let mut config = json!(config);
        let user = config["contexts"][0]["context"]["user"].clone();
        config["users"] = json!([{"name": user, "user": {"token": self.token}}]);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create(true).truncate(true), 0o600);
        let file = options.open(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        // JSON is YAML.
        serde_json::to_writer(file, &config).expect("the kubeconfig can be written");
    }

    /// What is in the namespace, in kubectl's words. Blocks; for the report of a test that failed.
    pub(crate) fn describe(&self) -> String {
        let output = |args: &[&str]| {
            let output = self.kubectl().args(args).output();
            output.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default()
        };
        output(&["describe", "pods"]) + &output(&["get", "events", "--sort-by=.metadata.creationTimestamp"])
    }

    /// `kubectl` with the administrator's rights in the test's namespace.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]);
        kubectl
    }
}

impl Drop for RealCluster {
    fn drop(&mut self) {
        if self.is_guest {
            return;
        }
        // By another process: there may be no runtime left to wait for an answer in. `scripts/e2e` sees what stays.
        let mut kubectl = self.kubectl();
        let _ = kubectl.args(["delete", "namespace", &self.namespace, "--wait=false"]).output();
    }
}

/// A file lock beside the kubeconfig, which all who test on this cluster know.
async fn lock(kubeconfig: &Path, share: Share) -> File {
    let path = kubeconfig.with_extension("lock");
    let lock = move || {
        let open = |path: &Path| File::options().create(true).truncate(false).write(true).open(path);
        // Whoever waits stands in this door: those who share cannot overtake for ever one who wants to be alone.
        let door = open(&path.with_extension("door"))?;
        door.lock()?;
        let file = open(&path)?;
        match share {
            Share::WithOthers => file.lock_shared()?,
            Share::Alone => file.lock()?,
        }
        Ok::<_, std::io::Error>(file)
    };
    tokio::task::spawn_blocking(lock).await.expect("the lock does not panic").expect("the cluster can be locked")
}

fn read_kubeconfig(path: &Path) -> Kubeconfig {
    Kubeconfig::read_from(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

async fn client(kubeconfig: &Path) -> Client {
    let file = read_kubeconfig(kubeconfig);
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("the kubeconfig can be used")).expect("a client of the cluster")
}

async fn node_address(client: &Client) -> String {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.expect("the cluster has a node");
    let mut addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
    addresses.find(|address| address.type_ == "InternalIP").expect("the node has an address").address
}

/// A namespace with a name of its own, in which pods can be made.
async fn namespace(client: &Client) -> String {
    let labels = [("runner-tools.test".to_owned(), "true".to_owned())].into();
    let metadata = ObjectMeta { generate_name: Some("e2e-".to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    let namespaces = Api::<Namespace>::all(client.clone());
    let made = namespaces.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await;
    let namespace = made.expect("a namespace can be made").metadata.name.expect("a namespace has a name");
    // Pods are refused until it is there.
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
    let there = await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some());
    tokio::time::timeout(crate::PATIENCE, there)
        .await
        .expect("a namespace gets its service account")
        .expect("service accounts can be watched");
    namespace
}

/// Makes the account with the rights of `deploy/`, and a token for it.
async fn account(client: &Client, namespace: &str) -> String {
    let objects: Vec<Value> = serde_saphyr::from_multiple(RBAC).expect("deploy/rbac.yaml is YAML");
    for mut object in objects {
        // As kustomize does.
        if let Some(subjects) = object["subjects"].as_array_mut() {
            subjects.iter_mut().for_each(|subject| subject["namespace"] = json!(namespace));
        }
        match object["kind"].as_str() {
            Some("ServiceAccount") => create::<ServiceAccount>(client, namespace, object).await,
            Some("Role") => create::<Role>(client, namespace, object).await,
            Some("RoleBinding") => create::<RoleBinding>(client, namespace, object).await,
            kind => panic!("deploy/rbac.yaml has a {kind:?}, which is not made here"),
        }
    }
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(4 * 3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
    let status = answer.expect("the account gets a token").status;
    status.and_then(|status| status.token).expect("the answer has a token")
}

async fn create<K>(client: &Client, namespace: &str, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + serde::Serialize + serde::de::DeserializeOwned,
    K: Clone + std::fmt::Debug,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object).expect("deploy/rbac.yaml is as the API has it");
    let api = Api::<K>::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &object).await.expect("the account and its rights can be made");
}

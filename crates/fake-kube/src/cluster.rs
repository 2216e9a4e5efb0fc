//! Everything one server shares between its routes, its kubelet and its garbage collector.

use std::path::PathBuf;

use serde_json::json;

use crate::config::Config;
use crate::faults::Faults;
use crate::kubelet::Kubelet;
use crate::record::Record;
use crate::resource::{NAMESPACES, NODES, Resource};
use crate::status::ApiError;
use crate::store::{Commit, Key, Store};

/// The only node.
pub(crate) const NODE: &str = "fake-node";

/// One cluster.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) record: Record,
    pub(crate) config: Config,
    pub(crate) kubelet: Kubelet,
    /// The bearer token every request must bring.
    pub(crate) token: String,
}

impl Cluster {
    /// A cluster with its node and its first namespaces.
    pub(crate) fn new(config: Config, root: PathBuf, token: String, faults: Faults) -> Self {
        let cluster =
            Self { store: Store::new(), faults, record: Record::default(), kubelet: Kubelet::new(root), config, token };
        cluster.put(&NODES, NODE);
        if cluster.config.namespaces.is_empty() {
            cluster.put(&NAMESPACES, "default");
            cluster.put(&NAMESPACES, "kube-system");
        }
        for namespace in &cluster.config.namespaces {
            cluster.put(&NAMESPACES, namespace);
        }
        cluster
    }

    fn put(&self, resource: &'static Resource, name: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": resource.kind,
            "metadata": {"name": name, "labels": match resource.kind {
                "Node" => json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}),
                _ => json!({"kubernetes.io/metadata.name": name}),
            }},
            "status": match resource.kind {
                "Node" => json!({"conditions": [{"type": "Ready", "status": "True"}]}),
                _ => json!({"phase": "Active"}),
            },
        });
        // Only a name that exists already fails, and then there is nothing to do.
        let _ = self.store.create(cluster_key(resource, name), object, Commit::Keep);
    }

    /// Namespaces exist as soon as somebody names them, unless the server was given a list.
    pub(crate) fn need_namespace(&self, name: &str) -> Result<(), ApiError> {
        if self.store.get(&cluster_key(&NAMESPACES, name)).is_some() {
            return Ok(());
        }
        if !self.config.namespaces.is_empty() {
            return Err(ApiError::not_found(&NAMESPACES, name));
        }
        self.put(&NAMESPACES, name);
        Ok(())
    }
}

/// The key of a cluster-wide object.
pub(crate) fn cluster_key(resource: &'static Resource, name: &str) -> Key {
    Key { resource, namespace: String::new(), name: name.to_owned() }
}

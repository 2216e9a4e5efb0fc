//! The cluster of one test: fake-kube, or a namespace of its own in the real cluster that the environment names.
//!
//! `scripts/e2e` sets [`KUBECONFIG`]; without it every test starts a fake-kube. Tests ask only for what both can tell; what fake-kube
//! alone can do (faults) is behind [`Cluster::fake`], what takes a real one behind [`Cluster::real`].

mod audit;
mod node;
mod real;

use fake_kube::{FakeKube, Request};
use serde_json::Value;

pub use self::node::{Component, Node};
pub use self::real::RealCluster;
pub(crate) use self::real::Share;

/// Kubeconfig of the real cluster's administrator: the tests' own, the programs get one of an account with few rights.
pub const KUBECONFIG: &str = "RUNNER_TESTS_CLUSTER";

/// The API server's audit log, from which requests are counted.
pub const AUDIT_LOG: &str = "RUNNER_TESTS_AUDIT_LOG";

/// Where the pods of one test run.
pub enum Cluster {
    /// Containers are local processes.
    Fake(FakeKube),
    /// Containers are containers.
    Real(RealCluster),
}

impl Cluster {
    /// The namespace of the test's pods.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Fake(_) => "ci",
            Self::Real(real) => real.namespace(),
        }
    }

    /// What only fake-kube can do. Tests that use it lie in files named `fake_*`, which are not run on a real cluster.
    pub fn fake(&self) -> &FakeKube {
        match self {
            Self::Fake(fake) => fake,
            Self::Real(_) => panic!("this test needs fake-kube"),
        }
    }

    /// What only a real cluster has. Tests that use it lie in files named `cluster_*`, which are ignored without one.
    pub fn real(&self) -> &RealCluster {
        match self {
            Self::Fake(_) => panic!("this test needs a real cluster: run it by scripts/e2e"),
            Self::Real(real) => real,
        }
    }

    /// The token in the programs' kubeconfig.
    pub fn token(&self) -> &str {
        match self {
            Self::Fake(fake) => fake.token(),
            Self::Real(real) => real.token(),
        }
    }

    /// The address, without a port, that servers of the test listen on so that containers reach them.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Fake(_) => "127.0.0.1",
            Self::Real(real) => real.address(),
        }
    }

    /// The pods of the test's namespace, as they are now.
    pub async fn pods(&self) -> Vec<Value> {
        match self {
            Self::Fake(fake) => fake.pods(),
            Self::Real(real) => real.pods().await.0,
        }
    }

    /// The Secrets of the test's namespace, as they are now.
    pub async fn secrets(&self) -> Vec<Value> {
        match self {
            Self::Fake(fake) => fake.objects("secrets"),
            Self::Real(real) => real.secrets().await,
        }
    }

    /// Waits until the pods satisfy `condition`; returns them. There is no deadline: wrap it.
    pub async fn wait_for_pods(&self, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        match self {
            Self::Fake(fake) => fake.wait_for_pods(condition).await,
            Self::Real(real) => real.wait_for_pods(condition).await,
        }
    }

    /// The name of the one pod that is not on its way out.
    pub async fn only_pod(&self) -> String {
        let pods = self.pods().await;
        let mut staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        match (staying.next(), staying.next()) {
            (Some(pod), None) => pod["metadata"]["name"].as_str().expect("a pod has a name").to_owned(),
            _ => panic!("not one pod: {pods:#?}"),
        }
    }

    /// Somebody else deletes the pod, with its own grace.
    pub async fn delete_pod(&self, name: &str) {
        match self {
            Self::Fake(fake) => assert!(fake.delete(self.namespace(), name), "there is no pod {name}"),
            Self::Real(real) => real.delete_pod(name).await,
        }
    }

    /// Every request of the programs so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Request> {
        match self {
            Self::Fake(fake) => fake.requests(),
            Self::Real(real) => audit::requests(&real.account()),
        }
    }

    pub(crate) fn write_kubeconfig(&self, path: &std::path::Path) {
        match self {
            Self::Fake(fake) => fake.write_kubeconfig(path).expect("the kubeconfig can be written"),
            Self::Real(real) => real.write_kubeconfig(path),
        }
    }

    /// For a report: what was asked of the cluster last, and what is in it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Fake(fake) => {
                let requests = fake.requests();
                let last = requests.iter().rev().take(40).rev();
                let requests = last.map(|r| format!("kube: {} {} {} {}\n", r.status, r.method, r.path, r.query));
                requests.chain(fake.pods().iter().map(|pod| format!("pod: {pod}\n"))).collect()
            }
            Self::Real(real) => real.describe(),
        }
    }
}

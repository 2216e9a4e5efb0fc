//! The node: scheduler and kubelet. Every pod has a task of its own ([`worker`]); this module hands
//! each of them what changed about its pod.

mod atomic;
mod container;
mod ended;
mod expand;
mod images;
mod launch;
mod log_file;
pub(crate) mod log_reader;
#[cfg(test)]
mod log_tests;
mod orders;
mod pod_status;
mod probe;
mod process;
pub(crate) mod reap;
mod rewrite;
mod scheduler;
mod sources;
mod start;
mod stop;
mod volumes;
mod worker;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::log_file::LogFile;
use self::process::Live;
use self::worker::Worker;
use crate::cluster::Cluster;
use crate::json::text;
use crate::resource::{CONFIGMAPS, PODS, SECRETS};
use crate::store::{Change, Verb};

/// Something done to a pod from outside of the API.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// The kubelet evicts the pod with this message.
    Evict(String),
    /// The kernel kills this container (the first one if empty) for want of memory.
    OomKill(String),
    /// This container (the first one if empty) is killed by a signal, with no reason given.
    Kill(String, i32),
    /// The log of this container (the first one if empty) is rotated.
    RotateLog(String),
    /// The node is gone: its processes end, nobody reports it.
    LoseNode,
}

/// What a worker is told of its pod.
#[derive(Debug, Clone)]
pub(crate) struct PodView {
    pub(crate) pod: Arc<Value>,
    /// The object is gone.
    pub(crate) gone: bool,
}

#[derive(Debug)]
struct Handle {
    namespace: String,
    name: String,
    view: watch::Sender<PodView>,
    orders: mpsc::UnboundedSender<Order>,
}

/// The node's state.
#[derive(Debug)]
pub(crate) struct Kubelet {
    /// Pods' folders live here.
    root: PathBuf,
    live: Arc<Live>,
    workers: Mutex<HashMap<String, Handle>>,
    /// Logs by container id.
    logs: Mutex<HashMap<String, Arc<LogFile>>>,
    /// Wakes workers that wait for a secret or config map.
    config_changed: watch::Sender<()>,
}

impl Kubelet {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            live: Arc::default(),
            workers: Mutex::default(),
            logs: Mutex::default(),
            config_changed: watch::Sender::new(()),
        }
    }

    /// Follows the store for as long as the server lives.
    pub(crate) async fn run(cluster: Arc<Cluster>) {
        let mut versions = cluster.store.subscribe();
        let mut seen = 0;
        loop {
            match cluster.store.since(seen) {
                Ok(changes) => {
                    for change in changes {
                        seen = change.version;
                        cluster.kubelet.dispatch(&cluster, &change);
                    }
                }
                // The history was compacted under our feet: the present state is what counts.
                Err(_) => seen = cluster.kubelet.resync(&cluster),
            }
            if versions.changed().await.is_err() {
                return;
            }
        }
    }

    fn dispatch(&self, cluster: &Arc<Cluster>, change: &Change) {
        let resource = change.key.resource;
        if resource == &SECRETS || resource == &CONFIGMAPS {
            self.config_changed.send_replace(());
        }
        if resource != &PODS {
            return;
        }
        let view = PodView { pod: Arc::clone(&change.object), gone: change.verb == Verb::Deleted };
        let uid = text(&change.object, "/metadata/uid").to_owned();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = workers.get(&uid) {
            handle.view.send_replace(view);
            if change.verb == Verb::Deleted {
                workers.remove(&uid);
            }
        } else if change.verb != Verb::Deleted {
            let (sender, receiver) = watch::channel(view);
            let (orders, inbox) = mpsc::unbounded_channel();
            let folder = self.root.join("p").join(&uid[..8]);
            let worker = Worker::new(Arc::clone(cluster), change.key.clone(), folder, receiver);
            tokio::spawn(worker.run(inbox));
            let handle =
                Handle { namespace: change.key.namespace.clone(), name: change.key.name.clone(), view: sender, orders };
            workers.insert(uid, handle);
        }
    }

    /// Tells every worker the present state of its pod; returns the version of that state.
    fn resync(&self, cluster: &Arc<Cluster>) -> u64 {
        let (pods, version) = cluster.store.list(&PODS, None);
        let present: HashSet<&str> = pods.iter().map(|(_, pod)| text(pod, "/metadata/uid")).collect();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, handle| {
            let is_there = present.contains(uid.as_str());
            if !is_there {
                handle.view.send_modify(|view| view.gone = true);
            }
            is_there
        });
        for (key, object) in pods.iter().cloned() {
            let change = Change { version, verb: Verb::Modified, key, object, before: None };
            self.dispatch(cluster, &change);
        }
        self.config_changed.send_replace(());
        version
    }

    /// Gives an order to a pod's worker; `false` if there is no such pod.
    pub(crate) fn order(&self, namespace: &str, name: &str, order: Order) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers
            .values()
            .find(|handle| handle.namespace == namespace && handle.name == name)
            .is_some_and(|handle| handle.orders.send(order).is_ok())
    }

    /// The log of the container with this id, without `containerd://`.
    pub(crate) fn log(&self, id: &str) -> Option<Arc<LogFile>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn keep_log(&self, id: &str, log: &Arc<LogFile>) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.insert(id.to_owned(), Arc::clone(log));
    }

    /// Forgets the logs below a pod's folder, which is about to go.
    fn drop_logs(&self, folder: &std::path::Path) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|_, log| !log.path().starts_with(folder));
    }

    /// Kills all containers and whatever still works in their folders. Nothing starts afterwards.
    pub(crate) fn stop(&self) {
        self.live.stop();
        reap::kill_orphans(&self.root);
    }
}

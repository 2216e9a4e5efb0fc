//! One watch per namespace for all our pods: every change of a pod reaches the job that waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start};
use kube::{Api, Client, ResourceExt};
use runner_core::control::{LABEL_MANAGED_BY, LABEL_SYSTEM_ID, MANAGED_BY};
use tokio::sync::watch;

use crate::client::{Cluster, ClusterKey};
use crate::retry::ApiError;

/// What is known of a pod.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// Nothing yet.
    Unknown,
    /// It is, or was a moment ago, like this.
    Present(Arc<Pod>),
    /// It was there and is no longer.
    Gone,
}

type Place = (ClusterKey, String, String);

/// The watches of all namespaces in use.
#[derive(Default)]
pub(crate) struct Watches {
    /// By cluster, namespace and owner.
    namespaces: Mutex<HashMap<Place, (Client, Arc<Namespace>)>>,
}

/// The pods of one owner in one namespace.
pub(crate) struct Namespace {
    /// By name. A sender stays as long as its pod exists or somebody looks at it.
    pods: Mutex<HashMap<String, watch::Sender<Seen>>>,
    /// Counts complete lists: each is a moment to look for pods that nobody owns.
    listed: watch::Sender<u64>,
}

/// One job's view of its pod.
pub(crate) struct PodWatch {
    name: String,
    seen: watch::Receiver<Seen>,
    namespace: Arc<Namespace>,
}

impl Watches {
    /// The watch of `namespace`, or of all if it is empty, for pods of `owner`; started at the first call. `on_new` gets a new one.
    pub(crate) fn namespace(
        &self,
        cluster: Cluster,
        namespace: &str,
        owner: &str,
        on_new: impl FnOnce(&Client, &Arc<Namespace>),
    ) -> Arc<Namespace> {
        let Cluster { key, client } = cluster;
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = namespaces.entry((key, namespace.to_owned(), owner.to_owned()));
        let (_, found) = entry.or_insert_with(|| {
            let pods = match namespace {
                "" => Api::all(client.clone()),
                namespace => Api::namespaced(client.clone(), namespace),
            };
            let new = Arc::new(Namespace { pods: Mutex::default(), listed: watch::Sender::new(0) });
            tokio::spawn(run(Arc::clone(&new), pods, namespace.to_owned(), owner.to_owned()));
            on_new(&client, &new);
            (client, new)
        });
        Arc::clone(found)
    }

    /// All namespaces in use.
    pub(crate) fn all(&self) -> Vec<(Client, Arc<Namespace>)> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

async fn run(namespace: Arc<Namespace>, api: Api<Pod>, name: String, owner: String) {
    let config =
        watcher::Config::default().labels(&format!("{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_SYSTEM_ID}={owner}"));
    let mut events = start(api, config).default_backoff().boxed();
    let mut listing = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(pod)) => {
                listing.insert(pod.name_any(), pod.uid());
                namespace.set(pod);
            }
            Ok(Event::InitDone) => {
                namespace.keep_only(&listing);
                namespace.listed.send_modify(|n| *n += 1);
            }
            Ok(Event::Apply(pod)) => namespace.set(pod),
            Ok(Event::Delete(pod)) => namespace.remove(&pod.name_any()),
            Err(err) => tracing::warn!("watching pods in namespace {name}: {}", ApiError::from_watch(err)),
        }
    }
}

impl Namespace {
    /// The view of the pod `name`, whether it exists or not.
    pub(crate) fn pod(self: &Arc<Self>, name: &str) -> PodWatch {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = pods.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(Seen::Unknown));
        PodWatch { name: name.to_owned(), seen: sender.subscribe(), namespace: Arc::clone(self) }
    }

    /// All pods that exist now.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let present = pods.values().filter_map(|sender| match &*sender.borrow() {
            Seen::Present(pod) => Some(Arc::clone(pod)),
            Seen::Unknown | Seen::Gone => None,
        });
        present.collect()
    }

    /// Returns after the next complete list.
    pub(crate) fn lists(&self) -> watch::Receiver<u64> {
        self.listed.subscribe()
    }

    fn set(&self, pod: Pod) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = pods.entry(pod.name_any()).or_insert_with(|| watch::Sender::new(Seen::Unknown));
        sender.send_replace(Seen::Present(Arc::new(pod)));
    }

    fn remove(&self, name: &str) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = pods.get(name) {
            sender.send_replace(Seen::Gone);
            if sender.receiver_count() == 0 {
                pods.remove(name);
            }
        }
    }

    /// After a new list: what was there and is not in it has gone while the watch was away.
    fn keep_only(&self, listing: &HashMap<String, Option<String>>) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.retain(|name, sender| {
            if !listing.contains_key(name) {
                sender.send_if_modified(|seen| {
                    let was_there = matches!(seen, Seen::Present(_));
                    if was_there {
                        *seen = Seen::Gone;
                    }
                    was_there
                });
            }
            listing.contains_key(name) || sender.receiver_count() > 0
        });
    }
}

impl PodWatch {
    /// The pod as it was last seen.
    pub(crate) fn seen(&mut self) -> Seen {
        self.seen.borrow_and_update().clone()
    }

    /// Returns when there is something new to see.
    pub(crate) async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            // The sender lives as long as this receiver; without it there is nothing to come.
            std::future::pending::<()>().await;
        }
    }
}

impl Clone for PodWatch {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), seen: self.seen.clone(), namespace: Arc::clone(&self.namespace) }
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        let mut pods = self.namespace.pods.lock().unwrap_or_else(PoisonError::into_inner);
        // This receiver is still counted.
        if pods
            .get(&self.name)
            .is_some_and(|sender| sender.receiver_count() <= 1 && !matches!(*sender.borrow(), Seen::Present(_)))
        {
            pods.remove(&self.name);
        }
    }
}

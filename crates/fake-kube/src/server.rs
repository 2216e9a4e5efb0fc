//! A running server: starting it, asking it, stopping it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::ListenerExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::faults::Faults;
use crate::guard::Guard;
use crate::kubelet::{Kubelet, Order, reap};
use crate::record::Request;
use crate::resource::{PODS, by_plural};
use crate::{gc, kubeconfig, routes};

/// A running server. Dropping it kills all containers and removes their folders.
pub struct FakeKube {
    cluster: Arc<Cluster>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    /// Dropping it stops the server.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Acts if this process is killed; its drop calls it off.
    _guard: Guard,
    /// Removed when nothing runs in it any more.
    folder: TempDir,
}

impl FakeKube {
    /// Starts a server with default settings.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Serves on a thread of its own. The kubeconfig lies in `folder`, beside the pods.
    pub(crate) fn launch(cluster: Arc<Cluster>, listener: TcpListener, folder: TempDir) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(Error::Thread)?;
        let kubeconfig = folder.path().join("kubeconfig");
        kubeconfig::write(&kubeconfig, &format!("http://{address}"), &cluster.token)?;
        let guard = Guard::start(folder.path(), reap::MARK).map_err(Error::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&cluster);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fake-kube")
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let serve = move || {
            runtime.block_on(serve(served, listener, stopped));
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("fake-kube".to_owned()).spawn(serve).map_err(Error::Thread)?;
        Ok(Self { cluster, address, kubeconfig, stop: Some(stop), thread: Some(thread), _guard: guard, folder })
    }

    /// Settings to start with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.cluster.token
    }

    /// A kubeconfig for this server; it goes with the server.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder below which all pods' folders are.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a kubeconfig elsewhere, with mode 0600.
    pub fn write_kubeconfig(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        kubeconfig::write(path.as_ref(), &self.url(), self.token())
    }

    /// All pods of all namespaces, as they are now.
    pub fn pods(&self) -> Vec<Value> {
        self.objects("pods")
    }

    /// All objects of a kind (`secrets`, `events`, …), as they are now; empty for an unknown kind.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let Some(resource) = by_plural(plural) else {
            return Vec::new();
        };
        let (objects, _) = self.cluster.store.list(resource, None);
        objects.into_iter().map(|(_, object)| Value::clone(&object)).collect()
    }

    /// Waits until the pods satisfy `condition`; returns them. There is no deadline: wrap it.
    pub async fn wait_for_pods(&self, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut versions = self.cluster.store.subscribe();
        loop {
            let pods = self.pods();
            // The sender lives in `self.cluster`, so the wait cannot fail.
            if condition(&pods) || versions.changed().await.is_err() {
                return pods;
            }
        }
    }

    /// Every request so far, but for those to `/-/fake/`.
    pub fn requests(&self) -> Vec<Request> {
        self.cluster.record.all()
    }

    /// What is set to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.cluster.faults
    }

    /// Watches from an older version than now get 410.
    pub fn compact(&self) {
        self.cluster.store.compact();
    }

    /// The kubelet evicts a pod. `false`: there is no such pod.
    pub fn evict(&self, namespace: &str, name: &str, message: &str) -> bool {
        self.order(namespace, name, Order::Evict(message.to_owned()))
    }

    /// A container is killed for want of memory. `false`: there is no such pod.
    pub fn oom_kill(&self, namespace: &str, name: &str, container: &str) -> bool {
        self.order(namespace, name, Order::OomKill(container.to_owned()))
    }

    /// A container's main process gets a signal (9: all of its processes). `false`: there is no such pod.
    pub fn kill(&self, namespace: &str, name: &str, container: &str, signal: i32) -> bool {
        self.order(namespace, name, Order::Kill(container.to_owned(), signal))
    }

    /// A container's log is rotated. `false`: there is no such pod.
    pub fn rotate_log(&self, namespace: &str, name: &str, container: &str) -> bool {
        self.order(namespace, name, Order::RotateLog(container.to_owned()))
    }

    /// The pod's node is gone. `false`: there is no such pod.
    pub fn lose_node(&self, namespace: &str, name: &str) -> bool {
        self.order(namespace, name, Order::LoseNode)
    }

    /// Somebody else deletes the pod, with its own grace. `false`: there is no such pod.
    pub fn delete(&self, namespace: &str, name: &str) -> bool {
        let key = crate::store::Key { resource: &PODS, namespace: namespace.to_owned(), name: name.to_owned() };
        crate::delete::delete(&self.cluster.store, &key, &crate::delete::Deletion::default()).is_ok()
    }

    fn order(&self, namespace: &str, name: &str, order: Order) -> bool {
        self.cluster.kubelet.order(namespace, name, order)
    }
}

/// Without this a line of a log could wait for the acknowledgement of the one before.
fn send_at_once(stream: &mut tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
}

async fn serve(cluster: Arc<Cluster>, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("listen: {error}"),
    };
    tokio::spawn(Kubelet::run(Arc::clone(&cluster)));
    tokio::spawn(gc::run(Arc::clone(&cluster)));
    let router = routes::router(Arc::clone(&cluster));
    // Watches and logs may last for ever: when the server stops, they are dropped with the runtime.
    tokio::select! {
        served = axum::serve(listener.tap_io(send_at_once), router) => {
            if let Err(error) = served {
                tracing::error!("serve: {error}");
            }
        }
        _ = stopped => {}
    }
    cluster.kubelet.stop();
}

impl Drop for FakeKube {
    fn drop(&mut self) {
        // Kills before it waits: a thread that is stuck must not keep containers alive.
        self.cluster.kubelet.stop();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the server's thread panicked");
        }
        if let Err(error) = reap::clear(self.folder.path()) {
            tracing::error!("remove {}: {error}", self.folder.path().display());
        }
    }
}

impl std::fmt::Debug for FakeKube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeKube").field("url", &self.url()).finish_non_exhaustive()
    }
}

//! The garbage collector: what lost its last owner goes, and a namespace that is being deleted
//! takes its contents with it. Driven by changes, never by a clock.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::delete::{self, Deletion};
use crate::json::{list, set_meta, text};
use crate::resource::{NAMESPACES, by_kind};
use crate::store::{Commit, Key, Verb};

/// The finalizer of an object that is deleted in the foreground: it waits for its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// Collects for as long as the server lives.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    let mut versions = cluster.store.subscribe();
    let mut seen = 0;
    loop {
        let changes = cluster.store.since(seen);
        let matters = changes.as_ref().map_or(true, |changes| {
            changes.iter().any(|change| {
                change.verb == Verb::Deleted
                    || change.object["metadata"]["ownerReferences"].is_array()
                    || change.object["metadata"]["deletionTimestamp"].is_string()
            })
        });
        seen = *versions.borrow_and_update();
        if matters {
            collect(&cluster);
        }
        if versions.changed().await.is_err() {
            return;
        }
    }
}

fn collect(cluster: &Cluster) {
    let everything = cluster.store.everything();
    let uid = |object: &Value| text(object, "/metadata/uid").to_owned();
    let alive: HashSet<String> = everything.iter().map(|(_, object)| uid(object)).collect();
    let foreground: HashSet<String> = everything
        .iter()
        .filter(|(_, object)| list(object, "/metadata/finalizers").iter().any(|f| f == FOREGROUND))
        .filter(|(_, object)| is_going(object))
        .map(|(_, object)| uid(object))
        .collect();
    let mut blocked: HashSet<String> = HashSet::new();
    for (key, object) in &everything {
        let owners = list(object, "/metadata/ownerReferences");
        let waited_for = owners.iter().map(|owner| text(owner, "/uid")).filter(|uid| foreground.contains(*uid));
        let waited_for: Vec<_> = waited_for.map(str::to_owned).collect();
        let orphaned = !owners.is_empty()
            && owners.iter().all(|owner| {
                // Of a kind we do not know we cannot say that it is gone.
                by_kind(text(owner, "/apiVersion"), text(owner, "/kind")).is_some()
                    && !alive.contains(text(owner, "/uid"))
            });
        if (orphaned || !waited_for.is_empty()) && !is_going(object) {
            remove(cluster, key);
        }
        blocked.extend(waited_for);
    }
    for (key, object) in &everything {
        if foreground.contains(&uid(object)) && !blocked.contains(&uid(object)) {
            release(cluster, key);
        }
        if key.resource == &NAMESPACES && is_going(object) {
            empty_namespace(cluster, key, &everything);
        }
    }
}

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Deletes in the background; what is gone already is fine.
fn remove(cluster: &Cluster, key: &Key) {
    let _ = delete::delete(&cluster.store, key, &Deletion::default());
}

/// Takes the foreground finalizer off; with the last finalizer the object goes.
fn release(cluster: &Cluster, key: &Key) {
    let released = cluster.store.update(key, Commit::Keep, |object| {
        let mut object = object.clone();
        let left: Vec<_> = list(&object, "/metadata/finalizers").iter().filter(|f| *f != FOREGROUND).cloned().collect();
        set_meta(&mut object, "finalizers", left);
        Ok(object)
    });
    if let Err(error) = released {
        tracing::debug!("release {}: {error:?}", key.name);
    }
}

fn empty_namespace(cluster: &Cluster, key: &Key, everything: &[(Key, Arc<Value>)]) {
    let inside = || everything.iter().filter(|(k, _)| k.namespace == key.name);
    if inside().next().is_none() {
        cluster.store.remove(key, None);
    }
    for (key, object) in inside() {
        if !is_going(object) {
            remove(cluster, key);
        }
    }
}

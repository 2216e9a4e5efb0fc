//! Events: what the scheduler and the kubelet tell people.

use serde_json::{Value, json};

use crate::json::text;
use crate::resource::EVENTS;
use crate::store::{Commit, Key, Store};
use crate::{clock, random};

/// Records one event about a pod; `field` names a container as `spec.containers{name}`.
pub(crate) fn record(store: &Store, pod: &Value, kind: &str, reason: &str, message: &str, field: Option<String>) {
    let (namespace, pod_name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let name = format!("{pod_name}.{}", random::hex::<8>());
    let component = if reason.contains("chedul") { "default-scheduler" } else { "kubelet" };
    let now = clock::now();
    let mut involved = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod_name,
        "uid": text(pod, "/metadata/uid"),
        "resourceVersion": text(pod, "/metadata/resourceVersion"),
    });
    if let Some(field) = field {
        involved["fieldPath"] = field.into();
    }
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": kind, "reason": reason, "message": message,
        "source": {"component": component, "host": crate::cluster::NODE},
        "reportingComponent": component, "reportingInstance": crate::cluster::NODE,
        "firstTimestamp": now, "lastTimestamp": now, "eventTime": null, "count": 1,
    });
    let key = Key { resource: &EVENTS, namespace: namespace.to_owned(), name };
    // The name is random: it cannot be taken.
    if let Err(error) = store.create(key, event, Commit::Keep) {
        tracing::error!("record event {reason}: {error:?}");
    }
}

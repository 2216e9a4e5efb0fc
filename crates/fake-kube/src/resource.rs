//! The kinds of objects this server knows, in one table.

use serde_json::{Value, json};

/// One kind of the core API group.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    /// As in the URL.
    pub(crate) plural: &'static str,
    /// As in `kind`.
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    short: &'static [&'static str],
    /// Field selectors the server accepts besides `metadata.name` and `metadata.namespace`.
    pub(crate) fields: &'static [&'static str],
}

/// Pods.
pub(crate) static PODS: Resource = Resource {
    plural: "pods",
    kind: "Pod",
    namespaced: true,
    short: &["po"],
    fields: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ],
};
/// Secrets.
pub(crate) static SECRETS: Resource =
    Resource { plural: "secrets", kind: "Secret", namespaced: true, short: &[], fields: &["type"] };
/// Config maps.
pub(crate) static CONFIGMAPS: Resource =
    Resource { plural: "configmaps", kind: "ConfigMap", namespaced: true, short: &["cm"], fields: &[] };
/// Service accounts.
pub(crate) static SERVICE_ACCOUNTS: Resource =
    Resource { plural: "serviceaccounts", kind: "ServiceAccount", namespaced: true, short: &["sa"], fields: &[] };
/// Events.
pub(crate) static EVENTS: Resource = Resource {
    plural: "events",
    kind: "Event",
    namespaced: true,
    short: &["ev"],
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
};
/// Namespaces.
pub(crate) static NAMESPACES: Resource =
    Resource { plural: "namespaces", kind: "Namespace", namespaced: false, short: &["ns"], fields: &["status.phase"] };
/// Nodes: there is one.
pub(crate) static NODES: Resource =
    Resource { plural: "nodes", kind: "Node", namespaced: false, short: &["no"], fields: &["spec.unschedulable"] };

static ALL: [&Resource; 7] = [&CONFIGMAPS, &EVENTS, &NAMESPACES, &NODES, &PODS, &SECRETS, &SERVICE_ACCOUNTS];

/// The resource with this name in the URL.
pub(crate) fn by_plural(plural: &str) -> Option<&'static Resource> {
    ALL.into_iter().find(|resource| resource.plural == plural)
}

/// The resource of an owner reference.
pub(crate) fn by_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    ALL.into_iter().find(|resource| api_version == "v1" && resource.kind == kind)
}

/// The answer to `GET /api/v1`.
pub(crate) fn discovery() -> Value {
    let mut resources: Vec<Value> = ALL.iter().map(|resource| resource.describe()).collect();
    for (name, kind, verbs) in [
        ("pods/log", "Pod", &["get"][..]),
        ("pods/status", "Pod", &["get", "patch", "update"]),
        ("pods/eviction", "Eviction", &["create"]),
    ] {
        resources.push(json!({
            "name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs,
        }));
    }
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})
}

impl Resource {
    fn describe(&self) -> Value {
        json!({
            "name": self.plural,
            "singularName": self.kind.to_lowercase(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": self.short,
        })
    }
}

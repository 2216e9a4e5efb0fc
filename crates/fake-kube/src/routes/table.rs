//! Lists as tables, which is what `kubectl get` asks for.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::clock;
use crate::json::{int, list, text};
use crate::resource::{PODS, Resource};

/// The table of these objects.
pub(super) fn of(resource: &'static Resource, objects: &[Arc<Value>], meta: &Value) -> Value {
    let names: &[&str] =
        if resource == &PODS { &["Name", "Ready", "Status", "Restarts", "Age"] } else { &["Name", "Age"] };
    let columns: Vec<_> = names.iter().map(|name| {
        json!({"name": name, "type": "string", "format": if *name == "Name" { "name" } else { "" }, "description": name, "priority": 0})
    }).collect();
    let rows: Vec<_> = objects.iter().map(|object| {
        let name = text(object, "/metadata/name").to_owned();
        let age = age(text(object, "/metadata/creationTimestamp"));
        let cells = if resource == &PODS { pod_cells(object, name, age) } else { vec![name, age] };
        let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
        json!({"cells": cells, "object": partial})
    }).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows})
}

fn pod_cells(pod: &Value, name: String, age: String) -> Vec<String> {
    let statuses = list(pod, "/status/containerStatuses");
    let ready = statuses.iter().filter(|s| s["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|s| int(s, "/restartCount")).sum();
    let total = list(pod, "/spec/containers").len();
    vec![name, format!("{ready}/{total}"), status(pod, statuses), restarts.to_string(), age]
}

fn status(pod: &Value, statuses: &[Value]) -> String {
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return "Terminating".to_owned();
    }
    let of_container = statuses.iter().rev().find_map(|status| {
        let waiting = text(status, "/state/waiting/reason");
        let terminated = text(status, "/state/terminated/reason");
        [waiting, terminated].into_iter().find(|reason| !reason.is_empty())
    });
    let whole = text(pod, "/status/reason");
    let phase = text(pod, "/status/phase");
    if !whole.is_empty() { whole } else { of_container.unwrap_or(phase) }.to_owned()
}

fn age(created: &str) -> String {
    let Some(created) = clock::parse(created) else {
        return "<unknown>".to_owned();
    };
    let seconds = SystemTime::now().duration_since(created).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

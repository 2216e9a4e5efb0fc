//! Lists as tables, which is what `kubectl get` asks for.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::clock;
use crate::json::{int, list, text};
use crate::resource::{EVENTS, PODS, Resource};

/// A column's name, and an object's cell in it.
type Column = (&'static str, fn(&Value) -> String);

/// The columns after the name.
fn columns(resource: &'static Resource) -> Vec<Column> {
    const AGE: Column = ("Age", |object| age(text(object, "/metadata/creationTimestamp")));
    if resource == &PODS {
        return vec![("Ready", ready), ("Status", status), ("Restarts", restarts), AGE];
    }
    if resource == &EVENTS {
        return vec![
            ("Last Seen", |event| age(text(event, "/lastTimestamp"))),
            ("Type", |event| text(event, "/type").to_owned()),
            ("Reason", |event| text(event, "/reason").to_owned()),
            ("Object", |event| {
                format!(
                    "{}/{}",
                    text(event, "/involvedObject/kind").to_lowercase(),
                    text(event, "/involvedObject/name")
                )
            }),
            ("Message", |event| text(event, "/message").to_owned()),
        ];
    }
    vec![AGE]
}

/// The table of these objects.
pub(super) fn of(resource: &'static Resource, objects: &[Arc<Value>], meta: &Value) -> Value {
    let mut columns = columns(resource);
    columns.insert(0, ("Name", |object| text(object, "/metadata/name").to_owned()));
    let definitions: Vec<_> = columns
        .iter()
        .map(|(name, _)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": name, "priority": 0})
        })
        .collect();
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let cells: Vec<_> = columns.iter().map(|(_, cell)| cell(object)).collect();
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
            json!({"cells": cells, "object": partial})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn statuses(pod: &Value) -> &[Value] {
    list(pod, "/status/containerStatuses")
}

fn ready(pod: &Value) -> String {
    let ready = statuses(pod).iter().filter(|s| s["ready"] == true).count();
    format!("{ready}/{}", list(pod, "/spec/containers").len())
}

fn restarts(pod: &Value) -> String {
    let restarts: i64 = statuses(pod).iter().filter_map(|s| int(s, "/restartCount")).sum();
    restarts.to_string()
}

fn status(pod: &Value) -> String {
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return "Terminating".to_owned();
    }
    let of_container = statuses(pod).iter().rev().find_map(|status| {
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

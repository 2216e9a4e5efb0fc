//! Values the server fills into a pod.

use serde_json::{Value, json};

use crate::json::text;

/// Sets `object[key]` if it is not there.
fn default(object: &mut Value, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(Value::is_null) {
        object[key] = value.into();
    }
}

pub(super) fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return; // validation names what is missing
    }
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("priority", json!(0)),
        ("serviceAccountName", json!("default")),
    ] {
        default(spec, key, value);
    }
    let account = spec["serviceAccountName"].clone();
    default(spec, "serviceAccount", account);
    for list in ["containers", "initContainers"] {
        if let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) {
            containers.iter_mut().filter(|c| c.is_object()).for_each(container);
        }
    }
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.iter_mut().filter(|v| v.is_object()).for_each(volume);
    }
    if pod["status"]["phase"].is_null() {
        pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
        pod["metadata"]["generation"] = 1.into();
    }
}

fn container(container: &mut Value) {
    let image = text(container, "/image");
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    let moves = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    default(container, "imagePullPolicy", if moves { "Always" } else { "IfNotPresent" });
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if container[probe].is_object() {
            for (key, value) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                default(&mut container[probe], key, value);
            }
        } else if let Some(fields) = container.as_object_mut() {
            fields.remove(probe);
        }
    }
}

fn volume(volume: &mut Value) {
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume.get(kind).is_some_and(Value::is_object) {
            default(&mut volume[kind], "defaultMode", 0o644);
        }
    }
    let has_source = volume.as_object().is_some_and(|fields| fields.keys().any(|key| key != "name"));
    if !has_source {
        volume["emptyDir"] = json!({});
    }
}

//! The four kinds of patch.

use serde_json::{Map, Value};

use crate::status::ApiError;

/// Media types, in the order the real server names them.
pub(crate) const MEDIA_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

/// Applies `patch` in the form its content type names.
pub(crate) fn apply(media_type: &str, object: &Value, patch: &[u8]) -> Result<Value, ApiError> {
    let parse = |error: serde_json::Error| ApiError::bad_request(format!("error decoding patch: {error}"));
    let mut next = object.clone();
    match media_type {
        "application/merge-patch+json" => {
            let patch: Value = serde_json::from_slice(patch).map_err(parse)?;
            json_patch::merge(&mut next, &patch);
        }
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(patch).map_err(parse)?;
            json_patch::patch(&mut next, &patch).map_err(|error| ApiError::invalid_patch(&error.to_string()))?;
        }
        // Server-side apply without field ownership: what the manifest names is set.
        "application/strategic-merge-patch+json" | "application/apply-patch+yaml" => {
            let patch: Value = serde_json::from_slice(patch).map_err(parse)?;
            merge_strategic(&mut next, &patch, "");
        }
        _ => return Err(ApiError::unsupported_media_type(MEDIA_TYPES)),
    }
    Ok(next)
}

/// The key by which a list of this name is merged; `None`: the list is replaced.
fn merge_key(list: &str) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets" => "name",
        "volumeMounts" => "mountPath",
        "ownerReferences" => "uid",
        "conditions" => "type",
        "ports" => "containerPort",
        "hostAliases" => "ip",
        _ => return None,
    })
}

/// Lists of plain values that are merged as sets.
fn is_set(list: &str) -> bool {
    list == "finalizers"
}

fn merge_strategic(target: &mut Value, patch: &Value, name: &str) {
    match patch {
        Value::Object(fields) => merge_map(target, fields),
        Value::Array(items) => match merge_key(name) {
            Some(key) if !items.iter().any(replaces) => merge_list(target, items, key),
            None if is_set(name) => merge_set(target, items),
            _ => *target = items.iter().filter(|item| !replaces(item)).cloned().collect(),
        },
        plain => *target = plain.clone(),
    }
}

fn directive(value: &Value) -> &str {
    value["$patch"].as_str().unwrap_or_default()
}

fn replaces(item: &Value) -> bool {
    item.is_object() && directive(item) == "replace"
}

fn merge_map(target: &mut Value, fields: &Map<String, Value>) {
    if fields.get("$patch").and_then(Value::as_str) == Some("replace") {
        let mut fields = fields.clone();
        fields.remove("$patch");
        *target = Value::Object(fields);
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in fields {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(Value::Array(items)) = target.get_mut(list) {
                let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
            // $setElementOrder and $retainKeys only refine what the merge below already gives.
        } else if value.is_null() {
            target.remove(key);
        } else {
            merge_strategic(target.entry(key.clone()).or_insert(Value::Null), value, key);
        }
    }
}

fn merge_list(target: &mut Value, items: &[Value], key: &str) {
    let mut merged = target.as_array().cloned().unwrap_or_default();
    for item in items {
        let found = merged.iter().position(|old| old[key] == item[key]);
        match (directive(item), found) {
            ("delete", Some(index)) => drop(merged.remove(index)),
            ("delete", None) => {}
            (_, Some(index)) => merge_strategic(&mut merged[index], item, ""),
            (_, None) => merged.push(item.clone()),
        }
    }
    *target = Value::Array(merged);
}

fn merge_set(target: &mut Value, items: &[Value]) {
    let mut merged = target.as_array().cloned().unwrap_or_default();
    for item in items {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    *target = Value::Array(merged);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_form_of_patch_changes_what_it_names() {
        let object = json!({"metadata": {"name": "p", "labels": {"a": "1", "b": "2"}, "finalizers": ["x/y"],
            "ownerReferences": [{"uid": "1", "name": "n"}]},
            "spec": {"containers": [{"name": "c", "image": "i", "args": ["1"]}, {"name": "d", "image": "i"}]}});
        for (media, patch, pointer, expected) in [
            (
                "merge-patch",
                r#"{"metadata":{"labels":{"a":null,"c":"3"}}}"#,
                "/metadata/labels",
                json!({"b": "2", "c": "3"}),
            ),
            ("merge-patch", r#"{"spec":{"containers":[]}}"#, "/spec/containers", json!([])),
            (
                "json-patch",
                r#"[{"op":"replace","path":"/metadata/labels/a","value":"9"}]"#,
                "/metadata/labels/a",
                json!("9"),
            ),
            (
                "strategic-merge-patch",
                r#"{"spec":{"containers":[{"name":"c","image":"j","args":["2"]}]}}"#,
                "/spec/containers",
                json!([{"name": "c", "image": "j", "args": ["2"]}, {"name": "d", "image": "i"}]),
            ),
            (
                "strategic-merge-patch",
                r#"{"spec":{"containers":[{"name":"d","$patch":"delete"}]}}"#,
                "/spec/containers",
                json!([{"name": "c", "image": "i", "args": ["1"]}]),
            ),
            (
                "strategic-merge-patch",
                r#"{"metadata":{"ownerReferences":[{"uid":"2","name":"m"}]}}"#,
                "/metadata/ownerReferences",
                json!([{"uid": "1", "name": "n"}, {"uid": "2", "name": "m"}]),
            ),
            (
                "strategic-merge-patch",
                r#"{"metadata":{"finalizers":["z/z","x/y"]}}"#,
                "/metadata/finalizers",
                json!(["x/y", "z/z"]),
            ),
            (
                "strategic-merge-patch",
                r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["x/y"]}}"#,
                "/metadata/finalizers",
                json!([]),
            ),
            (
                "strategic-merge-patch",
                r#"{"metadata":{"labels":{"$patch":"replace","z":"1"}}}"#,
                "/metadata/labels",
                json!({"z": "1"}),
            ),
        ] {
            let media = format!("application/{media}+json");
            let next = apply(&media, &object, patch.as_bytes()).unwrap();
            assert_eq!(next.pointer(pointer), Some(&expected), "{media} {patch}");
        }
    }

    #[test]
    fn bad_patches_are_refused_with_the_right_code() {
        for (media, patch, code) in [
            ("application/merge-patch+json", "{", 400),
            ("application/json-patch+json", r#"[{"op":"test","path":"/a","value":1}]"#, 422),
            ("application/json", "{}", 415),
        ] {
            let error = apply(media, &json!({}), patch.as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{media}");
        }
    }
}

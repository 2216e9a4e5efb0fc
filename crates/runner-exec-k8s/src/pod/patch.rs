//! `pod_spec`: patches of the finished specification, in order.
//!
//! Source: GitLab Runner's Kubernetes executor, "pod_spec patches": JSON patch (RFC 6902), merge patch (RFC 7386) or strategic
//! merge patch, as YAML or JSON, behind a feature flag. The strategic one is written out here because the merge of typed
//! objects cannot remove anything.

use k8s_openapi::api::core::v1::PodSpec;
use runner_core::config::Kubernetes;
use runner_core::config::kubernetes::{PatchType, PodSpecPatch};
use runner_core::flags::Flags;
use serde_json::{Map, Value};

use super::{Note, PodInput, Refusal, containers};

/// Whether patches are applied at all.
pub(super) fn are_on(flags: &Flags) -> bool {
    flags.is_on("FF_USE_ADVANCED_POD_SPEC_CONFIGURATION")
}

/// `spec` after all patches of the configuration.
pub(super) fn patched(
    spec: PodSpec,
    input: &PodInput<'_>,
    config: &Kubernetes,
    notes: &mut Vec<Note>,
) -> Result<PodSpec, Refusal> {
    if config.pod_spec.is_empty() || !are_on(input.flags) {
        return Ok(spec);
    }
    let system = |why: String| Refusal::system(format!("pod_spec: {why}"));
    let mut document = serde_json::to_value(spec).map_err(|err| system(err.to_string()))?;
    for patch in &config.pod_spec {
        apply(&mut document, patch, input).map_err(|why| system(format!("patch {:?}: {why}", patch.name)))?;
    }
    let spec: PodSpec = serde_json::from_value(document.clone()).map_err(|err| system(err.to_string()))?;
    let kept = serde_json::to_value(&spec).map_err(|err| system(err.to_string()))?;
    for path in lost(&document, &kept, "") {
        notes.push(Note::Warning(format!("pod_spec: {path} is not a known field of a pod and is left out")));
    }
    for name in [containers::HELPER, containers::BUILD] {
        if !spec.containers.iter().any(|container| container.name == name) {
            return Err(system(format!("after the patches there is no container {name:?}")));
        }
    }
    Ok(spec)
}

fn apply(document: &mut Value, patch: &PodSpecPatch, input: &PodInput<'_>) -> Result<(), String> {
    let text = match (&*patch.patch, &*patch.patch_path) {
        ("", "") => return Err("neither patch nor patch_path is set".to_owned()),
        (text, "") => text,
        ("", path) => input.files.patches.get(path).ok_or_else(|| format!("{path} could not be read"))?,
        _ => return Err("both patch and patch_path are set".to_owned()),
    };
    let wanted: Value = serde_saphyr::from_str(text).map_err(|err| one_line(&err))?;
    match patch.patch_type {
        PatchType::Merge => json_patch::merge(document, &wanted),
        PatchType::Json => {
            let operations: json_patch::Patch = serde_json::from_value(wanted).map_err(|err| one_line(&err))?;
            json_patch::patch(document, &operations).map_err(|err| one_line(&err))?;
        }
        PatchType::Strategic => {
            let wanted = wanted.as_object().ok_or("a strategic patch is a map of fields")?;
            merge(document, wanted)?;
        }
    }
    Ok(())
}

fn one_line(err: &dyn std::fmt::Display) -> String {
    err.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The field by which entries of a list are matched; other lists are replaced as a whole. Names of fields are enough: none of
/// these means two things within a pod's specification.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

/// Merges the fields of `patch` into `target`, which becomes a map: `null` removes, maps merge, lists merge by their key.
fn merge(target: &mut Value, patch: &Map<String, Value>) -> Result<(), String> {
    let mut fields = match target.take() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    match patch.get("$patch").map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => fields.clear(),
        Some(other) => return Err(format!("$patch: {other:?} cannot stand here")),
    }
    for (key, value) in patch.iter().filter(|(key, _)| *key != "$patch" && *key != "$retainKeys") {
        match (key.strip_prefix('$'), value) {
            (Some(directive), _) => match directive.split_once('/') {
                // Only the order of entries would differ, and a pod's lists that merge have none that matters.
                Some(("setElementOrder", _)) => {}
                Some(("deleteFromPrimitiveList", list)) => remove_from(&mut fields, list, value),
                _ => return Err(format!("directive {key} is not known")),
            },
            (None, Value::Null) => drop(fields.remove(key)),
            (None, Value::Object(map)) if is_deletion(map) => drop(fields.remove(key)),
            (None, Value::Object(map)) => merge(fields.entry(key).or_insert(Value::Null), map)?,
            (None, Value::Array(list)) => merge_list(key, fields.entry(key).or_insert(Value::Null), list)?,
            (None, plain) => drop(fields.insert(key.clone(), plain.clone())),
        }
    }
    if let Some(Value::Array(keys)) = patch.get("$retainKeys") {
        fields.retain(|key, _| keys.iter().any(|kept| kept == key));
    }
    *target = Value::Object(fields);
    Ok(())
}

fn merge_list(name: &str, target: &mut Value, patch: &[Value]) -> Result<(), String> {
    let Some(key) = merge_key(name) else {
        *target = Value::Array(patch.to_vec());
        return Ok(());
    };
    let mut entries = match target.take() {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    };
    let mut maps = Vec::new();
    for wanted in patch {
        let map = wanted.as_object().ok_or_else(|| format!("an entry of {name} is not a map"))?;
        // `- $patch: replace` empties the list before the other entries are put in.
        if map.len() == 1 && map.get("$patch").is_some_and(|directive| directive == "replace") {
            entries.clear();
        } else {
            maps.push(map);
        }
    }
    for wanted in maps {
        let id = wanted.get(key).ok_or_else(|| format!("an entry of {name} has no {key}"))?;
        let at = entries.iter().position(|entry| entry.get(key) == Some(id));
        match at {
            Some(at) if is_deletion(wanted) => drop(entries.remove(at)),
            None if is_deletion(wanted) => {}
            Some(at) => merge(&mut entries[at], wanted)?,
            None => {
                let mut new = Value::Null;
                merge(&mut new, wanted)?;
                entries.push(new);
            }
        }
    }
    *target = Value::Array(entries);
    Ok(())
}

fn is_deletion(fields: &Map<String, Value>) -> bool {
    fields.get("$patch").is_some_and(|directive| directive == "delete")
}

fn remove_from(target: &mut Map<String, Value>, list: &str, values: &Value) {
    if let (Some(Value::Array(list)), Value::Array(values)) = (target.get_mut(list), values) {
        list.retain(|value| !values.contains(value));
    }
}

/// Paths of fields that are in `before` and not in `after`.
fn lost(before: &Value, after: &Value, path: &str) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .filter(|(_, value)| !value.is_null())
            .flat_map(|(key, value)| {
                let path = format!("{path}.{key}");
                match after.get(key) {
                    Some(kept) => lost(value, kept, &path),
                    None => vec![path],
                }
            })
            .collect(),
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .zip(after)
            .enumerate()
            .flat_map(|(index, (value, kept))| lost(value, kept, &format!("{path}[{index}]")))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use runner_core::failure::FailureReason;
    use serde_json::json;

    use super::super::tests::Fixture;
    use super::*;

    fn fixture(kind: &str, patch: &str) -> Fixture {
        let config = json!({"pod_spec": [{"name": "mine", "patch_type": kind, "patch": patch}]});
        let mut fixture = Fixture::new(json!({}), config);
        fixture.features = json!({"FF_USE_ADVANCED_POD_SPEC_CONFIGURATION": true});
        fixture
    }

    fn spec(kind: &str, patch: &str) -> Value {
        json!(fixture(kind, patch).plan().pod.spec.unwrap())
    }

    #[test]
    fn each_kind_of_patch_changes_the_specification() {
        for (kind, patch) in [
            ("json", r#"[{"op": "add", "path": "/hostname", "value": "here"}]"#),
            ("json", "- op: add\n  path: /hostname\n  value: here\n"),
            ("merge", "hostname: here"),
            ("strategic", "hostname: here"),
            ("", r#"{"hostname": "here"}"#),
        ] {
            let spec = spec(kind, patch);
            assert_eq!(spec["hostname"], "here", "{kind}");
            assert_eq!(spec["containers"].as_array().unwrap().len(), 2);
        }
    }

    #[test]
    fn a_strategic_patch_merges_entries_by_their_key() {
        let patched = spec(
            "strategic",
            r#"
containers:
  - name: build
    securityContext: {runAsUser: 1010, capabilities: null}
    resources: {limits: {example.com/gpu: "1"}}
    volumeMounts: [{mountPath: /builds, readOnly: true}, {mountPath: /data, name: data}]
    command: [only, this]
  - name: sidecar
    image: x
volumes:
  - name: data
    emptyDir: {}
  - name: repo
    $patch: delete
tolerations: [{operator: Exists}]
restartPolicy: null
"#,
        );
        let containers = patched["containers"].as_array().unwrap();
        let names: Vec<_> = containers.iter().map(|container| container["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["helper", "build", "sidecar"]);
        let build = &containers[1];
        assert_eq!(build["securityContext"], json!({"runAsUser": 1010}));
        assert_eq!(build["resources"], json!({"limits": {"example.com/gpu": "1"}}));
        assert_eq!(build["command"], json!(["only", "this"]));
        let mounts = build["volumeMounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1], json!({"name": "repo", "mountPath": "/builds", "readOnly": true}));
        let volumes: Vec<_> =
            patched["volumes"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
        assert_eq!(volumes.last(), Some(&"data"));
        assert!(!volumes.contains(&"repo"));
        assert_eq!(patched["restartPolicy"], Value::Null);
    }

    #[test]
    fn directives_of_a_strategic_patch() {
        for (target, patch, expected) in [
            (json!({"a": {"x": 1}}), json!({"a": {"$patch": "replace", "y": 2}}), Ok(json!({"a": {"y": 2}}))),
            (json!({"a": {"x": 1}}), json!({"a": {"$patch": "delete"}}), Ok(json!({}))),
            (
                json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
                json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
                Ok(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
            ),
            (
                json!({"env": [{"name": "a"}]}),
                json!({"env": [{"$patch": "replace"}, {"name": "b"}], "$setElementOrder/env": [{"name": "b"}]}),
                Ok(json!({"env": [{"name": "b"}]})),
            ),
            (json!({"l": [1, 2]}), json!({"$deleteFromPrimitiveList/l": [2]}), Ok(json!({"l": [1]}))),
            (
                json!({"env": [{"name": "a"}]}),
                json!({"env": [{"name": "z", "$patch": "delete"}]}),
                Ok(json!({"env": [{"name": "a"}]})),
            ),
            (json!({}), json!({"$what": 1}), Err("directive $what is not known")),
            (json!({}), json!({"env": [{"value": "x"}]}), Err("an entry of env has no name")),
            (json!({}), json!({"env": ["x"]}), Err("an entry of env is not a map")),
        ] {
            let mut target = target;
            let result = merge(&mut target, patch.as_object().unwrap());
            assert_eq!(result.map(|()| target), expected.map_err(str::to_owned), "{patch}");
        }
    }

    #[test]
    fn patches_come_in_order_and_only_with_the_flag() {
        let config = json!({"pod_spec": [
            {"patch": "hostname: first"},
            {"patch_path": "/etc/patch.yaml"},
            {"patch_type": "json", "patch": r#"[{"op": "test", "path": "/hostname", "value": "second"}]"#},
        ]});
        for (flag, hostname, paths) in [(false, Value::Null, &[][..]), (true, json!("second"), &["/etc/patch.yaml"])] {
            let mut fixture = Fixture::new(json!({}), config.clone());
            fixture.features = json!({"FF_USE_ADVANCED_POD_SPEC_CONFIGURATION": flag});
            fixture.files.patches.insert("/etc/patch.yaml".to_owned(), "hostname: second".to_owned());
            assert_eq!(super::super::patch_paths(&fixture.runner(), &fixture.flags()), paths);
            assert_eq!(json!(fixture.plan().pod.spec)["hostname"], hostname);
        }
    }

    #[test]
    fn a_patch_that_cannot_be_applied_is_refused() {
        for (kind, patch, message) in [
            ("", "", "neither patch nor patch_path is set"),
            ("json", r#"[{"op": "remove", "path": "/nothing"}]"#, "patch \"mine\": "),
            ("json", "hostname: x", "patch \"mine\": "),
            ("strategic", "- x", "a strategic patch is a map"),
            ("strategic", "a: [", "patch \"mine\": "),
            ("merge", "containers: []", "there is no container \"helper\""),
            ("merge", "containers: 3", "pod_spec: "),
        ] {
            let refusal = fixture(kind, patch).try_plan().unwrap_err();
            assert!(refusal.message.contains(message) && !refusal.message.contains('\n'), "{}", refusal.message);
            assert_eq!(refusal.reason, FailureReason::RunnerSystemFailure);
        }
    }

    #[test]
    fn unknown_fields_are_told() {
        let notes = fixture("merge", "{hostname: x, futureField: 1, dnsConfig: {no: 2}}").plan().notes;
        let told: Vec<_> = notes.iter().filter(|line| line.contains("is not a known field")).collect();
        assert_eq!(told.len(), 2);
        assert!(
            told.iter().any(|line| line.contains(".dnsConfig.no"))
                && told.iter().any(|line| line.contains(".futureField"))
        );
    }
}

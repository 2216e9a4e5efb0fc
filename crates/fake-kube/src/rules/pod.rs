//! Rules of a pod's spec.

use std::collections::HashSet;

use serde_json::Value;

use super::syntax;
use crate::cause::Cause;
use crate::json::{int, list, text};

/// The volume sources this node knows how to make.
const SOURCES: &[&str] = &["emptyDir", "secret", "configMap", "downwardAPI", "projected", "hostPath"];

/// Everything that is wrong with the spec.
pub(super) fn check(pod: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &pod["spec"];
    if list(spec, "/containers").is_empty() {
        causes.push(Cause::required("spec.containers", ""));
    }
    let policy = text(spec, "/restartPolicy");
    let policies = &["Always", "OnFailure", "Never"];
    if !policies.contains(&policy) {
        causes.push(Cause::unsupported("spec.restartPolicy", policy, policies));
    }
    for (field, least) in [("activeDeadlineSeconds", 1), ("terminationGracePeriodSeconds", 0)] {
        let value = int(spec, &format!("/{field}"));
        if let Some(value) = value
            && value < least
        {
            let why = if least == 1 {
                "must be between 1 and 2147483647, inclusive"
            } else {
                "must be greater than or equal to 0"
            };
            causes.push(Cause::invalid(format!("spec.{field}"), value, why));
        }
    }
    let volumes = check_volumes(spec, &mut causes);
    let mut names = HashSet::new();
    for kind in ["initContainers", "containers"] {
        for (index, container) in list(spec, &format!("/{kind}")).iter().enumerate() {
            let field = format!("spec.{kind}[{index}]");
            check_container(container, &field, &volumes, &mut causes);
            let name = text(container, "/name");
            if !name.is_empty() && !names.insert(name) {
                causes.push(Cause::duplicate(format!("{field}.name"), name));
            }
        }
    }
    causes
}

fn check_name(value: &str, field: String, causes: &mut Vec<Cause>) {
    if value.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if let Err(why) = syntax::dns_label(value) {
        causes.push(Cause::invalid(field, value, &why));
    }
}

fn check_volumes<'a>(spec: &'a Value, causes: &mut Vec<Cause>) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let name = text(volume, "/name");
        check_name(name, format!("{field}.name"), causes);
        if !names.insert(name) {
            causes.push(Cause::duplicate(format!("{field}.name"), name));
        }
        let sources: Vec<_> = volume.as_object().into_iter().flatten().filter(|(key, _)| *key != "name").collect();
        if sources.len() > 1 {
            let more = format!("{field}.{}", sources[1].0);
            causes.push(Cause::forbidden(more, "may not specify more than 1 volume type"));
        }
        for (kind, source) in sources {
            let field = format!("{field}.{kind}");
            check_source(kind, source, &field, causes);
        }
    }
    names
}

fn check_source(kind: &str, source: &Value, field: &str, causes: &mut Vec<Cause>) {
    if !SOURCES.contains(&kind) {
        causes.push(Cause::forbidden(field, "the fake node cannot mount volumes of this type"));
    }
    let required = match kind {
        "secret" => "secretName",
        "configMap" => "name",
        "hostPath" => "path",
        _ => "",
    };
    if !required.is_empty() && text(source, &format!("/{required}")).is_empty() {
        causes.push(Cause::required(format!("{field}.{required}"), ""));
    }
    let mode = int(source, "/defaultMode").unwrap_or(0);
    if !(0..=0o777).contains(&mode) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        causes.push(Cause::invalid(format!("{field}.defaultMode"), mode, why));
    }
    for (index, item) in list(source, "/items").iter().enumerate() {
        let (path, field) = (text(item, "/path"), format!("{field}.items[{index}].path"));
        if path.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if path.starts_with('/') {
            causes.push(Cause::invalid(field, path, "must be a relative path"));
        } else if path.split('/').any(|part| part == "..") {
            causes.push(Cause::invalid(field, path, "must not contain '..'"));
        } else if path.starts_with("..") {
            causes.push(Cause::invalid(field, path, "must not start with '..'"));
        }
    }
    for (index, inner) in list(source, "/sources").iter().enumerate() {
        for (kind, source) in inner.as_object().into_iter().flatten() {
            for (at, item) in list(source, "/items").iter().enumerate() {
                if text(item, "/path").is_empty() {
                    let field = format!("{field}.sources[{index}].{kind}.items[{at}].path");
                    causes.push(Cause::required(field, ""));
                }
            }
        }
    }
}

fn check_container(container: &Value, field: &str, volumes: &HashSet<&str>, causes: &mut Vec<Cause>) {
    check_name(text(container, "/name"), format!("{field}.name"), causes);
    let image = text(container, "/image");
    if image.is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{field}.image"), image, why));
    }
    for (key, allowed) in [
        ("imagePullPolicy", &["Always", "IfNotPresent", "Never"][..]),
        ("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
    ] {
        let value = text(container, &format!("/{key}"));
        if !value.is_empty() && !allowed.contains(&value) {
            causes.push(Cause::unsupported(format!("{field}.{key}"), value, allowed));
        }
    }
    for (index, variable) in list(container, "/env").iter().enumerate() {
        check_env(variable, &format!("{field}.env[{index}]"), causes);
    }
    let mut paths = HashSet::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let (name, path) = (text(mount, "/name"), text(mount, "/mountPath"));
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !volumes.contains(name) {
            causes.push(Cause::not_found(format!("{field}.name"), name));
        }
        if path.is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        } else if !paths.insert(path) {
            causes.push(Cause::invalid(format!("{field}.mountPath"), path, "must be unique"));
        }
        let sub_path = text(mount, "/subPath");
        if sub_path.starts_with('/') {
            causes.push(Cause::invalid(format!("{field}.subPath"), sub_path, "must be a relative path"));
        } else if sub_path.split('/').any(|part| part == "..") {
            causes.push(Cause::invalid(format!("{field}.subPath"), sub_path, "must not contain '..'"));
        }
    }
}

fn check_env(variable: &Value, field: &str, causes: &mut Vec<Cause>) {
    let name = text(variable, "/name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    } else if let Err(why) = syntax::env_name(name) {
        causes.push(Cause::invalid(format!("{field}.name"), name, &why));
    }
    let Some(source) = variable.get("valueFrom").filter(|source| !source.is_null()) else {
        return;
    };
    let field = format!("{field}.valueFrom");
    if !text(variable, "/value").is_empty() {
        causes.push(Cause::invalid(&field, "", "may not be specified when `value` is not empty"));
    }
    let kinds = source.as_object().map_or(0, serde_json::Map::len);
    if kinds != 1 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        causes.push(Cause::invalid(&field, "", why));
    }
    for kind in ["secretKeyRef", "configMapKeyRef"] {
        if let Some(reference) = source.get(kind) {
            for part in ["name", "key"] {
                if text(reference, &format!("/{part}")).is_empty() {
                    causes.push(Cause::required(format!("{field}.{kind}.{part}"), ""));
                }
            }
        }
    }
    if let Some(reference) = source.get("fieldRef") {
        let path = text(reference, "/fieldPath");
        if path.is_empty() {
            causes.push(Cause::required(format!("{field}.fieldRef.fieldPath"), ""));
        }
    }
}

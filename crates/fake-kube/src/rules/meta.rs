//! Rules of `metadata`, the same for every kind.

use serde_json::Value;

use super::syntax::{self, Verdict};
use crate::cause::Cause;
use crate::json::{flag, list, pairs, text};
use crate::resource::{NAMESPACES, Resource};

/// All annotations of one object together may be this large, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

pub(super) fn check(resource: &'static Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut judge = |field: &str, value: &str, verdict: Verdict| {
        if let Err(why) = verdict {
            causes.push(Cause::invalid(field, value, &why));
        }
    };
    let name = text(object, "/metadata/name");
    if !name.is_empty() && !super::has_free_name(resource) {
        let verdict = if resource == &NAMESPACES { syntax::dns_label(name) } else { syntax::dns_subdomain(name) };
        judge("metadata.name", name, verdict);
    }
    for (key, value) in pairs(object, "/metadata/labels") {
        judge("metadata.labels", key, syntax::qualified_name(key));
        judge("metadata.labels", value, syntax::label_value(value));
    }
    let annotations = pairs(object, "/metadata/annotations");
    for (key, _) in &annotations {
        judge("metadata.annotations", key, syntax::qualified_name(&key.to_lowercase()));
    }
    for finalizer in list(object, "/metadata/finalizers").iter().filter_map(Value::as_str) {
        judge("metadata.finalizers", finalizer, syntax::qualified_name(finalizer));
    }
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    }
    if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATIONS {
        causes.push(Cause::too_long("metadata.annotations", MAX_ANNOTATIONS));
    }
    causes.extend(check_owners(object));
    causes
}

fn check_owners(object: &Value) -> Vec<Cause> {
    let owners = list(object, "/metadata/ownerReferences");
    let mut causes = Vec::new();
    for (index, owner) in owners.iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{field}")).is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{field}");
                causes.push(Cause::required(field, "must not be empty"));
            }
        }
    }
    if owners.iter().filter(|owner| flag(owner, "/controller")).count() > 1 {
        let why = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", owners.to_vec(), why));
    }
    causes
}

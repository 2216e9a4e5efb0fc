//! What of a pod's spec may change after its creation.

use serde_json::Value;

use crate::cause::Cause;
use crate::json::{int, list};

const WHY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Everything that changed and must not.
pub(super) fn check(old: &Value, next: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (was, is) = (int(old, "/spec/activeDeadlineSeconds"), int(next, "/spec/activeDeadlineSeconds"));
    match (was, is) {
        (Some(was), Some(is)) if is > was => {
            let why = "must be less than or equal to previous value";
            causes.push(Cause::invalid("spec.activeDeadlineSeconds", is, why));
        }
        (Some(_), None) => {
            let why = "must not update from a positive integer to nil value";
            causes.push(Cause::invalid("spec.activeDeadlineSeconds", Value::Null, why));
        }
        _ => {}
    }
    let kept = list(old, "/spec/tolerations");
    let now = list(next, "/spec/tolerations");
    if !kept.iter().all(|toleration| now.contains(toleration)) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", why));
    }
    for kind in ["containers", "initContainers"] {
        let field = format!("/spec/{kind}");
        if list(old, &field).len() != list(next, &field).len() {
            let why = "pod updates may not add or remove containers";
            return vec![Cause::forbidden(format!("spec.{kind}"), why)];
        }
    }
    if fixed_part(old) != fixed_part(next) {
        causes.push(Cause::forbidden("spec", WHY));
    }
    causes
}

/// The spec without the fields that may change.
fn fixed_part(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("activeDeadlineSeconds");
        fields.remove("tolerations");
        // Set by the scheduler; a client can only repeat it.
        fields.remove("nodeName");
    }
    for kind in ["containers", "initContainers"] {
        for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(fields) = container.as_object_mut() {
                fields.remove("image");
            }
        }
    }
    spec
}

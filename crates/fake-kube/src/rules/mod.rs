//! What the real server fills in and what it refuses.

mod defaults;
mod meta;
mod pod;
mod pod_update;
mod secret;
mod syntax;

use serde_json::Value;

use crate::cause::Cause;
use crate::json::{int, set_meta, text, unset_meta};
use crate::random;
use crate::resource::{CONFIGMAPS, EVENTS, PODS, Resource, SECRETS};
use crate::status::ApiError;

/// Completes and checks an object that is about to be created.
pub(crate) fn admit(resource: &'static Resource, mut object: Value) -> Result<Value, ApiError> {
    object["apiVersion"] = "v1".into();
    object["kind"] = resource.kind.into();
    if text(&object, "/metadata/name").is_empty() && !text(&object, "/metadata/generateName").is_empty() {
        let prefix: String = text(&object, "/metadata/generateName").chars().take(58).collect();
        set_meta(&mut object, "name", format!("{prefix}{}", random::suffix()));
    }
    unset_meta(&mut object, "resourceVersion");
    if resource == &PODS {
        // A new pod's status is the server's own, whatever the client says.
        object["status"] = Value::Null;
        defaults::pod(&mut object);
    }
    secret::complete(resource, &mut object);
    let mut causes = meta::check(resource, &object);
    if resource == &PODS {
        causes.extend(pod::check(&object));
    }
    causes.extend(secret::check(resource, &object));
    refuse(resource, &object, &causes)?;
    Ok(object)
}

/// Completes and checks the next state of an object; `old` gives what a client cannot change.
pub(crate) fn admit_change(resource: &'static Resource, old: &Value, mut next: Value) -> Result<Value, ApiError> {
    let name = text(old, "/metadata/name");
    let version = text(&next, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
        return Err(ApiError::modified(resource, name));
    }
    let (uid, is) = (text(&next, "/metadata/uid"), text(old, "/metadata/uid"));
    if !uid.is_empty() && uid != is {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {is}");
        return Err(ApiError::conflict(resource, name, &why));
    }
    let mut causes = Vec::new();
    for fixed in ["name", "namespace"] {
        if next["metadata"][fixed] != old["metadata"][fixed] {
            let value = next["metadata"][fixed].clone();
            causes.push(Cause::invalid(format!("metadata.{fixed}"), value, "field is immutable"));
        }
    }
    for kept in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
        "generateName",
        "selfLink",
    ] {
        match old["metadata"].get(kept) {
            Some(value) => set_meta(&mut next, kept, value.clone()),
            None => unset_meta(&mut next, kept),
        }
    }
    next["apiVersion"] = old["apiVersion"].clone();
    next["kind"] = old["kind"].clone();
    if let Some(status) = old.get("status") {
        next["status"] = status.clone();
    } else if let Some(fields) = next.as_object_mut() {
        fields.remove("status");
    }
    secret::complete(resource, &mut next);
    if resource == &PODS {
        defaults::pod(&mut next);
        causes.extend(pod::check(&next));
        causes.extend(pod_update::check(old, &next));
    }
    causes.extend(meta::check(resource, &next));
    causes.extend(secret::check(resource, &next));
    causes.extend(secret::check_change(resource, old, &next));
    refuse(resource, &next, &causes)?;
    if old.get("spec") != next.get("spec") {
        let generation = int(old, "/metadata/generation").unwrap_or(0) + 1;
        set_meta(&mut next, "generation", generation);
    }
    Ok(next)
}

fn refuse(resource: &Resource, object: &Value, causes: &[Cause]) -> Result<(), ApiError> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(resource.kind, text(object, "/metadata/name"), causes))
}

/// Kinds whose data has a size limit.
fn holds_data(resource: &'static Resource) -> bool {
    resource == &SECRETS || resource == &CONFIGMAPS
}

/// Events may carry any name.
fn has_free_name(resource: &'static Resource) -> bool {
    resource == &EVENTS
}

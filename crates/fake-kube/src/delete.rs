//! Deleting one object: grace, preconditions, what becomes of dependents.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::clock;
use crate::gc::FOREGROUND;
use crate::json::{int, list, set_meta, text};
use crate::resource::{NAMESPACES, PODS};
use crate::status::ApiError;
use crate::store::{Commit, Key, Store};

/// `DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    /// `Orphan`, `Background` or `Foreground`; empty means background.
    pub(crate) propagation: String,
    pub(crate) dry_run: bool,
}

/// What a deletion did.
pub(crate) enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Value>),
    /// It is on its way: it has a deletion time now.
    Going(Arc<Value>),
}

/// Deletes an object.
pub(crate) fn delete(store: &Store, key: &Key, deletion: &Deletion) -> Result<Deleted, ApiError> {
    let current = store.get(key);
    let current = current.ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
    check_preconditions(key, &current, deletion)?;
    let grace = grace(key, &current, deletion);
    let finalizers = list(&current, "/metadata/finalizers");
    let foreground = deletion.propagation == "Foreground";
    if deletion.propagation == "Orphan" && !deletion.dry_run {
        orphan_dependents(store, text(&current, "/metadata/uid"))?;
    }
    let at_once = grace == 0 && finalizers.is_empty() && !foreground && key.resource != &NAMESPACES;
    if deletion.dry_run {
        return Ok(if at_once { Deleted::Gone(current) } else { Deleted::Going(current) });
    }
    if at_once {
        let uid = text(&current, "/metadata/uid");
        let last = store.remove(key, Some(uid));
        return last.map(Deleted::Gone).ok_or_else(|| ApiError::not_found(key.resource, &key.name));
    }
    // The fake removes a namespace, and the kubelet a pod, when it is empty; until then it must not be
    // taken for finished, which is what a grace of one stands for.
    let grace = if key.resource == &NAMESPACES { 1 } else { grace };
    let going = store.update(key, Commit::Keep, |object| Ok(mark(object, grace, foreground)))?;
    Ok(Deleted::Going(going))
}

/// The object with its deletion time. A later deletion may shorten the grace, never lengthen it.
fn mark(object: &Value, grace: i64, foreground: bool) -> Value {
    let mut object = object.clone();
    let left = int(&object, "/metadata/deletionGracePeriodSeconds");
    if text(&object, "/metadata/deletionTimestamp").is_empty() || left.is_some_and(|left| grace < left) {
        let at = SystemTime::now() + Duration::from_secs(grace.unsigned_abs());
        set_meta(&mut object, "deletionTimestamp", clock::format(at));
        set_meta(&mut object, "deletionGracePeriodSeconds", grace);
    }
    if foreground {
        let mut finalizers = list(&object, "/metadata/finalizers").to_vec();
        if !finalizers.iter().any(|f| f == FOREGROUND) {
            finalizers.push(FOREGROUND.into());
        }
        set_meta(&mut object, "finalizers", finalizers);
    }
    if object["kind"] == "Namespace" {
        object["status"]["phase"] = "Terminating".into();
    }
    object
}

fn check_preconditions(key: &Key, object: &Value, deletion: &Deletion) -> Result<(), ApiError> {
    for (name, field, wanted) in
        [("UID", "/metadata/uid", &deletion.uid), ("ResourceVersion", "/metadata/resourceVersion", &deletion.version)]
    {
        let is = text(object, field);
        if let Some(wanted) = wanted
            && wanted != is
        {
            let why = format!("Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {is}");
            return Err(ApiError::conflict(key.resource, &key.name, &why));
        }
    }
    Ok(())
}

/// Only pods have a grace, and only those that a kubelet may still be running.
fn grace(key: &Key, object: &Value, deletion: &Deletion) -> i64 {
    let runs =
        !text(object, "/spec/nodeName").is_empty() && !matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    if key.resource != &PODS || !runs {
        return 0;
    }
    let own = int(object, "/spec/terminationGracePeriodSeconds");
    deletion.grace_seconds.or(own).unwrap_or(30).max(0)
}

fn orphan_dependents(store: &Store, uid: &str) -> Result<(), ApiError> {
    let owned =
        |object: &Value| list(object, "/metadata/ownerReferences").iter().any(|owner| text(owner, "/uid") == uid);
    for (key, _) in store.everything().into_iter().filter(|(_, object)| owned(object)) {
        store.update(&key, Commit::Keep, |object| {
            let mut object = object.clone();
            let owners = list(&object, "/metadata/ownerReferences").iter();
            let left: Vec<_> = owners.filter(|owner| text(owner, "/uid") != uid).cloned().collect();
            set_meta(&mut object, "ownerReferences", left);
            Ok(object)
        })?;
    }
    Ok(())
}

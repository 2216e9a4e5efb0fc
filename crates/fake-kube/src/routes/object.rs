//! One object: get, replace, patch, delete, and its subresources.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Call, Shared, delete_options, json, log, table};
use crate::cluster::{Cluster, cluster_key};
use crate::delete::{self, Deleted};
use crate::json::{set_meta, text};
use crate::patch;
use crate::resource::{NAMESPACES, PODS, by_plural};
use crate::rules;
use crate::status::ApiError;
use crate::store::{Commit, Key};

pub(super) async fn cluster_wide(
    State(cluster): Shared,
    Path((resource, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let resource = by_plural(&resource).filter(|r| !r.namespaced).ok_or_else(ApiError::no_such_path)?;
    if resource == &NAMESPACES && request.method() == Method::GET {
        cluster.need_namespace(&name)?;
    }
    answer(&cluster, cluster_key(resource, &name), request).await
}

pub(super) async fn in_namespace(
    State(cluster): Shared,
    Path((namespace, resource, name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&cluster, key(namespace, &resource, name)?, request).await
}

fn key(namespace: String, resource: &str, name: String) -> Result<Key, ApiError> {
    let resource = by_plural(resource).filter(|r| r.namespaced).ok_or_else(ApiError::no_such_path)?;
    Ok(Key { resource, namespace, name })
}

pub(super) async fn subresource(
    State(cluster): Shared,
    Path((namespace, resource, name, sub)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = key(namespace, &resource, name)?;
    let method = request.method().clone();
    match (resource.as_str(), sub.as_str(), method) {
        ("pods", "log", Method::GET) => log::answer(&cluster, &key, &Call::from_request(request)),
        ("pods", "status", Method::GET) => get(&cluster, &key, &Call::from_request(request)),
        ("pods", "status", Method::PATCH | Method::PUT) => {
            change(&cluster, key, Part::Status, Call::from_request(request)).await
        }
        ("pods", "eviction", Method::POST) => evict(&cluster, &key, Call::from_request(request)).await,
        ("pods", "log" | "status" | "eviction", _) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_such_path()),
    }
}

async fn answer(cluster: &Arc<Cluster>, key: Key, request: Request) -> Result<Response, ApiError> {
    let call = Call::from_request(request);
    match call.method {
        Method::GET => get(cluster, &key, &call),
        Method::PUT | Method::PATCH => change(cluster, key, Part::Main, call).await,
        Method::DELETE => delete(cluster, &key, call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn get(cluster: &Cluster, key: &Key, call: &Call) -> Result<Response, ApiError> {
    let object = cluster.store.get(key);
    let object = object.ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
    if call.accepts_table() {
        let meta = json!({"resourceVersion": text(&object, "/metadata/resourceVersion")});
        return Ok(json(StatusCode::OK, &table::of(key.resource, &[object], &meta)));
    }
    Ok(json(StatusCode::OK, &object))
}

/// Which half of an object a write is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Main,
    Status,
}

/// PUT and PATCH.
async fn change(cluster: &Cluster, key: Key, part: Part, call: Call) -> Result<Response, ApiError> {
    let commit = call.query.commit()?;
    let media = call.media_type();
    if call.method == Method::PATCH {
        let patch = call.bytes().await?;
        if media == "application/apply-patch+yaml" && cluster.store.get(&key).is_none() {
            return apply_new(cluster, key, &patch, commit);
        }
        let object = cluster.store.update(&key, commit, |old| {
            let mut next = patch::apply(&media, old, &patch)?;
            next["apiVersion"] = old["apiVersion"].clone();
            next["kind"] = old["kind"].clone();
            finish(&key, part, old, next)
        })?;
        return Ok(json(StatusCode::OK, &object));
    }
    let next = call.object(key.resource.kind).await?;
    let name = text(&next, "/metadata/name");
    if name != key.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        )));
    }
    let namespace = text(&next, "/metadata/namespace");
    if !namespace.is_empty() && namespace != key.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let object = cluster.store.update(&key, commit, |old| {
        let mut next = next;
        if key.resource.namespaced {
            set_meta(&mut next, "namespace", key.namespace.as_str());
        }
        finish(&key, part, old, next)
    })?;
    Ok(json(StatusCode::OK, &object))
}

fn finish(key: &Key, part: Part, old: &Value, mut next: Value) -> Result<Value, ApiError> {
    if part == Part::Main {
        return rules::admit_change(key.resource, old, next);
    }
    let version = text(&next, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
        return Err(ApiError::modified(key.resource, &key.name));
    }
    let mut object = old.clone();
    object["status"] = next["status"].take();
    Ok(object)
}

/// Server-side apply of an object that does not exist creates it.
fn apply_new(cluster: &Cluster, key: Key, body: &[u8], commit: Commit) -> Result<Response, ApiError> {
    let object: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    let mut object = rules::admit(key.resource, object)?;
    if key.resource.namespaced {
        cluster.need_namespace(&key.namespace)?;
        set_meta(&mut object, "namespace", key.namespace.as_str());
    }
    Ok(json(StatusCode::CREATED, &*cluster.store.create(key, object, commit)?))
}

async fn delete(cluster: &Cluster, key: &Key, call: Call) -> Result<Response, ApiError> {
    let deletion = delete_options::read(call).await?;
    Ok(match delete::delete(&cluster.store, key, &deletion)? {
        Deleted::Going(object) => json(StatusCode::OK, &object),
        // The last state of a pod, a plain success for everything else: as the real server does.
        Deleted::Gone(object) if key.resource == &PODS => json(StatusCode::OK, &object),
        Deleted::Gone(object) => json(
            StatusCode::OK,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {
                "name": key.name, "kind": key.resource.plural, "uid": text(&object, "/metadata/uid"),
            }}),
        ),
    })
}

/// The eviction API deletes, unless a budget forbids it; there are no budgets here.
async fn evict(cluster: &Cluster, key: &Key, call: Call) -> Result<Response, ApiError> {
    let mut deletion =
        crate::delete::Deletion { dry_run: call.query.commit()? == Commit::DryRun, ..Default::default() };
    let body: Value = serde_json::from_slice(&call.bytes().await?).unwrap_or_default();
    deletion.grace_seconds = crate::json::int(&body, "/deleteOptions/gracePeriodSeconds");
    delete::delete(&cluster.store, key, &deletion)?;
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok((StatusCode::CREATED, axum::Json(success)).into_response())
}

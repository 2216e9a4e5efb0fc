//! Lists, watches, creates and deletes of collections.

use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Call, Shared, delete_options, json, table, watch};
use crate::cluster::Cluster;
use crate::delete;
use crate::json::text;
use crate::resource::{NAMESPACES, PODS, Resource, SERVICE_ACCOUNTS, by_plural};
use crate::rules;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::Key;

pub(super) async fn everywhere(
    State(cluster): Shared,
    Path(resource): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&cluster, &resource, None, request).await
}

pub(super) async fn in_namespace(
    State(cluster): Shared,
    Path((namespace, resource)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&cluster, &resource, Some(&namespace), request).await
}

async fn answer(
    cluster: &std::sync::Arc<Cluster>,
    resource: &str,
    namespace: Option<&str>,
    request: Request,
) -> Result<Response, ApiError> {
    let resource = by_plural(resource).ok_or_else(ApiError::no_such_path)?;
    if namespace.is_some() && !resource.namespaced {
        return Err(ApiError::no_such_path());
    }
    let call = Call::from_request(request);
    let selector = Selector::parse(resource, call.query.get("labelSelector"), call.query.get("fieldSelector"))?;
    match call.method {
        Method::GET if call.query.flag("watch") => watch::answer(cluster, resource, namespace, selector, &call),
        Method::GET => list(cluster, resource, namespace, &selector, &call),
        Method::POST if namespace.is_some() || !resource.namespaced => {
            create(cluster, resource, namespace.unwrap_or_default(), call).await
        }
        Method::DELETE if namespace.is_some() => delete_collection(cluster, resource, namespace, &selector, call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// The objects of a list, without `apiVersion` and `kind`, which the list has for all of them.
fn list(
    cluster: &Cluster,
    resource: &'static Resource,
    namespace: Option<&str>,
    selector: &Selector,
    call: &Call,
) -> Result<Response, ApiError> {
    let limit = call.query.number::<usize>("limit")?.filter(|limit| *limit > 0);
    let after = match call.query.get("continue") {
        "" => None,
        token => Some(read_continue(token)?),
    };
    let (objects, version) = cluster.store.list(resource, namespace);
    let position = |key: &Key| format!("{}/{}", key.namespace, key.name);
    let mut selected: Vec<_> = objects
        .into_iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| position(key) > *after))
        .filter(|(_, object)| selector.matches(object))
        .collect();
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let Some(limit) = limit
        && selected.len() > limit
    {
        meta["remainingItemCount"] = (selected.len() - limit).into();
        selected.truncate(limit);
        let last = selected.last().map(|(key, _)| position(key)).unwrap_or_default();
        meta["continue"] = URL_SAFE_NO_PAD.encode(last).into();
    }
    let objects: Vec<_> = selected.into_iter().map(|(_, object)| object).collect();
    if call.accepts_table() {
        return Ok(json(StatusCode::OK, &table::of(resource, &objects, &meta)));
    }
    let items: Vec<_> = objects.iter().map(|object| without_type(object)).collect();
    let kind = format!("{}List", resource.kind);
    Ok(json(StatusCode::OK, &json!({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items})))
}

fn without_type(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    object
}

/// Where the last page ended. (A real server pages through a snapshot; here later pages show the
/// present state.)
fn read_continue(token: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ApiError::bad_request("continue key is not valid"))
}

async fn create(
    cluster: &Cluster,
    resource: &'static Resource,
    namespace: &str,
    call: Call,
) -> Result<Response, ApiError> {
    let commit = call.query.commit()?;
    let mut object = call.object(resource.kind).await?;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if resource.namespaced {
        let stated = text(&object, "/metadata/namespace");
        if !stated.is_empty() && stated != namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object["metadata"]["namespace"] = namespace.into();
        cluster.need_namespace(namespace)?;
    }
    let object = rules::admit(resource, object)?;
    if resource == &PODS {
        check_account(cluster, namespace, &object)?;
    }
    let key = Key {
        resource,
        namespace: if resource.namespaced { namespace.to_owned() } else { String::new() },
        name: text(&object, "/metadata/name").to_owned(),
    };
    if resource == &NAMESPACES && object["status"].is_null() {
        let mut object = object;
        object["status"] = json!({"phase": "Active"});
        return Ok(json(StatusCode::CREATED, &*cluster.store.create(key, object, commit)?));
    }
    Ok(json(StatusCode::CREATED, &*cluster.store.create(key, object, commit)?))
}

/// A pod's service account must exist; `default` always does.
fn check_account(cluster: &Cluster, namespace: &str, pod: &Value) -> Result<(), ApiError> {
    let account = text(pod, "/spec/serviceAccountName");
    let key = Key { resource: &SERVICE_ACCOUNTS, namespace: namespace.to_owned(), name: account.to_owned() };
    if account == "default" || cluster.store.get(&key).is_some() {
        return Ok(());
    }
    let why = format!("error looking up service account {namespace}/{account}: serviceaccount {account:?} not found");
    Err(ApiError::forbidden(&PODS, text(pod, "/metadata/name"), &why))
}

async fn delete_collection(
    cluster: &Cluster,
    resource: &'static Resource,
    namespace: Option<&str>,
    selector: &Selector,
    call: Call,
) -> Result<Response, ApiError> {
    let deletion = delete_options::read(call).await?;
    let (objects, version) = cluster.store.list(resource, namespace);
    let mut items = Vec::new();
    for (key, object) in objects.into_iter().filter(|(_, object)| selector.matches(object)) {
        // Gone in between is as good as deleted.
        if delete::delete(&cluster.store, &key, &deletion).is_ok() {
            items.push(without_type(&object));
        }
    }
    let kind = format!("{}List", resource.kind);
    let meta = json!({"resourceVersion": version.to_string()});
    Ok(json(StatusCode::OK, &json!({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items})))
}

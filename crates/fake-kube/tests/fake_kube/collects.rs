//! The garbage collector.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PropagationPolicy, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::bed::{Bed, next, pod};

fn secret(name: &str, owners: &Value) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": owners}, "stringData": {"k": "v"}})
}

/// Waits until the secret is deleted, by watching it.
async fn wait_until_deleted(bed: &Bed, name: &str) {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(bed.secrets().watch(&params, "1").await.unwrap());
    while !matches!(next(&mut events).await.unwrap(), WatchEvent::Deleted(_)) {}
}

#[tokio::test]
async fn a_secret_goes_with_its_last_owner() {
    let bed = Bed::new().await;
    let mut owners = Vec::new();
    for name in ["one", "two"] {
        let owner = bed.create(pod(name, "true")).await;
        bed.wait_for_phase(name, "Succeeded").await;
        owners.push(json!(owner.owner_ref(&()).unwrap()));
    }
    bed.create_secret(secret("owned", &json!(owners))).await;
    bed.api().delete("one", &DeleteParams::default()).await.unwrap();
    bed.create_secret(secret("control", &json!([]))).await;
    assert!(bed.secrets().get_opt("owned").await.unwrap().is_some(), "one owner is left");
    bed.api().delete("two", &DeleteParams::default()).await.unwrap();
    wait_until_deleted(&bed, "owned").await;
    assert!(bed.secrets().get_opt("control").await.unwrap().is_some());
}

#[tokio::test]
async fn an_object_born_without_its_owner_is_collected() {
    let bed = Bed::new().await;
    let owner =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "never", "uid": "00000000-0000-4000-8000-000000000000"}]);
    bed.create_secret(secret("stray", &owner)).await;
    wait_until_deleted(&bed, "stray").await;
    let unknown = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "x"}]);
    bed.create_secret(secret("foreign", &unknown)).await;
    bed.create_secret(secret("stray", &owner)).await;
    wait_until_deleted(&bed, "stray").await;
    assert!(bed.secrets().get_opt("foreign").await.unwrap().is_some(), "the owner's kind is not known");
}

#[tokio::test]
async fn dependents_can_be_orphaned() {
    let bed = Bed::new().await;
    let owner = bed.create(pod("parent", "true")).await;
    bed.wait_for_phase("parent", "Succeeded").await;
    bed.create_secret(secret("child", &json!([owner.owner_ref(&()).unwrap()]))).await;
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..Default::default() };
    bed.api().delete("parent", &params).await.unwrap();
    let child = bed.secrets().get("child").await.unwrap();
    assert!(child.owner_references().is_empty());
}

#[tokio::test]
async fn in_the_foreground_the_owner_goes_last() {
    let bed = Bed::new().await;
    let owner = bed.create(pod("parent", "true")).await;
    bed.wait_for_phase("parent", "Succeeded").await;
    bed.create_secret(secret("child", &json!([owner.owner_ref(&()).unwrap()]))).await;
    bed.api().delete("parent", &DeleteParams::foreground()).await.unwrap();
    bed.wait_until_gone("parent").await;
    assert!(bed.secrets().get_opt("child").await.unwrap().is_none());
}

#[tokio::test]
async fn a_namespace_takes_its_contents_with_it() {
    let bed = Bed::new().await;
    bed.create(pod("inside", "sleep 600")).await;
    bed.wait_for_start("inside").await;
    bed.create_secret(secret("inside", &json!([]))).await;
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    let mut events = Box::pin(namespaces.watch(&WatchParams::default().fields("metadata.name=ci"), "1").await.unwrap());
    namespaces.delete("ci", &DeleteParams::default()).await.unwrap();
    while !matches!(next(&mut events).await.unwrap(), WatchEvent::Deleted(_)) {}
    assert!(bed.kube.pods().is_empty());
    assert!(bed.kube.objects("secrets").is_empty());
}

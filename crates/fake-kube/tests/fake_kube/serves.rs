//! The rarer calls.

use std::time::Duration;

use fake_kube::FakeKube;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::bed::{Bed, PATIENCE, client, pod, state};

#[tokio::test]
async fn a_selected_collection_is_deleted() {
    let bed = Bed::new().await;
    for name in ["one", "two", "three"] {
        bed.create_secret(json!({"metadata": {"name": name, "labels": {"n": name}}})).await;
    }
    let selected = ListParams::default().labels("n in (one,three)");
    bed.secrets().delete_collection(&DeleteParams::default(), &selected).await.unwrap();
    let left = bed.secrets().list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.iter().map(|s| s.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["two"]);
}

#[tokio::test]
async fn eviction_through_the_api_deletes_the_pod() {
    let bed = Bed::new().await;
    bed.create(pod("p", "sleep 600")).await;
    bed.wait_for_start("p").await;
    bed.api().evict("p", &EvictParams::default()).await.unwrap();
    bed.wait_until_gone("p").await;
}

#[tokio::test]
async fn a_status_has_an_address_of_its_own() {
    let bed = Bed::with(FakeKube::builder().unschedulable("no node")).await;
    bed.create(pod("p", "true")).await;
    let patch = Patch::Merge(json!({"status": {"message": "set"}, "metadata": {"labels": {"not": "here"}}}));
    let patched = bed.api().patch_status("p", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.status.unwrap().message.as_deref(), Some("set"));
    assert!(!patched.metadata.labels.unwrap().contains_key("not"));
    let patch = Patch::Merge(json!({"status": {"message": "ignored"}}));
    let patched = bed.api().patch("p", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.status.unwrap().message.as_deref(), Some("set"));
}

#[tokio::test]
async fn objects_are_applied_and_patched_in_every_form() {
    let bed = Bed::new().await;
    let maps: Api<ConfigMap> = Api::namespaced(bed.client.clone(), "ci");
    let apply = |value: &str| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": value}}))
    };
    let params = PatchParams::apply("test").force();
    for value in ["1", "2"] {
        let applied = maps.patch("m", &params, &apply(value)).await.unwrap();
        assert_eq!(applied.data.unwrap()["k"], value);
    }
    let json_patch = serde_json::from_value(json!([{"op": "add", "path": "/data/j", "value": "3"}])).unwrap();
    let patched = maps.patch("m", &PatchParams::default(), &Patch::Json::<()>(json_patch)).await.unwrap();
    assert_eq!(patched.data.unwrap().len(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let bed = Bed::new().await;
    let mut manifest = pod("p", "true");
    manifest["spec"]["containers"][0]["args"] = json!(["x".repeat(3 * 1024 * 1024)]);
    let typed = serde_json::from_value(manifest).unwrap();
    let error = bed.api().create(&PostParams::default(), &typed).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 413), "{error}");
}

#[tokio::test]
async fn namespaces_and_the_node_are_there() {
    let bed = Bed::new().await;
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    assert_eq!(namespaces.get("anything").await.unwrap().status.unwrap().phase.as_deref(), Some("Active"));
    let nodes: Api<Node> = Api::all(bed.client.clone());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 1);
    assert_eq!(bed.client.apiserver_version().await.unwrap().major, "1");
}

#[tokio::test]
async fn config_maps_become_files_and_variables() {
    let bed = Bed::new().await;
    let maps: Api<ConfigMap> = Api::namespaced(bed.client.clone(), "ci");
    let map = json!({"metadata": {"name": "m"}, "data": {"KEY": "value"}, "binaryData": {"bin": "AAE="}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let mut manifest = pod("p", "cat /m/KEY; echo; echo $PRE_KEY $ONE; wc -c < /m/bin");
    manifest["spec"]["volumes"] = json!([{"name": "m", "configMap": {"name": "m"}}]);
    let container = &mut manifest["spec"]["containers"][0];
    container["volumeMounts"] = json!([{"name": "m", "mountPath": "/m"}]);
    container["envFrom"] = json!([{"prefix": "PRE_", "configMapRef": {"name": "m"}}]);
    container["env"] = json!([{"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "KEY"}}}]);
    assert_eq!(bed.output_of(manifest).await, "value\nvalue value\n2\n");
}

#[tokio::test]
async fn a_status_is_late_and_with_it_the_log() {
    let kube = FakeKube::builder().status_lag(Duration::from_secs(2)).start().await.unwrap();
    let bed = Bed { client: client(&kube).await, kube };
    let created = bed.create(pod("late", "echo up; sleep 600")).await;
    let log = bed.kube.root().join("p").join(&created.metadata.uid.unwrap()[..8]).join("l/main/0.log");
    let written = async {
        while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("up")) {
            tokio::time::sleep(Duration::from_millis(5)).await; // the file is not observable through the API
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    let waiting: Value = bed.kube.pods().remove(0);
    assert_eq!(state(&waiting)["waiting"]["reason"], "ContainerCreating");
    let error = bed.api().logs("late", &Default::default()).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(status.message, "container \"main\" in pod \"late\" is waiting to start: ContainerCreating");
    bed.wait_for_start("late").await;
    assert_eq!(bed.api().logs("late", &Default::default()).await.unwrap(), "up\n");
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_restarted() {
    let bed = Bed::new().await;
    let mut manifest = pod("sick", "echo up; sleep 600");
    manifest["spec"]["restartPolicy"] = "Always".into();
    manifest["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    bed.create(manifest).await;
    let restarted = bed.wait("sick", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(restarted["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137);
}

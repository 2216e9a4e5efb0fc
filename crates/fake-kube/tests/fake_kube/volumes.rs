//! Volumes: folders that stay current.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::bed::{Bed, pod, read_until};

fn mounted(name: &str, script: &str, volume: serde_json::Value) -> serde_json::Value {
    let mut manifest = pod(name, script);
    let mut volume = volume;
    volume["name"] = "v".into();
    manifest["spec"]["volumes"] = json!([volume]);
    manifest["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/mnt/v"}]);
    manifest
}

#[tokio::test]
async fn containers_of_a_pod_share_an_empty_dir() {
    let bed = Bed::new().await;
    let mut manifest =
        mounted("shared", "until test -e /mnt/v/x; do sleep 0.01; done; cat /mnt/v/x", json!({"emptyDir": {}}));
    manifest["spec"]["containers"][0]["args"] = json!([]);
    let other = json!({"name": "other", "image": "a", "command": ["sh", "-c"], "args": ["echo shared > $DIR/tmp; mv $DIR/tmp $DIR/x"],
        "env": [{"name": "DIR", "value": "/mnt/v"}], "volumeMounts": [{"name": "v", "mountPath": "/mnt/v/"}]});
    manifest["spec"]["containers"].as_array_mut().unwrap().push(other);
    bed.create(manifest).await;
    bed.wait_for_phase("shared", "Succeeded").await;
    let params = kube::api::LogParams { container: Some("main".into()), ..Default::default() };
    assert_eq!(bed.api().logs("shared", &params).await.unwrap(), "shared\n");
}

#[tokio::test]
async fn an_optional_secret_appears_when_it_and_then_the_pod_changes() {
    let bed = Bed::new().await;
    let script = "ls /mnt/v; until test -e /mnt/v/payload; do sleep 0.01; done; cat /mnt/v/payload";
    bed.create(mounted(
        "late",
        script,
        json!({"secret": {"secretName": "late", "optional": true, "defaultMode": 0o400}}),
    ))
    .await;
    let running = bed.wait_for_start("late").await;
    bed.create_secret(json!({"metadata": {"name": "late"}, "stringData": {"payload": "here\n"}})).await;
    // The life of another pod is time enough for a kubelet that would look by itself.
    bed.output_of(pod("other", "true")).await;
    let uid = running["metadata"]["uid"].as_str().unwrap();
    let payload = bed.kube.root().join("p").join(&uid[..8]).join("v/v/payload");
    assert!(!payload.exists(), "a secret alone wakes nobody");
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"look": "again"}}}));
    bed.api().patch("late", &PatchParams::default(), &patch).await.unwrap();
    bed.wait_for_phase("late", "Succeeded").await;
    assert_eq!(bed.api().logs("late", &Default::default()).await.unwrap(), "here\n");
}

#[tokio::test]
async fn annotations_reach_the_container_while_it_runs() {
    let bed = Bed::new().await;
    let volume = json!({"downwardAPI": {"items": [
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}, "mode": 0o600},
    ]}});
    let script =
        "echo begin; until grep '^stop=' /mnt/v/annotations; do sleep 0.01; done; cat /mnt/v/uid; readlink /mnt/v/uid";
    let created = bed.create(mounted("told", script, volume)).await;
    bed.wait_for_start("told").await;
    let params = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(bed.api().log_stream("told", &params).await.unwrap());
    read_until(&mut log, "begin").await;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"stop": "now\n\"", "other": "1"}}}));
    bed.api().patch("told", &PatchParams::default(), &patch).await.unwrap();
    let expected = format!("stop=\"now\\n\\\"\"\n{}..data/uid\n", created.metadata.uid.unwrap());
    assert_eq!(read_until(&mut log, "data/uid\n").await, expected);
}

#[tokio::test]
async fn a_required_secret_holds_the_pod_until_it_is_there() {
    let bed = Bed::new().await;
    let volume = json!({"secret": {"secretName": "needed", "items": [{"key": "k", "path": "sub/file"}]}});
    bed.create(mounted("needs", "cat /mnt/v/sub/file", volume)).await;
    let mounted =
        bed.kube.wait_for_pods(|_| bed.kube.objects("events").iter().any(|event| event["reason"] == "FailedMount"));
    tokio::time::timeout(crate::bed::PATIENCE, mounted).await.unwrap();
    bed.create_secret(json!({"metadata": {"name": "needed"}, "stringData": {"k": "found"}})).await;
    bed.wait_for_phase("needs", "Succeeded").await;
    assert_eq!(bed.api().logs("needs", &Default::default()).await.unwrap(), "found");
}

#[tokio::test]
async fn projected_volumes_and_sub_paths_combine_sources() {
    let bed = Bed::new().await;
    bed.create_secret(json!({"metadata": {"name": "s"}, "stringData": {"a": "1"}})).await;
    let volume = json!({"projected": {"sources": [
        {"secret": {"name": "s"}},
        {"downwardAPI": {"items": [{"path": "deep/name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]}});
    let mut manifest = mounted("both", "cat /mnt/v/a /mnt/v/deep/name; echo; cat /mnt/name", volume);
    let mount = json!({"name": "v", "mountPath": "/mnt/name", "subPath": "deep/name"});
    manifest["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
    assert_eq!(bed.output_of(manifest).await, "1both\nboth");
}

#[tokio::test]
async fn a_pods_folder_goes_with_the_pod() {
    let bed = Bed::new().await;
    let created = bed.create(mounted("gone", "echo x > /mnt/v/x", json!({"emptyDir": {}}))).await;
    bed.wait_for_phase("gone", "Succeeded").await;
    let folder = bed.kube.root().join("p").join(&created.metadata.uid.unwrap()[..8]);
    assert!(folder.join("v/v/x").exists());
    bed.api().delete("gone", &Default::default()).await.unwrap();
    let vanished = async {
        while folder.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await; // the folder is not observable through the API
        }
    };
    tokio::time::timeout(crate::bed::PATIENCE, vanished).await.unwrap();
}

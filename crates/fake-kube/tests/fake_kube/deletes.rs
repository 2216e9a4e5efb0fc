//! Deleting pods: grace, signals, force, preconditions, hooks.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, WatchEvent, WatchParams};
use serde_json::json;

use crate::bed::{Bed, next, pod, read_until, state};

const LISTENS: &str = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.02; done";

#[tokio::test]
async fn a_container_that_listens_is_asked_and_ends() {
    let bed = Bed::new().await;
    let mut manifest = pod("polite", LISTENS);
    manifest["spec"]["terminationGracePeriodSeconds"] = 600.into();
    bed.create(manifest).await;
    bed.wait_for_start("polite").await;
    let params = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(bed.api().log_stream("polite", &params).await.unwrap());
    read_until(&mut log, "up").await;
    let going = bed.api().delete("polite", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(going.metadata.deletion_timestamp.is_some());
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(600));
    read_until(&mut log, "asked").await;
    bed.wait_until_gone("polite").await;
}

#[tokio::test]
async fn a_container_that_does_not_listen_lasts_for_its_grace() {
    let bed = Bed::new().await;
    bed.create(pod("deaf", "sleep 600")).await;
    bed.wait_for_start("deaf").await;
    let mut events = Box::pin(bed.api().watch(&WatchParams::default(), "1").await.unwrap());
    let begun = Instant::now();
    bed.api().delete("deaf", &DeleteParams::default().grace_period(1)).await.unwrap();
    let mut exit_code = serde_json::Value::Null;
    while exit_code.is_null() {
        if let WatchEvent::Modified(pod) = next(&mut events).await.unwrap() {
            exit_code = state(&json!(pod))["terminated"]["exitCode"].clone();
        }
    }
    assert_eq!(exit_code, 137);
    bed.wait_until_gone("deaf").await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn force_removes_the_object_at_once_and_kills_everything() {
    let bed = Bed::new().await;
    // A daemon in a session of its own, which no signal to the group would reach.
    bed.create(pod("forced", "setsid sleep 54321 & echo $! > pid; echo up; wait")).await;
    let running = bed.wait_for_start("forced").await;
    let params = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(bed.api().log_stream("forced", &params).await.unwrap());
    read_until(&mut log, "up").await;
    let uid = running["metadata"]["uid"].as_str().unwrap();
    let pid = std::fs::read_to_string(bed.kube.root().join("p").join(&uid[..8]).join("c/main/work/pid")).unwrap();
    bed.api().delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(bed.api().get_opt("forced").await.unwrap().is_none());
    // The log ends when the container has ended, and that is after everything in it was killed.
    let mut rest = String::new();
    futures::AsyncReadExt::read_to_string(&mut log, &mut rest).await.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[tokio::test]
async fn an_ended_pod_goes_at_once() {
    let bed = Bed::new().await;
    bed.create(pod("ended", "true")).await;
    bed.wait_for_phase("ended", "Succeeded").await;
    bed.api().delete("ended", &DeleteParams::default()).await.unwrap();
    assert!(bed.api().get_opt("ended").await.unwrap().is_none());
}

#[tokio::test]
async fn preconditions_are_checked() {
    let bed = Bed::new().await;
    bed.create(pod("guarded", "sleep 600")).await;
    let other = Preconditions { uid: Some("other".into()), resource_version: None };
    let error = bed.api().delete("guarded", &DeleteParams::default().preconditions(other)).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.is_conflict()));
    let error = bed.api().delete("none", &DeleteParams::default()).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.is_not_found()));
}

#[tokio::test]
async fn finalizers_hold_an_object_back() {
    let bed = Bed::new().await;
    let mut manifest = pod("held", "true");
    manifest["metadata"]["finalizers"] = json!(["example.com/hold"]);
    bed.create(manifest).await;
    bed.wait_for_phase("held", "Succeeded").await;
    bed.api().delete("held", &DeleteParams::default()).await.unwrap();
    assert!(bed.api().get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    bed.api().patch("held", &PatchParams::default(), &patch).await.unwrap();
    assert!(bed.api().get_opt("held").await.unwrap().is_none());
}

#[tokio::test]
async fn the_pre_stop_hook_runs_before_the_signal() {
    let bed = Bed::new().await;
    let mut manifest = pod("hooked", "trap 'cat hook; exit 0' TERM; echo up; while :; do sleep 0.02; done");
    manifest["spec"]["terminationGracePeriodSeconds"] = 60.into();
    manifest["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", "echo hook ran > hook"]}}});
    bed.create(manifest).await;
    bed.wait_for_start("hooked").await;
    let params = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(bed.api().log_stream("hooked", &params).await.unwrap());
    read_until(&mut log, "up").await;
    bed.api().delete("hooked", &DeleteParams::default()).await.unwrap();
    read_until(&mut log, "hook ran").await;
}

#[tokio::test]
async fn dropping_the_server_leaves_no_process_and_no_folder() {
    let bed = Bed::new().await;
    bed.create(pod("left", "setsid sleep 54322 & echo $! > pid; echo up; wait")).await;
    let running = bed.wait_for_start("left").await;
    let params = kube::api::LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(bed.api().log_stream("left", &params).await.unwrap());
    read_until(&mut log, "up").await;
    let uid = running["metadata"]["uid"].as_str().unwrap();
    let root = bed.kube.root().to_owned();
    let pid = std::fs::read_to_string(root.join("p").join(&uid[..8]).join("c/main/work/pid")).unwrap();
    drop(bed);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    assert!(!root.exists());
}

#[tokio::test]
async fn what_cleared_its_environment_goes_with_its_pods_last_container() {
    let bed = Bed::new().await;
    // With job control a background job has a group of its own; and here no environment, either.
    let script = "bash -c 'set -m; env -i sleep 54323 > /dev/null 2>&1 & echo $! > pid'; echo up";
    bed.create(pod("bare", script)).await;
    let ended = bed.wait_for_phase("bare", "Succeeded").await;
    let uid = ended["metadata"]["uid"].as_str().unwrap();
    let pid = std::fs::read_to_string(bed.kube.root().join("p").join(&uid[..8]).join("c/main/work/pid")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[tokio::test]
async fn no_pod_is_forgotten_when_the_history_is() {
    let bed = Bed::new().await;
    for round in 0..20 {
        let name = format!("p{round}");
        bed.create(pod(&name, "sleep 600")).await;
        bed.kube.compact();
        bed.wait_for_start(&name).await;
        bed.api().delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
        bed.kube.compact();
    }
    let folder = bed.kube.root().join("p");
    let emptied = async {
        while std::fs::read_dir(&folder).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await; // a folder is not observable through the API
        }
    };
    tokio::time::timeout(crate::bed::PATIENCE, emptied).await.unwrap();
}

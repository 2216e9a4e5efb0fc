//! Lists and watches.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::bed::{Bed, next, pod};

fn labelled(name: &str, color: &str) -> serde_json::Value {
    let mut manifest = pod(name, "sleep 600");
    manifest["metadata"]["labels"] = json!({"color": color});
    manifest
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let bed = Bed::new().await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red"), ("d", "green")] {
        bed.create(labelled(name, color)).await;
    }
    let names = async |params: ListParams| -> Vec<String> {
        let list = bed.api().list(&params).await.unwrap();
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    let labels = |selector: &str| ListParams::default().labels(selector);
    assert_eq!(names(labels("color=red")).await, ["a", "c"]);
    assert_eq!(names(labels("color in (red,blue)")).await, ["a", "b", "c"]);
    assert_eq!(names(labels("color!=red")).await, ["b", "d"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=b")).await, ["b"]);
    let first = bed.api().list(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (3, Some(1)));
    let token = first.metadata.continue_.unwrap();
    assert_eq!(names(ListParams::default().continue_token(&token)).await, ["d"]);
    let everywhere: Api<Pod> = Api::all(bed.client.clone());
    assert_eq!(everywhere.list(&ListParams::default()).await.unwrap().items.len(), 4);
    let elsewhere: Api<Pod> = Api::namespaced(bed.client.clone(), "other");
    assert_eq!(elsewhere.list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn a_watch_sees_objects_enter_and_leave_its_selector() {
    let bed = Bed::new().await;
    let version = bed.api().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("color=red");
    let mut events = bed.api().watch(&params, &version).await.unwrap().boxed();
    bed.create(labelled("w", "blue")).await;
    let paint = async |color: &str| {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"color": color}}}));
        bed.api().patch("w", &PatchParams::default(), &patch).await.unwrap();
    };
    paint("red").await;
    assert!(matches!(next(&mut events).await.unwrap(), WatchEvent::Added(pod) if pod.labels()["color"] == "red"));
    paint("green").await;
    loop {
        match next(&mut events).await.unwrap() {
            WatchEvent::Modified(_) => {} // its status
            WatchEvent::Deleted(pod) => break assert_eq!(pod.labels()["color"], "green"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_forgotten_version_is_410_inside_the_watch() {
    let bed = Bed::new().await;
    let version = bed.create(pod("old", "true")).await.resource_version().unwrap();
    bed.wait_for_phase("old", "Succeeded").await;
    bed.kube.compact();
    let mut events = bed.api().watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let WatchEvent::Error(status) = next(&mut events).await.unwrap() else { panic!("no error") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn a_watch_ends_after_its_time_with_a_bookmark() {
    let bed = Bed::new().await;
    let params = WatchParams::default().timeout(1);
    let mut events = bed.api().watch(&params, "0").await.unwrap().boxed();
    let WatchEvent::Bookmark(bookmark) = next(&mut events).await.unwrap() else { panic!("no bookmark") };
    assert!(!bookmark.metadata.resource_version.is_empty());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn kubes_watcher_recovers_from_a_lost_and_an_expired_watch() {
    let bed = Bed::new().await;
    for (kind, strategy) in
        [("list", watcher::Config::default()), ("stream", watcher::Config::default().streaming_lists())]
    {
        let (first, second) = (format!("one-{kind}"), format!("two-{kind}"));
        bed.kube.faults().add(fake_kube::Fault::cut_watches_after_ms(50).times(1));
        bed.kube.faults().add(fake_kube::Fault::new(fake_kube::Act::Expire {}).query("watch=").times(1));
        let mut events = watcher(bed.api(), strategy).boxed();
        let mut seen_both = async || {
            let mut seen = std::collections::HashSet::new();
            while !(seen.contains(&first) && seen.contains(&second)) {
                // An error is followed by a fresh start.
                if let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = next(&mut events).await {
                    seen.insert(pod.name_any());
                }
            }
        };
        let create = async {
            bed.create(pod(&first, "true")).await;
            bed.wait_for_phase(&first, "Succeeded").await;
            bed.create(pod(&second, "true")).await;
        };
        tokio::time::timeout(crate::bed::PATIENCE, async { tokio::join!(create, seen_both()) }).await.unwrap();
        bed.kube.faults().clear();
    }
}

//! Things that go wrong on purpose.

use fake_kube::{Act, FakeKube, Fault, ImageFault};
use futures::AsyncReadExt;
use kube::api::{LogParams, PostParams};
use serde_json::json;

use crate::bed::{Bed, pod, state};

#[tokio::test]
async fn requests_are_answered_with_errors_as_often_as_asked() {
    let bed = Bed::new().await;
    bed.kube.faults().add(Fault::too_many_requests(3).method("POST").path("/pods").times(1));
    bed.kube.faults().add(Fault::answer(503).method("POST").times(1));
    let manifest = serde_json::from_value(pod("p", "true")).unwrap();
    for code in [429, 503] {
        let kube::Error::Api(status) = bed.api().create(&PostParams::default(), &manifest).await.unwrap_err() else {
            panic!("not an answer");
        };
        assert_eq!(status.code, code);
        if code == 429 {
            assert_eq!(status.details.unwrap().retry_after_seconds, 3);
        }
    }
    bed.api().create(&PostParams::default(), &manifest).await.unwrap();
    let posts: Vec<_> = bed.kube.requests().into_iter().filter(|r| r.method == "POST").map(|r| r.status).collect();
    assert_eq!(posts, [429, 503, 201]);
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_request_took_effect() {
    let bed = Bed::new().await;
    bed.kube.faults().add(Fault::new(Act::LoseAnswer {}).method("POST").times(1));
    bed.kube.faults().add(Fault::new(Act::Drop {}).method("DELETE").times(1));
    let manifest = serde_json::from_value(pod("p", "sleep 600")).unwrap();
    let error = bed.api().create(&PostParams::default(), &manifest).await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error}");
    assert_eq!(bed.kube.pods().len(), 1);
    assert!(bed.api().delete("p", &Default::default()).await.is_err());
    assert!(bed.api().get("p").await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_log_stream_is_cut_where_asked() {
    let bed = Bed::new().await;
    bed.create(pod("cut", "echo 0123456789")).await;
    bed.wait_for_phase("cut", "Succeeded").await;
    for (clean, expected) in [(false, true), (true, false)] {
        let cut = Act::Cut { bytes: Some(4), ms: None, clean };
        bed.kube.faults().add(Fault::new(cut).path("/log").times(1));
        let mut log = Box::pin(bed.api().log_stream("cut", &LogParams::default()).await.unwrap());
        let mut bytes = Vec::new();
        let ended = log.read_to_end(&mut bytes).await;
        assert_eq!((String::from_utf8_lossy(&bytes).as_ref(), ended.is_err()), ("0123", expected));
    }
    assert_eq!(bed.api().logs("cut", &LogParams::default()).await.unwrap(), "0123456789\n");
}

#[tokio::test]
async fn images_fail_to_be_pulled_and_may_recover() {
    let bed = Bed::new().await;
    let fault = |image: &str, reason: &str, times| ImageFault {
        image: image.into(),
        reason: reason.into(),
        message: String::new(),
        times,
    };
    bed.kube.faults().add_image(fault("gone:1", "ErrImagePull", None));
    bed.kube.faults().add_image(fault("flaky:1", "ErrImagePull", Some(2)));
    bed.kube.faults().add_image(fault("absent:1", "ErrImageNeverPull", None));
    for (name, image, policy, reason) in [
        ("gone", "gone:1", "IfNotPresent", Some("ImagePullBackOff")),
        ("flaky", "flaky:1", "Always", None),
        ("never", "absent:1", "Never", Some("ErrImageNeverPull")),
        ("pulled", "absent:1", "IfNotPresent", None),
        ("invalid", "No Image", "Always", Some("InvalidImageName")),
    ] {
        let mut manifest = pod(name, "true");
        manifest["spec"]["containers"][0]["image"] = image.into();
        manifest["spec"]["containers"][0]["imagePullPolicy"] = policy.into();
        bed.create(manifest).await;
        match reason {
            Some(reason) => {
                let waiting = bed.wait(name, |pod| state(pod)["waiting"]["reason"] == reason).await;
                let message = state(&waiting)["waiting"]["message"].as_str().unwrap_or_default();
                assert!(message.contains(image), "{message}");
            }
            None => drop(bed.wait_for_phase(name, "Succeeded").await),
        }
    }
}

#[tokio::test]
async fn pods_are_evicted_killed_and_lost() {
    let bed = Bed::new().await;
    for name in ["evicted", "oom", "lost", "signalled"] {
        bed.create(pod(name, "sleep 600")).await;
        bed.wait_for_start(name).await;
    }
    assert!(bed.kube.evict("ci", "evicted", "The node was low on resource: memory."));
    let evicted = bed.wait_for_phase("evicted", "Failed").await;
    assert_eq!(evicted["status"]["reason"], "Evicted");
    assert_eq!(evicted["status"]["message"], "The node was low on resource: memory.");
    assert!(bed.kube.oom_kill("ci", "oom", "main"));
    let killed = bed.wait_for_phase("oom", "Failed").await;
    let ended = &state(&killed)["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)));
    assert!(bed.kube.kill("ci", "signalled", "", 15));
    let ended = bed.wait_for_phase("signalled", "Failed").await;
    assert_eq!(state(&ended)["terminated"]["exitCode"], 143);
    assert!(bed.kube.lose_node("ci", "lost"));
    let lost = bed.wait("lost", |pod| pod["status"]["reason"] == "NodeLost").await;
    assert_eq!(lost["status"]["phase"], "Running");
    assert!(bed.api().logs("lost", &LogParams::default()).await.is_err());
    bed.api().delete("lost", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    bed.wait_until_gone("lost").await;
    assert!(!bed.kube.evict("ci", "none", ""));
}

#[tokio::test]
async fn a_pod_without_a_node_waits_and_says_why() {
    let bed = Bed::with(FakeKube::builder().unschedulable("0/1 nodes are available: 1 Insufficient cpu.")).await;
    bed.create(pod("waits", "true")).await;
    let waiting = bed.wait("waits", |pod| pod["status"]["conditions"][0]["reason"] == "Unschedulable").await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert_eq!(waiting["status"]["conditions"][0]["message"], "0/1 nodes are available: 1 Insufficient cpu.");
    bed.kube.faults().set_unschedulable(None);
    bed.wait_for_phase("waits", "Succeeded").await;
}

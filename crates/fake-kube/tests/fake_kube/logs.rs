//! `pods/log`.

use std::time::Duration;

use futures::AsyncReadExt;
use kube::api::LogParams;
use serde_json::json;

use crate::bed::{Bed, pod, read_until};

#[tokio::test]
async fn a_followed_log_comes_line_by_line_and_ends_with_the_container() {
    let bed = Bed::new().await;
    bed.create(pod("follow", "echo one; echo two >&2; until test -e go; do sleep 0.01; done; printf last")).await;
    let running = bed.wait_for_start("follow").await;
    let params = LogParams { follow: true, ..Default::default() };
    let mut log = Box::pin(bed.api().log_stream("follow", &params).await.unwrap());
    assert!(read_until(&mut log, "two\n").await.contains("one\n"));
    let uid = running["metadata"]["uid"].as_str().unwrap();
    std::fs::write(bed.kube.root().join("p").join(&uid[..8]).join("c/main/work/go"), "").unwrap();
    let mut rest = String::new();
    tokio::time::timeout(crate::bed::PATIENCE, log.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "last");
}

#[tokio::test]
async fn megabytes_of_bytes_come_back_exactly() {
    let bed = Bed::new().await;
    // Long lines, NUL, invalid UTF-8, carriage returns; no newline at the end.
    let script = r#"i=0; while [ $i -lt 20 ]; do head -c 200000 /dev/zero | tr '\0' 'x'; printf '\r\n\000\377\n'; i=$((i+1)); done; printf end"#;
    bed.create(pod("bytes", script)).await;
    bed.wait_for_phase("bytes", "Succeeded").await;
    let mut log = Box::pin(bed.api().log_stream("bytes", &LogParams::default()).await.unwrap());
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes).await.unwrap();
    let mut expected = Vec::new();
    for _ in 0..20 {
        expected.extend(std::iter::repeat_n(b'x', 200_000));
        expected.extend(b"\r\n\0\xff\n");
    }
    expected.extend(b"end");
    assert!(bytes == expected, "{} bytes instead of {}", bytes.len(), expected.len());
}

#[tokio::test]
async fn since_time_resumes_at_a_line() {
    let bed = Bed::new().await;
    bed.create(pod("since", "echo one; sleep 1.1; echo two")).await;
    bed.wait_for_phase("since", "Succeeded").await;
    let params = LogParams { timestamps: true, ..Default::default() };
    let stamped = bed.api().logs("since", &params).await.unwrap();
    let stamp = stamped.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(stamp.len(), "2026-01-02T03:04:05.123456789Z".len());
    let whole_second = format!("{}Z", &stamp[..19]);
    let params = LogParams { since_time: Some(whole_second.parse().unwrap()), ..Default::default() };
    assert_eq!(bed.api().logs("since", &params).await.unwrap(), "two\n");
    let params = LogParams { limit_bytes: Some(5), ..Default::default() };
    assert_eq!(bed.api().logs("since", &params).await.unwrap(), "one\nt");
}

#[tokio::test]
async fn a_container_without_a_log_is_400_with_the_kubelets_words() {
    let bed = Bed::with(fake_kube::FakeKube::builder().image_error("gone:1", "ErrImagePull")).await;
    let mut two = pod("two", "sleep 600");
    let waits = json!({"name": "waits", "image": "gone:1", "command": ["true"]});
    two["spec"]["containers"].as_array_mut().unwrap().push(waits);
    let init = json!([{"name": "first", "image": "a", "command": ["sleep", "600"]}]);
    let mut initializing = pod("initializing", "true");
    initializing["spec"]["initContainers"] = init;
    bed.create(two).await;
    bed.create(initializing).await;
    bed.wait("two", |pod| pod["status"]["containerStatuses"][1]["state"]["waiting"]["reason"] == "ImagePullBackOff")
        .await;
    bed.wait("initializing", |pod| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object()).await;
    for (pod, container, previous, code, message) in [
        (
            "two",
            Some("waits"),
            false,
            400,
            "container \"waits\" in pod \"two\" is waiting to start: trying and failing to pull image",
        ),
        ("two", None, false, 400, "a container name must be specified for pod two, choose one of: [main waits]"),
        ("two", Some("none"), false, 400, "container none is not valid for pod two"),
        ("two", Some("main"), true, 400, "previous terminated container \"main\" in pod \"two\" not found"),
        (
            "initializing",
            Some("main"),
            false,
            400,
            "container \"main\" in pod \"initializing\" is waiting to start: PodInitializing",
        ),
        ("none", None, false, 404, "pods \"none\" not found"),
    ] {
        let params = LogParams { container: container.map(str::to_owned), previous, ..Default::default() };
        let error = bed.api().logs(pod, &params).await.unwrap_err();
        let kube::Error::Api(status) = error else { panic!("{error}") };
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

#[tokio::test]
async fn the_previous_run_has_its_own_log() {
    let bed = Bed::new().await;
    let mut manifest = pod("runs", "echo run >> /data/runs; wc -l < /data/runs; test $(wc -l < /data/runs) -ge 2");
    manifest["spec"]["restartPolicy"] = "OnFailure".into();
    manifest["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    manifest["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    assert_eq!(bed.output_of(manifest).await.trim(), "2");
    let params = LogParams { previous: true, ..Default::default() };
    assert_eq!(bed.api().logs("runs", &params).await.unwrap().trim(), "1");
}

#[tokio::test]
async fn a_rotated_log_is_followed_and_its_beginning_is_lost_to_later_readers() {
    let bed = Bed::with(fake_kube::FakeKube::builder().log_max_size(2000)).await;
    bed.create(pod("big", "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.002; done")).await;
    bed.wait_for_start("big").await;
    bed.wait_for_phase("big", "Succeeded").await;
    let text = bed.api().logs("big", &LogParams::default()).await.unwrap();
    assert!(!text.contains("line 0\n") && text.ends_with("line 199\n"), "{text}");
}

#[tokio::test]
async fn wrong_log_options_are_422() {
    let bed = Bed::new().await;
    bed.create(pod("options", "true")).await;
    bed.wait_for_phase("options", "Succeeded").await;
    for params in [
        LogParams { limit_bytes: Some(0), ..Default::default() },
        LogParams { tail_lines: Some(-1), ..Default::default() },
        LogParams { since_seconds: Some(0), ..Default::default() },
    ] {
        let kube::Error::Api(status) = bed.api().logs("options", &params).await.unwrap_err() else {
            panic!("not an answer of the server");
        };
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{params:?}");
    }
}

#[tokio::test]
async fn two_readers_see_the_same() {
    let bed = Bed::new().await;
    bed.create(pod("same", "for i in 1 2 3; do echo $i; sleep 0.05; done")).await;
    bed.wait_for_start("same").await;
    let params = LogParams { follow: true, ..Default::default() };
    let read = async || {
        let mut log = Box::pin(bed.api().log_stream("same", &params).await.unwrap());
        let mut text = String::new();
        log.read_to_string(&mut text).await.unwrap();
        text
    };
    let both = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(read(), read()) });
    let (one, two) = both.await.unwrap();
    assert_eq!((one.as_str(), two.as_str()), ("1\n2\n3\n", "1\n2\n3\n"));
}

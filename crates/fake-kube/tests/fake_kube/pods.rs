//! A pod's life: order, statuses, exit codes, restarts.

use fake_kube::FakeKube;
use serde_json::{Value, json};

use crate::bed::{Bed, pod, state};

#[tokio::test]
async fn a_pod_runs_to_its_end_and_says_how_it_ended() {
    let bed = Bed::new().await;
    // In a command `$$` stands for `$`.
    for (name, script, phase, code, reason) in [
        ("good", "exit 0", "Succeeded", 0, "Completed"),
        ("bad", "exit 7", "Failed", 7, "Error"),
        ("killed", "kill -9 $$$$", "Failed", 137, "Error"),
        ("terminated", "kill -15 $$$$", "Failed", 143, "Error"),
    ] {
        bed.create(pod(name, script)).await;
        let pod = bed.wait_for_phase(name, phase).await;
        let ended = &state(&pod)["terminated"];
        assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(code), &json!(reason)), "{name}");
        for field in ["startedAt", "finishedAt", "containerID"] {
            assert!(ended[field].is_string(), "{name}: {ended}");
        }
    }
}

#[tokio::test]
async fn the_termination_message_is_read() {
    let bed = Bed::new().await;
    let long = "i=0; while [ $i -lt 600 ]; do printf 0123456789; i=$((i+1)); done > /dev/termination-log";
    let mut fallback = pod("fallback", "echo on stdout; exit 3");
    fallback["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    for (pod, expected) in [
        (pod("plain", "printf result > /dev/termination-log"), "result".to_owned()),
        (pod("long", long), "0123456789".repeat(600)[6000 - 4096..].to_owned()),
        (fallback, "on stdout\n".to_owned()),
    ] {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        bed.create(pod).await;
        let pod = bed.wait(&name, |pod| state(pod)["terminated"].is_object()).await;
        assert_eq!(state(&pod)["terminated"]["message"], expected, "{name}");
    }
}

#[tokio::test]
async fn init_containers_and_sidecars_run_in_order() {
    let bed = Bed::new().await;
    let mut manifest = pod("ordered", "echo main >> /data/order; cat /data/order");
    let say = |name: &str, script: &str| {
        json!({"name": name, "image": "a", "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
    };
    let mut sidecar = say("side", "trap 'exit 0' TERM; echo side >> /data/order; while :; do sleep 0.02; done");
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({"exec": {"command": ["grep", "-q", "side", "/data/order"]}, "periodSeconds": 1});
    manifest["spec"]["initContainers"] =
        json!([say("one", "echo one >> /data/order"), sidecar, say("two", "echo two >> /data/order")]);
    manifest["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    manifest["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    assert_eq!(bed.output_of(manifest).await, "one\nside\ntwo\nmain\n");
    let ended =
        bed.wait("ordered", |pod| pod["status"]["initContainerStatuses"][1]["state"]["terminated"].is_object()).await;
    assert_eq!(ended["status"]["phase"], "Succeeded");
    assert_eq!(ended["status"]["initContainerStatuses"][0]["ready"], true);
}

#[tokio::test]
async fn a_failing_init_container_fails_the_pod() {
    let bed = Bed::new().await;
    let mut manifest = pod("init", "echo never");
    manifest["spec"]["initContainers"] = json!([{"name": "first", "image": "a", "command": ["sh", "-c", "exit 4"]}]);
    bed.create(manifest).await;
    let pod = bed.wait_for_phase("init", "Failed").await;
    assert_eq!(state(&pod)["waiting"]["reason"], "PodInitializing");
    assert_eq!(pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 4);
}

#[tokio::test]
async fn failures_are_restarted_with_back_off_where_the_policy_says_so() {
    let bed = Bed::new().await;
    let mut manifest = pod("again", "echo x >> /data/runs; test $(wc -l < /data/runs) -ge 3");
    manifest["spec"]["restartPolicy"] = "OnFailure".into();
    manifest["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    manifest["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    bed.create(manifest).await;
    let done = bed.wait_for_phase("again", "Succeeded").await;
    assert_eq!(done["status"]["containerStatuses"][0]["restartCount"], 2);
    assert_eq!(done["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    let events = bed.kube.objects("events");
    let backed_off = events.iter().filter(|event| event["reason"] == "BackOff").count();
    assert_eq!(backed_off, 1, "the first restart comes at once");
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_is_a_start_error() {
    let bed = Bed::new().await;
    for (name, command, expected) in [
        ("absent", "no-such-program-here", "executable file not found in $PATH"),
        ("path", "/no/such/file", "no such file or directory"),
        ("folder", "/proc", "permission denied"),
    ] {
        let mut manifest = pod(name, "");
        manifest["spec"]["containers"][0]["command"] = json!([command]);
        bed.create(manifest).await;
        let pod = bed.wait_for_phase(name, "Failed").await;
        let ended = &state(&pod)["terminated"];
        assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)));
        assert!(ended["message"].as_str().unwrap().contains(expected), "{ended}");
        let follow = kube::api::LogParams { follow: true, ..Default::default() };
        assert_eq!(bed.api().logs(name, &follow).await.unwrap(), "");
    }
}

#[tokio::test]
async fn the_environment_is_the_containers_own() {
    let bed = Bed::new().await;
    bed.create_secret(json!({"metadata": {"name": "sec"}, "stringData": {"key": "s3cret"}})).await;
    let mut manifest = pod("env", "echo $A $B $C $D $NAME; echo ${CARGO_HOME-unset} $(pwd)");
    manifest["spec"]["containers"][0]["env"] = json!([
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2$(NONE)"},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "key"}}},
        {"name": "D", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key", "optional": true}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    manifest["spec"]["containers"][0]["args"] = json!([]);
    let output = bed.output_of(manifest).await;
    let root = bed.kube.root().to_str().unwrap().to_owned();
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("1 12$(NONE) s3cret env"));
    assert!(lines.next().unwrap().starts_with(&format!("unset {root}/p/")), "{output}");
}

#[tokio::test]
async fn a_missing_secret_holds_the_container_until_it_is_there() {
    let bed = Bed::new().await;
    let mut manifest = pod("held", "echo $C");
    manifest["spec"]["containers"][0]["env"] =
        json!([{"name": "C", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]);
    bed.create(manifest).await;
    let held = bed.wait("held", |pod| state(pod)["waiting"]["reason"] == "CreateContainerConfigError").await;
    assert_eq!(state(&held)["waiting"]["message"], "secret \"late\" not found");
    bed.create_secret(json!({"metadata": {"name": "late"}, "stringData": {"k": "now"}})).await;
    bed.wait_for_phase("held", "Succeeded").await;
    assert_eq!(bed.api().logs("held", &Default::default()).await.unwrap(), "now\n");
}

#[tokio::test]
async fn programs_and_entrypoints_of_images_can_be_given() {
    let bin = tempfile::tempdir().unwrap();
    let program = bin.path().join("greet");
    std::fs::write(&program, "#!/bin/sh\necho hello \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let builder = FakeKube::builder().bin_dir(bin.path()).image_command("greeter:1", ["greet", "dear"]);
    let bed = Bed::with(builder).await;
    let mut manifest = pod("entry", "");
    manifest["spec"]["containers"][0] = json!({"name": "main", "image": "greeter:1", "args": ["reader"]});
    assert_eq!(bed.output_of(manifest).await, "hello dear reader\n");
    let mut only_args = pod("args", "");
    only_args["spec"]["containers"][0] = json!({"name": "main", "image": "other:1", "args": ["greet", "x"]});
    assert_eq!(bed.output_of(only_args).await, "hello x\n");
}

#[tokio::test]
async fn the_deadline_fails_the_pod() {
    let bed = Bed::new().await;
    let mut manifest = pod("slow", "sleep 600");
    manifest["spec"]["activeDeadlineSeconds"] = 1.into();
    bed.create(manifest).await;
    let pod = bed.wait_for_phase("slow", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert_eq!(state(&pod)["terminated"]["exitCode"], 137);
}

#[tokio::test]
async fn readiness_follows_the_probe() {
    let bed = Bed::new().await;
    let mut manifest = pod("ready", "touch flag; sleep 600");
    manifest["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "flag"]}, "periodSeconds": 1});
    bed.create(manifest).await;
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    bed.wait("ready", is_ready).await;
}

#[tokio::test]
async fn pods_report_events() {
    let bed = Bed::new().await;
    bed.create(pod("told", "true")).await;
    bed.wait_for_phase("told", "Succeeded").await;
    let events = bed.kube.objects("events");
    let reasons: Vec<_> = events.iter().map(|event| event["reason"].as_str().unwrap()).collect();
    for expected in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(reasons.contains(&expected), "{reasons:?}");
    }
}

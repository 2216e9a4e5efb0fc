//! What a job meets around its script: services that are awaited or read along, events of its pod.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use serde_json::{Value, json};
use tests::{World, trace};

/// A service that runs `script`.
fn service(name: &str, script: &str, variables: &Value) -> Value {
    json!({"name": name, "command": ["sh", "-c", script], "variables": variables})
}

async fn log_of(world: &World, spec: JobSpec) -> (JobStatus, String) {
    let job = world.run(spec).await;
    (job.status, trace::text(&world.gitlab.trace(job.id)))
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_services_are_in_the_log_of_a_job_that_asks() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let meeting = world.path("read").display().to_string();
    // The second service talks until the job has seen it: the job ends only after both have been read.
    let chatter = format!("until [ -e {meeting} ]; do echo waiting; sleep 0.1; done; echo seen; sleep 60");
    let postgres =
        json!({"name": "postgres:16", "alias": "db", "command": ["sh", "-c", "echo ready to serve; sleep 60"]});
    let services = json!([postgres, service("registry.example.com:5000/redis", &chatter, &json!([]))]);
    let spec = |value: &str| {
        JobSpec::script([format!("echo begun; until [ -e {meeting} ]; do sleep 0.1; done")])
            .variable("CI_DEBUG_SERVICES", value)
            .payload(json!({"services": services}))
    };
    let id = world.gitlab.enqueue(spec("1")).await.unwrap();
    world.log_shows(id, "[service:postgres-db] ").await;
    world.log_shows(id, "[service:registry.example.com:5000/redis] ").await;
    std::fs::write(&meeting, "").unwrap();
    assert_eq!(world.finished(id).await.status, JobStatus::Success);
    let log = trace::text(&world.gitlab.trace(id));
    let line = log.lines().find(|line| line.contains("ready to serve")).unwrap();
    assert!(
        line.starts_with("\u{1b}[0;37m[service:postgres-db] 20") && line.ends_with("Z ready to serve\u{1b}[0;m"),
        "{line:?}"
    );

    for (value, warning) in [
        ("false", None),
        ("blammo", Some("CI_DEBUG_SERVICES: expected bool got \"blammo\", using default value: false")),
    ] {
        let (status, log) = log_of(&world, spec(value)).await;
        assert_eq!(status, JobStatus::Success);
        assert!(!log.contains("[service:"), "{log}");
        assert_eq!(log.contains("CI_DEBUG_SERVICES"), warning.is_some(), "{log}");
        assert!(warning.is_none_or(|warning| log.contains(warning)), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_may_forbid_to_read_services() {
    let world = World::builder().runner("debug_trace_disabled = true").start().await;
    let _pipe = world.pipe();
    let services = json!([service("postgres", "echo secret", &json!([]))]);
    let spec = JobSpec::script(["true"]).variable("CI_DEBUG_SERVICES", "true").payload(json!({"services": services}));
    let (status, log) = log_of(&world, spec).await;
    assert_eq!(status, JobStatus::Success);
    assert!(log.contains("WARNING: CI_DEBUG_SERVICES: usage is disabled on this Runner"), "{log}");
    assert!(!log.contains("[service:"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_awaited_service_that_dies_fails_the_job_and_another_does_not() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let (_socket, port) = silent_port();
    let awaited = json!([{"key": "HEALTHCHECK_TCP_PORT", "value": port.to_string()}]);
    let spec = |variables: &Value| {
        JobSpec::script(["echo ran"]).payload(json!({"services": [service("postgres", "exit 3", variables)]}))
    };
    let (status, log) = log_of(&world, spec(&awaited)).await;
    assert_eq!(status, JobStatus::Failed);
    let why = "Error in container svc-0: exit code: 3, reason: 'Error'";
    assert!(log.contains(&format!("ERROR: Health check aborted due to error: {why}")), "{log}");
    assert!(log.contains(&format!("ERROR: Job failed (system failure): {why}")), "{log}");
    assert!(!log.contains("\nran\n"), "{log}");
    let (status, log) = log_of(&world, spec(&json!([]))).await;
    assert_eq!(status, JobStatus::Success);
    assert!(log.contains("\nran\n"), "{log}");
    world.cluster_is_empty().await;
}

/// A port that is taken and never listens.
fn silent_port() -> (std::os::fd::OwnedFd, u16) {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    let port = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap().port();
    (socket, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_events_are_a_table_in_the_log_of_a_job_that_asks() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let seen = world.path("seen").display().to_string();
    let script = format!("until [ -e {seen} ]; do sleep 0.1; done");
    let id = world.gitlab.enqueue(JobSpec::script([script]).variable("FF_PRINT_POD_EVENTS", "true")).await.unwrap();
    world.log_shows(id, "Started container build").await;
    std::fs::write(&seen, "").unwrap();
    world.finished(id).await;
    let log = trace::text(&world.gitlab.trace(id));
    assert!(log.contains("Subscribing to Kubernetes Pod events..."), "{log}");
    let has_row = |words: [&str; 2]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [["Type", "Reason"], ["Normal", "Scheduled"], ["Normal", "Pulled"], ["Normal", "Created"]] {
        assert!(has_row(words), "{words:?} is missing in\n{log}");
    }
    assert!(!log.contains("Waiting for pod "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_about_the_pod_are_in_the_log_of_a_job_that_could_not_run() {
    for (keys, shown) in [("", true), ("print_pod_warning_events = false", false)] {
        let world =
            World::builder().kubernetes(keys).kube(|kube| kube.image_error("no:such", "ErrImagePull")).start().await;
        let _pipe = world.pipe();
        let (status, log) = log_of(&world, JobSpec::script(["true"]).image("no:such")).await;
        assert_eq!(status, JobStatus::Failed);
        assert_eq!(log.contains("WARNING: Event retrieved from the cluster: "), shown, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_per_job_is_made_and_goes_with_its_job() {
    let world = World::builder().kubernetes("namespace_per_job = true").start().await;
    let _pipe = world.pipe();
    let seen = world.path("seen").display().to_string();
    let script = format!("echo begun; until [ -e {seen} ]; do sleep 0.1; done");
    let id = world.gitlab.enqueue(JobSpec::script([script])).await.unwrap();
    world.log_shows(id, "begun").await;
    let pods = world.kube.fake().objects("pods");
    assert_eq!(pods[0]["metadata"]["namespace"], format!("ci-job-{id}"));
    std::fs::write(&seen, "").unwrap();
    assert_eq!(world.finished(id).await.status, JobStatus::Success);
    world.cluster_is_empty().await;
    let namespaces = world.kube.fake().objects("namespaces");
    let left = namespaces.iter().filter(|found| found["metadata"]["name"] == format!("ci-job-{id}"));
    assert!(left.into_iter().all(|found| found["metadata"]["deletionTimestamp"].is_string()), "{namespaces:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_somebody_else_is_left_alone() {
    let world =
        World::builder().kubernetes("namespace_per_job = true").kube(|kube| kube.namespace("ci-job-1")).start().await;
    let _pipe = world.pipe();
    let (status, log) = log_of(&world, JobSpec::script(["true"])).await;
    assert_eq!(status, JobStatus::Failed);
    assert!(log.contains("namespace \"ci-job-1\" exists already and belongs to something else"), "{log}");
    let namespaces = world.kube.fake().objects("namespaces");
    let found = namespaces.iter().find(|found| found["metadata"]["name"] == "ci-job-1").unwrap();
    assert!(found["metadata"]["deletionTimestamp"].is_null(), "{found}");
}

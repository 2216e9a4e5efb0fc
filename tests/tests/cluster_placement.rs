//! Where a pod may run and what it may use: resources, limits, nodes, quotas.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobReport, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tests::{PATIENCE, World, trace};

async fn run(world: &World, spec: JobSpec) -> (JobReport, String) {
    let job = world.run(spec).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    (job, log)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn requests_and_limits_are_those_of_the_configuration_and_the_job() {
    let config = "cpu_request = \"10m\"\nmemory_limit = \"96Mi\"\nmemory_limit_overwrite_max_allowed = \"128Mi\"\n\
                  helper_memory_limit = \"200Mi\"";
    let world = World::builder().kubernetes(config).start().await;
    let _pipe = world.pipe();
    // Of control groups of either version.
    let limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true";
    let spec = JobSpec::script([limit, "echo begun", "sleep 600"]).variable("KUBERNETES_MEMORY_LIMIT", "128Mi");
    let id = world.gitlab.enqueue(spec).await.unwrap();
    world.log_shows(id, "begun\n").await;
    let pods = world.kube.pods().await;
    let containers = &pods[0]["spec"]["containers"];
    assert_eq!(containers[0]["resources"]["limits"], json!({"memory": "200Mi"}));
    assert_eq!(containers[1]["resources"]["limits"], json!({"memory": "128Mi"}));
    assert_eq!(containers[1]["resources"]["requests"]["cpu"], "10m");
    let log = trace::text(&world.gitlab.trace(id));
    assert!(log.contains(&format!("\n{}\n", 128 * 1024 * 1024)), "{log}");
    std::fs::write(world.job_folder(id).join("cancel"), "canceled").unwrap();
    world.finished(id).await;

    let (job, log) = run(&world, JobSpec::script(["true"]).variable("KUBERNETES_MEMORY_LIMIT", "1Gi")).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_configuration_error"));
    assert!(log.contains("requested \"1Gi\" is higher than limit allowed \"128Mi\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_script_that_wants_too_much_memory_fails_with_the_reason() {
    let world = World::builder().kubernetes("memory_limit = \"48Mi\"").start().await;
    let pipe = world.pipe();
    // tail keeps all that has no newline.
    let script = ["echo begun", "head -c 200000000 /dev/zero | tail -n 1 | wc -c"];
    let (job, log) = run(&world, JobSpec::script(["set -o pipefail"].iter().chain(&script).copied())).await;
    assert_eq!(job.status, JobStatus::Failed, "{log}");
    assert!(log.contains("begun\n") && log.contains("OOMKilled"), "{log}");
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_pod_that_no_node_takes_says_why_in_the_schedulers_words() {
    for (config, why) in [
        ("cpu_request = \"1000\"", "Insufficient cpu"),
        ("[runners.kubernetes.node_selector]\n\"no-such\" = \"label\"", "didn't match Pod's node affinity/selector"),
    ] {
        let world = World::builder().kubernetes(&format!("poll_timeout = 4\n{config}")).start().await;
        let pipe = world.pipe();
        let (job, log) = run(&world, JobSpec::script(["echo never"])).await;
        assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"), "{log}");
        let last = log.lines().rfind(|line| line.contains("ERROR: Job failed")).unwrap();
        assert!(last.contains("timed out waiting for pod to start") && last.contains(why), "{log}");
        world.leaves_nothing(pipe).await;
    }
}

/// A node without a kubelet: pods can be sent there, and that is all.
struct Ghost<'a> {
    world: &'a World,
    name: String,
}

impl<'a> Ghost<'a> {
    async fn appear(world: &'a World) -> Self {
        let name = format!("ghost-{}", world.kube.namespace());
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"runner-tools.test/ghost": name}},
            "spec": {"taints": [{"key": "runner-tools.test/ghost", "value": "yes", "effect": "NoSchedule"}]},
            "status": {
                "capacity": {"cpu": "4", "memory": "4Gi", "pods": "10"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Test"}],
            },
        }))
        .unwrap();
        let nodes: Api<Node> = Api::all(world.kube.real().client());
        nodes.create(&PostParams::default(), &node).await.unwrap();
        Self { world, name }
    }
}

impl Drop for Ghost<'_> {
    fn drop(&mut self) {
        let mut kubectl = self.world.kube.real().kubectl();
        kubectl.args(["delete", "node", &self.name]).output().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_tainted_node_takes_only_pods_that_tolerate_it() {
    let selector = "node_selector_overwrite_allowed = \".*\"\nnode_tolerations_overwrite_allowed = \".*\"";
    let world = World::builder().kubernetes(&format!("poll_timeout = 5\n{selector}")).start().await;
    let _pipe = world.pipe();
    let ghost = Ghost::appear(&world).await;
    let spec = || {
        let selector = format!("runner-tools.test/ghost={}", ghost.name);
        JobSpec::script(["true"]).variable("KUBERNETES_NODE_SELECTOR_ghost", selector)
    };
    let (_, log) = run(&world, spec()).await;
    assert!(log.contains("had untolerated taint"), "{log}");

    let tolerates = spec().variable("KUBERNETES_NODE_TOLERATIONS_ghost", "runner-tools.test/ghost=yes:NoSchedule");
    let id = world.gitlab.enqueue(tolerates).await.unwrap();
    let on_ghost = |pods: &[serde_json::Value]| pods.iter().any(|pod| pod["spec"]["nodeName"] == ghost.name.as_str());
    tokio::time::timeout(PATIENCE, world.kube.wait_for_pods(on_ghost)).await.expect("the pod is sent there");
    // Nothing runs there, so nobody but the force of the administrator ends the pod.
    let pods = world.kube.real().api::<Pod>();
    pods.delete(&world.kube.only_pod().await, &DeleteParams::default().grace_period(0)).await.unwrap();
    let job = world.finished(id).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_quota_that_is_used_up_is_said_and_the_pipe_goes_on() {
    let world = World::start().await;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let quotas = world.kube.real().api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let known = kube::runtime::wait::await_condition(quotas.clone(), "none", |quota: Option<&ResourceQuota>| {
        quota.is_some_and(|quota| quota.status.as_ref().is_some_and(|status| status.hard.is_some()))
    });
    tokio::time::timeout(PATIENCE, known).await.expect("the quota is in force").unwrap();
    let pipe = world.pipe();
    let (job, log) = run(&world, JobSpec::script(["echo never"])).await;
    assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"), "{log}");
    assert!(log.contains("exceeded quota: none"), "{log}");
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    assert_eq!(run(&world, JobSpec::script(["true"])).await.0.status, JobStatus::Success, "the pipe has gone on");
    world.leaves_nothing(pipe).await;
}

//! Namespaces with rules and with neighbours.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;
use tests::{Tool, World, trace};

/// What a pod must be to be let into a restricted namespace; keys that GitLab Runner has too.
const RESTRICTED: &str = r#"
allow_privilege_escalation = false
cap_drop = ["ALL"]
[runners.kubernetes.pod_security_context]
run_as_non_root = true
run_as_user = 1000
[runners.kubernetes.pod_security_context.seccomp_profile]
type = "RuntimeDefault"
"#;

async fn restrict(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.kube.real().client());
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(world.kube.namespace(), &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_restricted_namespace_takes_pods_of_a_runner_that_is_set_up_for_it() {
    let world = World::builder().kubernetes(RESTRICTED).start().await;
    restrict(&world).await;
    for exec_args in [&[][..], &["--inject", "init-container"]] {
        let pipe = world.pipe_with_exec(exec_args);
        let spec = JobSpec::script(["id -u", "echo made > file"]).after_script(["cat file"]).archive(["file"]);
        let job = world.run(spec).await;
        let log = trace::text(&world.gitlab.trace(job.id));
        assert_eq!(job.status, JobStatus::Success, "{log}");
        assert!(log.contains("\n1000\n") && log.contains("\nmade\n"), "{log}");
        assert!(world.gitlab.artifact(job.id, "archive").unwrap().is_some());
        world.leaves_nothing(pipe).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn a_restricted_namespace_refuses_other_pods_with_the_reason() {
    let world = World::start().await;
    restrict(&world).await;
    let pipe = world.pipe();
    let job = world.run(JobSpec::script(["echo never"])).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    assert_eq!(job.failure_reason.as_deref(), Some("runner_system_failure"), "{log}");
    assert!(log.contains("violates PodSecurity \"restricted:latest\""), "{log}");
    world.leaves_nothing(pipe).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real cluster: scripts/e2e"]
async fn executors_in_one_namespace_leave_each_others_pods_alone() {
    // Also two of one machine, which have one system id: then only their runners' tokens tell them apart.
    for system_id in [None, Some("r_0123456789ab")] {
        neighbours(system_id).await;
    }
}

async fn neighbours(system_id: Option<&str>) {
    let first = World::start().await;
    let second = World::builder().beside(&first).start().await;
    if let Some(id) = system_id {
        std::fs::write(second.path(".runner_system_id"), id).unwrap();
    }
    let (lasting, pipe) = (JobSpec::script(["echo begun", "sleep 8", "echo done"]), first.pipe());
    let id = first.gitlab.enqueue(lasting.clone()).await.unwrap();
    first.log_shows(id, "begun\n").await;
    let mut other = second.pipe();
    let neighbour = second.gitlab.enqueue(lasting).await.unwrap();
    assert_eq!(id, neighbour, "only the runners tell the two jobs apart");
    second.log_shows(neighbour, "begun\n").await;
    // What starts again sweeps what belongs to no job of its own.
    other.signal(Tool::Exec, Signal::KILL);
    other.wait().await;
    let other = second.pipe();
    for world in [&first, &second] {
        let job = world.finished(id).await;
        assert_eq!(job.status, JobStatus::Success, "{}", trace::text(&world.gitlab.trace(id)));
    }
    first.leaves_nothing(pipe).await;
    second.leaves_nothing(other).await;
}

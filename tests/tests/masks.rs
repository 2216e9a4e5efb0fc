//! Secrets stay out of the log, of the cluster's objects and of every program's stderr.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{JobSpec, JobStatus};
use tests::{World, trace};

#[tokio::test(flavor = "multi_thread")]
async fn masked_values_never_appear_also_when_split() {
    let world = World::start().await;
    let pipe = world.pipe();
    let script = [
        "echo value $SECRET end",
        "printf s3cr; sleep 0.3; echo et-value-42",
        "printf 's3cr\\nglpat-abcdefghijk\\n'",
        "echo \"url?private_token=tok-in-url&x=1\"",
    ];
    let job = world.run(JobSpec::script(script).masked("SECRET", "s3cret-value-42")).await;
    assert_eq!(job.status, JobStatus::Success);
    let log = trace::text(&world.gitlab.trace(job.id));
    for shown in ["value [MASKED] end", "\n[MASKED]\n", "\ns3cr\n", "glpat-[MASKED]", "private_token=[MASKED]&x=1"] {
        assert!(log.contains(shown), "{shown:?} is missing in\n{log}");
    }
    pipe.drain().await;
    let everything = [log, world.report().printed(".stderr")].concat();
    for secret in ["s3cret-value-42", "glpat-abcdefghijk"] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_a_pod_or_on_a_command_line() {
    let world = World::start().await;
    let pipe = world.pipe();
    let spec = JobSpec::script([
        "echo begun; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' > cmdlines || true",
        "sleep 0.5",
    ]);
    let id = world.gitlab.enqueue(spec.masked("SECRET", "s3cret-value-42")).await.unwrap();
    world.log_shows(id, "begun").await;
    let token = world.gitlab.payload(id).unwrap()["token"].as_str().unwrap().to_owned();
    let pods = format!("{:?}", world.kube.pods().await);
    let mut lines = String::new();
    for tool in [tests::Tool::Poll, tests::Tool::Exec, tests::Tool::Trace] {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{}/{file}", pipe.pid(tool))).unwrap();
            lines.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    for secret in [token.as_str(), "s3cret-value-42", world.gitlab.runner_token()] {
        assert!(!pods.contains(secret), "a secret is in the pod");
        assert!(!lines.contains(secret), "a secret is on a command line or in an environment");
    }
    assert_eq!(world.finished(id).await.status, JobStatus::Success);
    pipe.drain().await;
    let stderr = world.report().printed(".stderr");
    for secret in [token.as_str(), world.gitlab.runner_token()] {
        assert!(!stderr.contains(secret), "a secret is on stderr");
    }
}

//! What cannot work is said in one line, with the right exit code, and loses nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fake_gitlab::{Fault, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{Pod, Secret};
use rustix::process::Signal;
use serde_json::json;
use tests::{Finished, Tool, World, run_with_input, trace};

/// Runs a tool to its end with an empty standard input.
fn run(world: &World, tool: &str, args: &[&str]) -> Finished {
    run_with_input(world.command(tool).env("LOG_LEVEL", "info").args(args), "")
}

/// Its stderr is exactly one line that begins with the tool's name and holds all of `parts`.
#[track_caller]
fn says(done: &Finished, tool: &str, parts: &[&str]) {
    let lines: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with(&format!("{tool}: "))).collect();
    assert_eq!(lines.len(), 1, "{}", done.stderr);
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is missing in {:?}", lines[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_cannot_work_names_file_and_place() {
    let world = World::start().await;
    let kubernetes = "executor = \"kubernetes\"\nurl = \"http://127.0.0.1:1\"\ntoken = \"glrt-secret\"\n";
    for (config, parts) in [
        ("concurrent = 1\n[[runners]\ntoken = glrt-secret\n", &["config.toml", "2"][..]),
        ("concurrent = \"many\"\n", &["config.toml", "concurrent"]),
        ("[[runners]]\nlimit = \"x\"\n", &["config.toml", "limit"]),
        ("concurrent = 1\n", &["config.toml", "runners"]),
        ("concurrent = 0\n[[runners]]\nname = \"a\"\n", &["config.toml", "concurrent"]),
        ("[[runners]]\nname = \"a\"\nexecutor = \"docker\"\ntoken = \"glrt-secret\"\n", &["config.toml", "docker"]),
        (&format!("[[runners]]\n{}", kubernetes.replace("http://127.0.0.1:1", "no url")), &["config.toml", "url"]),
    ] {
        world.write_config(config);
        let done = run(&world, "runner-poll", &[]).expect(78);
        says(&done, "runner-poll", parts);
        assert!(!done.stderr.contains("glrt-secret"), "{}", done.stderr);
    }
    std::fs::remove_file(world.config()).unwrap();
    says(&run(&world, "runner-poll", &[]).expect(78), "runner-poll", &["config.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_cannot_be_used_is_named() {
    let world = World::start().await;
    std::fs::write(world.state(), "a file").unwrap();
    says(&run(&world, "runner-poll", &[]).expect(74), "runner-poll", &["state"]);
    std::fs::remove_file(world.state()).unwrap();
    let pipe = world.pipe();
    world.run(JobSpec::script(["true"])).await;
    says(&run(&world, "runner-poll", &[]).expect(74), "runner-poll", &["state", "another runner-poll"]);
    pipe.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_with_2_and_help_with_0() {
    let world = World::start().await;
    for tool in ["runner-poll", "runner-exec-k8s", "runner-trace", "runner-register"] {
        run(&world, tool, &["--no-such-flag"]).expect(2);
        let help = run(&world, tool, &["--help"]).expect(0);
        assert!(help.stdout.contains("Usage:"), "{}", help.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_in_trouble_is_asked_on_and_no_job_is_lost() {
    for trouble in [
        Fault::on("POST", "/api/v4/jobs/request").times(2).status(500),
        Fault::on("POST", "/api/v4/jobs/request")
            .times(1)
            .status(201)
            .header("content-type", "text/html")
            .body("<html>"),
        Fault::on("POST", "/api/v4/jobs/request").times(1).cut(fake_gitlab::Cut::Before),
        Fault::on("POST", "/api/v4/jobs/request").times(1).status(403),
    ] {
        let world = World::start().await;
        world.gitlab.inject(trouble);
        let _pipe = world.pipe();
        assert_eq!(world.run(JobSpec::script(["true"])).await.status, JobStatus::Success);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_missing_ends_the_pipe_and_keeps_the_job() {
    let world = World::start().await;
    let kubeconfig = world.path("kubeconfig");
    let aside = world.path("kubeconfig.aside");
    std::fs::rename(&kubeconfig, &aside).unwrap();
    let id = world.gitlab.enqueue(JobSpec::script(["echo hello"])).await.unwrap();
    let mut pipe = world.pipe();
    let codes = pipe.wait().await;
    assert_eq!(codes[1], 78, "{codes:?}");
    let said = world.report().printed("runner-exec-k8s.stderr");
    assert!(said.contains("runner-exec-k8s: kubeconfig"), "{said}");
    assert!(world.job_folder(id).is_dir(), "the job is kept");
    std::fs::rename(&aside, &kubeconfig).unwrap();
    let _pipe = world.pipe();
    assert_eq!(world.finished(id).await.status, JobStatus::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_refuses_us_ends_the_pipe_and_keeps_the_job() {
    let world = World::start().await;
    let kubeconfig = std::fs::read_to_string(world.path("kubeconfig")).unwrap();
    std::fs::write(world.path("kubeconfig"), kubeconfig.replace(world.kube.token(), "wrong")).unwrap();
    let id = world.gitlab.enqueue(JobSpec::script(["echo hello"])).await.unwrap();
    let mut pipe = world.pipe();
    let codes = pipe.wait().await;
    assert_eq!(codes[1], 77, "{codes:?}");
    std::fs::write(world.path("kubeconfig"), kubeconfig).unwrap();
    let _pipe = world.pipe();
    assert_eq!(world.finished(id).await.status, JobStatus::Success);
}

/// By the programs' own account: it may make what it may make anywhere in its namespace.
async fn api<K>(world: &World) -> kube::Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let file = kube::config::Kubeconfig::read_from(world.path("kubeconfig")).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.unwrap();
    kube::Api::namespaced(kube::Client::try_from(config).unwrap(), world.kube.namespace())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_somebody_else_has_taken_are_said_and_left_alone() {
    let world = World::start().await;
    let _pipe = world.pipe();
    let job = world.run(JobSpec::script(["true"])).await;
    let log = trace::text(&world.gitlab.trace(job.id));
    let name = log.split("Running on ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let name = |number: u64| name.replace("job-1", &format!("job-{number}"));

    let secret = json!({"metadata": {"name": name(2)}, "stringData": {"job.json": "of somebody else"}});
    let pod = json!({"metadata": {"name": name(3)}, "spec": {
        "containers": [{"name": "x", "image": tests::BUILD_IMAGE, "command": ["sleep", "600"]}],
    }});
    let params = kube::api::PostParams::default();
    let (secrets, pods) = (api::<Secret>(&world).await, api::<Pod>(&world).await);
    secrets.create(&params, &serde_json::from_value(secret).unwrap()).await.unwrap();
    pods.create(&params, &serde_json::from_value(pod).unwrap()).await.unwrap();
    for (kind, id) in [("secret", 2), ("pod", 3)] {
        let job = world.run(JobSpec::script(["echo never"])).await;
        assert_eq!((job.id, job.failure_reason.as_deref()), (id, Some("runner_system_failure")));
        let log = trace::text(&world.gitlab.trace(id));
        let expected = format!("{kind} \"{}\" exists already and belongs to something else", name(id));
        assert!(log.contains(&expected), "{log}");
    }
    assert!(world.kube.secrets().await.iter().any(|secret| secret["metadata"]["name"] == name(2).as_str()));
    assert!(pods.get(&name(3)).await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_runner_takes_jobs() {
    let world = World::start().await;
    std::fs::remove_file(world.config()).unwrap();
    let token = world.gitlab.runner_token().to_owned();
    let mut register = world.command("runner-register");
    register.env("CI_SERVER_TOKEN", &token).args(["--non-interactive", "--url", world.gitlab.url(), "--name", "mine"]);
    register
        .args(["--executor", "kubernetes", "--kubernetes-image", tests::BUILD_IMAGE])
        .args(["--kubernetes-namespace", world.kube.namespace()]);
    let done = run_with_input(&mut register, "").expect(0);
    assert!(!(done.stdout + &done.stderr).contains(&token));
    let pipe = world.pipe();
    assert_eq!(world.run(JobSpec::script(["true"])).await.status, JobStatus::Success);
    pipe.signal(Tool::Poll, Signal::QUIT);
}

//! The two containers every pod has: the helper, which drives the job, and the build container, which runs its scripts.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ExecAction, HTTPGetAction, HTTPHeader, Lifecycle, LifecycleHandler, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use runner_core::config::Kubernetes;
use runner_core::config::kubernetes as config;
use runner_core::control;
use serde_json::Value;

use super::resources::Owner;
use super::volumes::{self, Role};
use super::{Draft, Note, Refusal, security};
use crate::cli::Inject;

/// Name of the container whose log is the job's.
pub(crate) const HELPER: &str = "helper";
/// Name of the init container that puts the helper's program into the shared folder.
pub(crate) const INSTALL: &str = "install";
/// Name of the container that runs the user's scripts.
pub(crate) const BUILD: &str = "build";

/// `runner-helper drive` with the places of everything.
pub(super) fn helper(draft: &Draft<'_>, image: String, notes: &mut Vec<Note>) -> Result<Container, Refusal> {
    let own = draft.config.helper_container_security_context.as_ref();
    let job = format!("{}/{}", volumes::JOB, control::SECRET_JOB_KEY);
    let annotations = format!("{}/{}", volumes::CONTROL, control::ANNOTATIONS_FILE);
    let args = [
        ("--job", job.as_str()),
        ("--annotations", &annotations),
        ("--share", volumes::SHARE),
        ("--spool", volumes::SPOOL),
        ("--builds-dir", &draft.builds_dir),
        ("--cache-dir", &draft.cache_dir),
        ("--termination-log", "/dev/termination-log"),
        ("--via", draft.input.via),
    ];
    Ok(Container {
        command: Some(vec!["runner-helper".to_owned(), "drive".to_owned()]),
        args: Some(args.iter().flat_map(|(flag, value)| [(*flag).to_owned(), literal(value)]).collect()),
        resources: draft.resources.of(Owner::Helper),
        security_context: Some(security::container_context(draft.config, HELPER, own, "", notes)?),
        ..frame(draft, HELPER, image, Role::Helper)
    })
}

/// `runner-helper install` as the helper's user, for a build container whose image has no `sh` to wait for the program.
pub(super) fn install(draft: &Draft<'_>, image: String, notes: &mut Vec<Note>) -> Result<Container, Refusal> {
    let own = draft.config.helper_container_security_context.as_ref();
    let to = format!("{}/runner-helper", volumes::SHARE);
    Ok(Container {
        command: Some(["runner-helper", "install", "--to", &to].map(str::to_owned).to_vec()),
        resources: draft.resources.of(Owner::Helper),
        security_context: Some(security::container_context(draft.config, INSTALL, own, "", notes)?),
        lifecycle: None,
        ..frame(draft, INSTALL, image, Role::Install)
    })
}

/// The image's own shell, which becomes `runner-helper serve` as soon as the helper has put its binary into the shared folder.
///
/// It has no environment from us: variables travel with the job, so that a pod can be made before its job is known.
pub(super) fn build(draft: &Draft<'_>, image: String, notes: &mut Vec<Note>) -> Result<Container, Refusal> {
    let wanted = draft.input.payload.image.as_ref();
    let own = draft.config.build_container_security_context.as_ref();
    let user = wanted.map(|image| job_user(draft, &image.executor_opts)).unwrap_or_default();
    let start = match draft.input.args.inject {
        Inject::Shell => vec!["sh".to_owned(), "-c".to_owned(), wait_and_serve()],
        Inject::InitContainer => serve(),
    };
    // An image with a wrapper as its entrypoint gets that as the wrapper's arguments; `[""]` is how jobs take it away.
    let (command, args) = match wanted.map(|image| image.entrypoint.as_slice()) {
        _ if !draft.input.flags.is_on("FF_KUBERNETES_HONOR_ENTRYPOINT") => (Some(start), None),
        Some([only]) if only.is_empty() => (Some(start), None),
        None | Some([]) => (None, Some(start)),
        Some(entrypoint) => (Some(entrypoint.to_vec()), Some(start)),
    };
    Ok(Container {
        command,
        args,
        ports: wanted.and_then(|image| ports(&image.ports)),
        resources: draft.resources.of(Owner::Build),
        security_context: Some(security::container_context(draft.config, BUILD, own, &user, notes)?),
        ..frame(draft, BUILD, image, Role::Build)
    })
}

/// The script for the build container. The binary appears there by a rename, so it is whole once it is executable. There is no
/// event a bare `sh` could wait for; it takes a moment only. The trap ends a container that never got its binary at once.
fn wait_and_serve() -> String {
    let share = volumes::SHARE;
    format!(
        "trap 'exit 143' TERM; while [ ! -x {share}/runner-helper ]; do sleep 0.05 2>/dev/null || sleep 1; done; exec {}",
        serve().join(" ")
    )
}

/// What the build container runs in the end.
fn serve() -> Vec<String> {
    let program = format!("{}/runner-helper", volumes::SHARE);
    vec![program, "serve".to_owned(), "--share".to_owned(), volumes::SHARE.to_owned()]
}

/// What all containers have in common.
pub(super) fn frame(draft: &Draft<'_>, name: &str, image: String, role: Role) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image),
        image_pull_policy: draft.pull.chosen(draft.input.policies, name).map(str::to_owned),
        volume_mounts: Some(draft.volumes.mounts(role)),
        lifecycle: lifecycle(draft.config),
        ..Container::default()
    }
}

/// `executor_opts.kubernetes.user`, a text or a number; expanded.
pub(super) fn job_user(draft: &Draft<'_>, options: &Value) -> String {
    match &options["kubernetes"]["user"] {
        Value::String(text) => draft.input.variables.expand(text),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The ports a job declares, `{"number": 80, …}` each.
pub(super) fn ports(declared: &[Value]) -> Option<Vec<ContainerPort>> {
    let numbers = declared.iter().filter_map(|port| i32::try_from(port["number"].as_i64()?).ok());
    let ports: Vec<_> =
        numbers.map(|container_port| ContainerPort { container_port, ..ContainerPort::default() }).collect();
    (!ports.is_empty()).then_some(ports)
}

/// A text that Kubernetes leaves alone: it expands `$(NAME)` in commands, arguments and values, and `$$` is a `$`.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn lifecycle(config: &Kubernetes) -> Option<Lifecycle> {
    let wanted = config.container_lifecycle.as_ref()?;
    let hook = |wanted: &Option<config::LifecycleHandler>| wanted.as_ref().map(handler);
    Some(Lifecycle { post_start: hook(&wanted.post_start), pre_stop: hook(&wanted.pre_stop), stop_signal: None })
}

/// All that is set is handed on: the API server says best what is wrong with two handlers in one hook.
fn handler(wanted: &config::LifecycleHandler) -> LifecycleHandler {
    let set = |text: &String| (!text.is_empty()).then(|| text.clone());
    let header = |header: &config::HttpHeader| HTTPHeader { name: header.name.clone(), value: header.value.clone() };
    LifecycleHandler {
        exec: wanted.exec.as_ref().map(|exec| ExecAction { command: Some(exec.command.clone()) }),
        http_get: wanted.http_get.as_ref().map(|get| HTTPGetAction {
            host: set(&get.host),
            port: IntOrString::Int(get.port.into()),
            path: set(&get.path),
            scheme: set(&get.scheme),
            http_headers: (!get.http_headers.is_empty()).then(|| get.http_headers.iter().map(header).collect()),
            protocol: None,
        }),
        tcp_socket: wanted
            .tcp_socket
            .as_ref()
            .map(|socket| TCPSocketAction { host: set(&socket.host), port: IntOrString::Int(socket.port.into()) }),
        sleep: None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use serde_json::json;

    use super::super::tests::Fixture;
    use super::*;

    #[test]
    fn the_build_container_runs_our_shell_or_gives_it_to_the_entrypoint() {
        let shell = json!(["sh", "-c", wait_and_serve()]);
        let honor = json!([{"key": "FF_KUBERNETES_HONOR_ENTRYPOINT", "value": "true"}]);
        for (variables, entrypoint, command, args) in [
            (json!([]), json!(["/entry"]), shell.clone(), json!(null)),
            (honor.clone(), json!([]), json!(null), shell.clone()),
            (honor.clone(), json!([""]), shell.clone(), json!(null)),
            (honor, json!(["/entry", "x"]), json!(["/entry", "x"]), shell.clone()),
        ] {
            let payload = json!({"variables": variables, "image": {"name": "a", "entrypoint": entrypoint}});
            let build = Fixture::new(payload, json!({})).plan().container(BUILD);
            assert_eq!((json!(build.command), json!(build.args)), (command, args));
        }
    }

    #[test]
    fn an_init_container_brings_the_program_where_that_is_asked_for() {
        let mut fixture = Fixture::new(json!({}), json!({"allow_privilege_escalation": false}));
        assert_eq!(fixture.plan().pod.spec.unwrap().init_containers, None);
        fixture.args.inject = Inject::InitContainer;
        let plan = fixture.plan();
        let program = format!("{}/runner-helper", volumes::SHARE);
        assert_eq!(plan.container(BUILD).command.unwrap(), [&program, "serve", "--share", volumes::SHARE]);
        let install = json!(plan.pod.spec.unwrap().init_containers.unwrap());
        assert_eq!(install[0]["command"], json!(["runner-helper", "install", "--to", program]));
        assert_eq!(install[0]["image"], super::super::images::DEFAULT_HELPER_IMAGE);
        assert_eq!(install[0]["securityContext"]["allowPrivilegeEscalation"], false);
        assert!(install[0]["volumeMounts"].as_array().unwrap().iter().all(|mount| mount["mountPath"] != volumes::JOB));
    }

    #[test]
    fn the_script_of_the_build_container_ends_on_term_and_becomes_serve() {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().to_str().unwrap();
        let script = wait_and_serve().replace(volumes::SHARE, share);
        let run = |script: &str| {
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()
        };

        let mut waiting = run(&script.replace("TERM; ", "TERM; echo up; ")).unwrap();
        let mut up = [0; 3];
        waiting.stdout.take().unwrap().read_exact(&mut up).unwrap();
        let pid = rustix::process::Pid::from_child(&waiting);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(waiting.wait().unwrap().code(), Some(143));

        let waiting = run(&script).unwrap();
        let (temporary, binary) = (dir.path().join("new"), dir.path().join("runner-helper"));
        std::fs::write(&temporary, "#!/bin/sh\necho \"$@\"\n").unwrap();
        std::fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(&temporary, &binary).unwrap();
        let output = waiting.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("serve --share {share}\n"));
    }

    #[test]
    fn hooks_user_and_resources_reach_their_containers() {
        let config = json!({
            "container_lifecycle": {
                "post_start": {"exec": {"command": ["touch", "/x"]}},
                "pre_stop": {"http_get": {"port": 80, "path": "/stop", "http_headers": [{"name": "A", "value": "b"}]},
                             "tcp_socket": {"host": "h", "port": 81}},
            },
            "helper_memory_limit": "128Mi", "cpu_limit": "2",
        });
        let payload = json!({"image": {"name": "a", "executor_opts": {"kubernetes": {"user": 1002}}, "ports": [{"number": 8080}]}});
        let plan = Fixture::new(payload, config).plan();
        let hooks = json!({
            "postStart": {"exec": {"command": ["touch", "/x"]}},
            "preStop": {"httpGet": {"port": 80, "path": "/stop", "httpHeaders": [{"name": "A", "value": "b"}]},
                        "tcpSocket": {"host": "h", "port": 81}},
        });
        let (helper, build) = (json!(plan.container(HELPER)), json!(plan.container(BUILD)));
        assert_eq!((&helper["lifecycle"], &build["lifecycle"]), (&hooks, &hooks));
        assert_eq!(helper["resources"], json!({"limits": {"memory": "128Mi"}}));
        assert_eq!(build["resources"], json!({"limits": {"cpu": "2"}}));
        assert_eq!(
            (&helper["securityContext"]["runAsUser"], &build["securityContext"]["runAsUser"]),
            (&json!(null), &json!(1002))
        );
        assert_eq!(build["ports"], json!([{"containerPort": 8080}]));
    }
}

//! Security contexts of the pod and its containers, and the user a job asks for.
//!
//! A setting that cannot be applied is refused; the job never runs with less protection than was asked for. Source: GitLab
//! Runner's Kubernetes executor, "security contexts".

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};
use runner_core::config::Kubernetes;
use runner_core::config::kubernetes::{ContainerSecurityContext, SecurityProfile};

use super::{Note, Refusal};

/// Containers lose this capability unless the configuration adds it.
const DROPPED: &str = "NET_RAW";

/// The pod's context, if there is one.
pub(super) fn pod_context(config: &Kubernetes) -> Result<Option<PodSecurityContext>, Refusal> {
    let Some(wanted) = &config.pod_security_context else { return Ok(None) };
    let groups = &wanted.supplemental_groups;
    Ok(Some(PodSecurityContext {
        fs_group: wanted.fs_group,
        run_as_group: wanted.run_as_group,
        run_as_non_root: wanted.run_as_non_root,
        run_as_user: wanted.run_as_user,
        supplemental_groups: (!groups.is_empty()).then(|| groups.clone()),
        se_linux_options: selinux(&wanted.selinux_type),
        seccomp_profile: seccomp("pod", wanted.seccomp_profile.as_ref())?,
        app_armor_profile: app_armor("pod", wanted.app_armor_profile.as_ref())?,
        ..PodSecurityContext::default()
    }))
}

/// The context of `container`. `wanted` is its section of the configuration, `user` what the job asks for: empty, `uid` or
/// `uid:gid`, expanded.
pub(super) fn container_context(
    config: &Kubernetes,
    container: &str,
    wanted: Option<&ContainerSecurityContext>,
    user: &str,
    notes: &mut Vec<Note>,
) -> Result<SecurityContext, Refusal> {
    let none = ContainerSecurityContext::default();
    let wanted = wanted.unwrap_or(&none);
    let pod = config.pod_security_context.as_ref();
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    let mut own = |id: &str, what, set: Option<i64>, of_pod: Option<i64>, allowed: &[String]| {
        own_id(container, id, what, set, of_pod, allowed, notes)
    };
    let run_as_user = own(uid, "user", wanted.run_as_user, pod.and_then(|pod| pod.run_as_user), &config.allowed_users)?;
    let run_as_group =
        own(gid, "group", wanted.run_as_group, pod.and_then(|pod| pod.run_as_group), &config.allowed_groups)?;
    Ok(SecurityContext {
        allow_privilege_escalation: wanted.allow_privilege_escalation.or(config.allow_privilege_escalation),
        app_armor_profile: app_armor(container, wanted.app_armor_profile.as_ref())?,
        capabilities: capabilities(config, wanted),
        privileged: wanted.privileged.or(config.privileged),
        proc_mount: proc_mount(container, &wanted.proc_mount)?,
        read_only_root_filesystem: wanted.read_only_root_filesystem,
        run_as_group,
        run_as_non_root: wanted.run_as_non_root,
        run_as_user,
        se_linux_options: selinux(&wanted.selinux_type),
        seccomp_profile: seccomp(container, wanted.seccomp_profile.as_ref())?,
        windows_options: None,
    })
}

/// The container's id: of its section; else the pod's, by leaving it out; else the job's, if it may have it.
fn own_id(
    container: &str,
    wanted: &str,
    what: &str,
    set: Option<i64>,
    of_pod: Option<i64>,
    allowed: &[String],
    notes: &mut Vec<Note>,
) -> Result<Option<i64>, Refusal> {
    if wanted.is_empty() {
        return Ok(set);
    }
    if let Some(id) = set.or(of_pod) {
        let line = format!(
            "container {container:?} runs as {what} {id} of the runner's configuration, not as {wanted} of the job"
        );
        notes.push(Note::Plain(line));
        return Ok(set);
    }
    let refuse = |why: &str| {
        Err(Refusal::configuration(format!("the job asks for {what} {wanted:?} in container {container:?}: {why}")))
    };
    let Some(id) = number(wanted) else { return refuse("that is not a number from 0 on") };
    let is_listed = allowed.iter().any(|text| number(text.trim()) == Some(id));
    match (allowed, id) {
        _ if is_listed => Ok(Some(id)),
        (_, 0) => refuse(&format!("root needs an entry in allowed_{what}s")),
        ([], _) => Ok(Some(id)),
        _ => refuse(&format!("allowed_{what}s are {}", allowed.join(", "))),
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|id| *id >= 0)
}

/// Default drop < added < dropped; a container's own list stands in place of the general one.
fn capabilities(config: &Kubernetes, wanted: &ContainerSecurityContext) -> Option<Capabilities> {
    let own = wanted.capabilities.as_ref();
    let list = |own: Option<&Vec<String>>, general: &[String]| -> BTreeSet<String> {
        let list = own.filter(|list| !list.is_empty()).map_or(general, Vec::as_slice);
        list.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name).to_owned()).collect()
    };
    let mut add = list(own.map(|own| &own.add), &config.cap_add);
    let mut drop = list(own.map(|own| &own.drop), &config.cap_drop);
    add.retain(|name| !drop.contains(name));
    if !add.contains(DROPPED) {
        drop.insert(DROPPED.to_owned());
    }
    let set = |names: BTreeSet<String>| (!names.is_empty()).then(|| names.into_iter().collect());
    Some(Capabilities { add: set(add), drop: set(drop) })
}

fn selinux(kind: &str) -> Option<SELinuxOptions> {
    (!kind.is_empty()).then(|| SELinuxOptions { type_: Some(kind.to_owned()), ..SELinuxOptions::default() })
}

fn seccomp(owner: &str, wanted: Option<&SecurityProfile>) -> Result<Option<SeccompProfile>, Refusal> {
    let Some((type_, localhost_profile)) = profile(owner, "seccomp", wanted)? else { return Ok(None) };
    Ok(Some(SeccompProfile { type_, localhost_profile }))
}

fn app_armor(owner: &str, wanted: Option<&SecurityProfile>) -> Result<Option<AppArmorProfile>, Refusal> {
    let Some((type_, localhost_profile)) = profile(owner, "AppArmor", wanted)? else { return Ok(None) };
    Ok(Some(AppArmorProfile { type_, localhost_profile }))
}

/// Type and profile on the node.
fn profile(
    owner: &str,
    what: &str,
    wanted: Option<&SecurityProfile>,
) -> Result<Option<(String, Option<String>)>, Refusal> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.kind.is_empty() || !wanted.localhost_profile.is_empty()) else {
        return Ok(None);
    };
    let refuse = |why: String| Err(Refusal::configuration(format!("{what} profile of {owner}: {why}")));
    match (&*wanted.kind, &*wanted.localhost_profile) {
        ("Localhost", "") => refuse("type Localhost needs localhost_profile".to_owned()),
        ("Localhost", path) => Ok(Some((wanted.kind.clone(), Some(path.to_owned())))),
        ("RuntimeDefault" | "Unconfined", "") => Ok(Some((wanted.kind.clone(), None))),
        ("RuntimeDefault" | "Unconfined", _) => refuse(format!("type {} takes no localhost_profile", wanted.kind)),
        (kind, _) => refuse(format!("type {kind:?} is none of RuntimeDefault, Localhost and Unconfined")),
    }
}

fn proc_mount(container: &str, text: &str) -> Result<Option<String>, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "default" => Ok(Some("Default".to_owned())),
        "unmasked" => Ok(Some("Unmasked".to_owned())),
        _ => {
            let message = format!("proc_mount of container {container:?}: {text:?} is neither default nor unmasked");
            Err(Refusal::configuration(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn context(config: Value, user: &str) -> (Result<Value, String>, Vec<Note>) {
        let config: Kubernetes = serde_json::from_value(config).unwrap();
        let mut notes = Vec::new();
        let own = config.build_container_security_context.as_ref();
        let made = container_context(&config, "build", own, user, &mut notes);
        (made.map(|made| json!(made)).map_err(|refusal| refusal.message), notes)
    }

    #[test]
    fn a_containers_section_beats_the_general_keys() {
        let config = json!({
            "privileged": true, "allow_privilege_escalation": true, "cap_add": ["NET_ADMIN"],
            "build_container_security_context": {
                "privileged": false, "run_as_user": 1000, "run_as_group": 2000, "run_as_non_root": true,
                "read_only_root_filesystem": true, "selinux_type": "spc_t", "proc_mount": "UNMASKED",
                "seccomp_profile": {"type": "RuntimeDefault"},
                "app_armor_profile": {"type": "Localhost", "localhost_profile": "ci"},
            },
        });
        assert_eq!(
            context(config, "").0.unwrap(),
            json!({
                "privileged": false, "allowPrivilegeEscalation": true, "runAsUser": 1000, "runAsGroup": 2000,
                "runAsNonRoot": true, "readOnlyRootFilesystem": true, "seLinuxOptions": {"type": "spc_t"},
                "procMount": "Unmasked", "seccompProfile": {"type": "RuntimeDefault"},
                "appArmorProfile": {"type": "Localhost", "localhostProfile": "ci"},
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["NET_RAW"]},
            })
        );
    }

    #[test]
    fn capabilities_default_to_dropping_net_raw() {
        for (config, expected) in [
            (json!({}), json!({"drop": ["NET_RAW"]})),
            (json!({"cap_add": ["CAP_NET_RAW"]}), json!({"add": ["NET_RAW"]})),
            (
                json!({"cap_add": ["A", "B"], "cap_drop": ["B", "C"]}),
                json!({"add": ["A"], "drop": ["B", "C", "NET_RAW"]}),
            ),
            (json!({"cap_drop": ["ALL"]}), json!({"drop": ["ALL", "NET_RAW"]})),
            (
                json!({"cap_add": ["A"], "cap_drop": ["B"], "build_container_security_context": {"capabilities": {"add": ["X"]}}}),
                json!({"add": ["X"], "drop": ["B", "NET_RAW"]}),
            ),
        ] {
            assert_eq!(context(config, "").0.unwrap()["capabilities"], expected);
        }
    }

    #[test]
    fn a_job_may_choose_its_user_within_what_is_allowed() {
        for (config, user, ids) in [
            (json!({}), "1002", Ok((json!(1002), json!(null)))),
            (json!({}), "1002:1003", Ok((json!(1002), json!(1003)))),
            (json!({}), "0", Err("user \"0\" in container \"build\": root needs an entry in allowed_users")),
            (json!({"allowed_users": ["0"]}), "0", Ok((json!(0), json!(null)))),
            (json!({"allowed_users": ["1002"]}), "1002", Ok((json!(1002), json!(null)))),
            (json!({"allowed_users": ["1002"]}), "1003", Err("allowed_users are 1002")),
            (json!({"allowed_users": ["65534", "0"]}), "0:0", Err("group \"0\" in container")),
            (json!({}), "-1", Err("not a number from 0 on")),
            (json!({}), "root", Err("not a number from 0 on")),
            (json!({"pod_security_context": {"run_as_user": 7}}), "1002", Ok((json!(null), json!(null)))),
            (json!({"build_container_security_context": {"run_as_user": 1003}}), "0:5", Ok((json!(1003), json!(5)))),
        ] {
            let (made, notes) = context(config, user);
            match (made, ids) {
                (Ok(made), Ok((uid, gid))) => {
                    assert_eq!((&made["runAsUser"], &made["runAsGroup"]), (&uid, &gid), "{user}");
                    assert_eq!(notes.is_empty(), uid == json!(user.split(':').next().unwrap().parse::<i64>().unwrap()));
                }
                (Err(message), Err(expected)) => assert!(message.contains(expected), "{message}"),
                (made, _) => panic!("{user}: {made:?}"),
            }
        }
    }

    #[test]
    fn a_profile_that_cannot_be_applied_is_refused() {
        for (section, message) in [
            (json!({"seccomp_profile": {"type": "localhost"}}), "\"localhost\" is none of"),
            (json!({"seccomp_profile": {"type": "Localhost"}}), "needs localhost_profile"),
            (
                json!({"app_armor_profile": {"type": "Unconfined", "localhost_profile": "x"}}),
                "takes no localhost_profile",
            ),
            (json!({"proc_mount": "all"}), "neither default nor unmasked"),
        ] {
            let refusal = context(json!({"build_container_security_context": section}), "").0.unwrap_err();
            assert!(refusal.contains(message), "{refusal}");
        }
    }

    #[test]
    fn the_pods_context_is_taken_over() {
        let config = |section: Value| serde_json::from_value(json!({"pod_security_context": section})).unwrap();
        let made = pod_context(&config(json!({
            "fs_group": 1, "run_as_group": 2, "run_as_non_root": true, "run_as_user": 3, "supplemental_groups": [4],
            "selinux_type": "t", "seccomp_profile": {"type": "Unconfined"},
        })));
        let expected = json!({
            "fsGroup": 1, "runAsGroup": 2, "runAsNonRoot": true, "runAsUser": 3, "supplementalGroups": [4],
            "seLinuxOptions": {"type": "t"}, "seccompProfile": {"type": "Unconfined"},
        });
        assert_eq!(json!(made.unwrap().unwrap()), expected);
        assert!(pod_context(&config(json!({"seccomp_profile": {"type": "x"}}))).is_err());
        assert_eq!(pod_context(&Kubernetes::default()).unwrap(), None);
    }
}

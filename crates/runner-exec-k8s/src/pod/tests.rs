//! The plan as a whole, and the input that all tests of its parts start from.

use k8s_openapi::api::core::v1::Container;
use runner_core::control;
use runner_core::job::RunnerRef;
use runner_core::text;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

/// A job and a runner, with what a test says about them.
pub(super) struct Fixture {
    pub(super) line: JobLine,
    payload: Payload,
    kubernetes: Value,
    pub(super) table: Value,
    pub(super) features: Value,
    pub(super) files: Files,
    pub(super) attempt: u32,
    pub(super) replay: Option<String>,
    pub(super) args: crate::cli::PodArgs,
    pub(super) choice: PullChoice,
    parts: std::cell::OnceCell<(Runner, Variables, Flags)>,
}

impl Fixture {
    /// `payload` and `kubernetes` are merged over the simplest job of project 7 and over `namespace = "ci"`.
    pub(super) fn new(payload: Value, kubernetes: Value) -> Self {
        let mut whole = json!({
            "id": 42, "token": "glcbt-token", "job_info": {"project_id": 7, "name": "test"}, "image": {"name": "alpine:3"},
        });
        json_patch::merge(&mut whole, &payload);
        let mut config = json!({"namespace": "ci"});
        json_patch::merge(&mut config, &kubernetes);
        let raw = RawValue::from_string(whole.to_string()).unwrap();
        let payload = Payload::parse(&raw).unwrap();
        let runner = RunnerRef {
            name: "k8s".into(),
            url: "https://gitlab.example.com/".into(),
            short_token: "abc123XYZ".into(),
            system_id: "s_system".into(),
            id: None,
            tls: runner_core::job::Tls::default(),
            concurrent_id: 0,
            concurrent_project_id: 0,
            correlation_id: String::new(),
            config: Value::Null,
        };
        Self {
            line: JobLine::new(payload.id, runner, raw),
            payload,
            kubernetes: config,
            table: json!({}),
            features: json!({}),
            files: Files::default(),
            attempt: 0,
            replay: None,
            args: crate::cli::PodArgs::default(),
            choice: PullChoice::default(),
            parts: std::cell::OnceCell::new(),
        }
    }

    pub(super) fn runner(&self) -> Runner {
        let mut table = json!({"kubernetes": self.kubernetes, "feature_flags": self.features});
        json_patch::merge(&mut table, &self.table);
        Runner::from_line_config(&table).unwrap()
    }

    pub(super) fn flags(&self) -> Flags {
        Flags::resolve(&self.runner().feature_flags, &self.payload.variables)
    }

    /// Fixes what was said so far.
    pub(super) fn input(&self) -> PodInput<'_> {
        let parts = || (self.runner(), Variables::new(self.payload.variables.clone(), "/builds/p.tmp"), self.flags());
        let (runner, variables, flags) = self.parts.get_or_init(parts);
        PodInput {
            line: &self.line,
            payload: &self.payload,
            runner,
            variables,
            flags,
            owner: "s_owner",
            attempt: self.attempt,
            replay: self.replay.as_deref(),
            policies: &self.choice,
            via: "exec-host",
            args: &self.args,
            files: &self.files,
        }
    }

    pub(super) fn try_plan(&self) -> Result<PodPlan, Refusal> {
        plan(&self.input())
    }

    pub(super) fn plan(&self) -> PodPlan {
        self.try_plan().unwrap()
    }
}

impl PodPlan {
    pub(super) fn container(&self, name: &str) -> Container {
        let containers = &self.pod.spec.as_ref().unwrap().containers;
        containers.iter().find(|container| container.name == name).unwrap().clone()
    }
}

#[test]
fn the_default_pod() {
    let mut fixture = Fixture::new(json!({"runner_info": {"timeout": 3600}}), json!({"pull_policy": "if-not-present"}));
    fixture.args.helper_image = Some("helper:1".to_owned());
    let plan = fixture.plan();
    let spec = json!(plan.pod.spec);
    let security = json!({"capabilities": {"drop": ["NET_RAW"]}});
    let expected = json!({
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 7200,
        "containers": [
            {
                "name": "helper", "image": "helper:1", "imagePullPolicy": "IfNotPresent",
                "command": ["runner-helper", "drive"],
                "args": [
                    "--job", "/runner-tools/job/job.json", "--annotations", "/runner-tools/control/annotations",
                    "--share", "/runner-tools/share", "--spool", "/runner-tools/spool", "--builds-dir", "/builds",
                    "--cache-dir", "/cache", "--termination-log", "/dev/termination-log", "--via", "exec-host",
                ],
                "securityContext": security,
                "volumeMounts": [
                    {"name": "runner-tools-job", "mountPath": "/runner-tools/job", "readOnly": true},
                    {"name": "runner-tools-control", "mountPath": "/runner-tools/control", "readOnly": true},
                    {"name": "runner-tools-share", "mountPath": "/runner-tools/share"},
                    {"name": "runner-tools-spool", "mountPath": "/runner-tools/spool"},
                    {"name": "repo", "mountPath": "/builds"},
                    {"name": "runner-tools-cache", "mountPath": "/cache"},
                ],
            },
            {
                "name": "build", "image": "alpine:3", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "trap 'exit 143' TERM; while [ ! -x /runner-tools/share/runner-helper ]; \
                    do sleep 0.05 2>/dev/null || sleep 1; done; \
                    exec /runner-tools/share/runner-helper serve --share /runner-tools/share"],
                "securityContext": security,
                "volumeMounts": [
                    {"name": "runner-tools-share", "mountPath": "/runner-tools/share"},
                    {"name": "repo", "mountPath": "/builds"},
                ],
            },
        ],
        "volumes": [
            {"name": "runner-tools-job",
             "secret": {"secretName": "runner-abc123xyz-project-7-job-42", "optional": true, "defaultMode": 0o444}},
            {"name": "runner-tools-control", "downwardAPI": {
                "items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]}},
            {"name": "runner-tools-share", "emptyDir": {}},
            {"name": "runner-tools-spool", "emptyDir": {}},
            {"name": "runner-tools-cache", "emptyDir": {}},
            {"name": "repo", "emptyDir": {}},
        ],
    });
    assert_eq!(spec, expected, "{spec:#}");
    assert_eq!(plan.pod.metadata.name.as_deref(), Some("runner-abc123xyz-project-7-job-42"));
    assert_eq!(plan.pod.metadata.namespace.as_deref(), Some("ci"));
    assert!(plan.early_secrets.is_empty());
}

#[test]
fn the_jobs_secret_is_named_like_the_pod_and_holds_the_line() {
    let mut fixture = Fixture::new(json!({}), json!({}));
    fixture.files.ca = Some("PEM".to_owned());
    let PodPlan { pod, secret, namespace, .. } = fixture.plan();
    assert_eq!(secret.metadata.name, pod.metadata.name);
    assert_eq!(secret.metadata.namespace, Some(namespace));
    let data = secret.data.unwrap();
    let line: JobLine = serde_json::from_slice(&data["job.json"].0).unwrap();
    assert_eq!(line.payload.get(), fixture.line.payload.get());
    assert_eq!(data["ca.crt"].0, b"PEM");
    assert_eq!(secret.metadata.labels.unwrap()["manager.runner.gitlab.com/system-id"], "s_owner");
    assert_eq!(secret.metadata.annotations.unwrap()["runner-tools.dev/job"], "42@gitlab.example.com");
}

/// The line that the job's Secrets hold.
fn line_of(plan: &PodPlan) -> Vec<u8> {
    let parts = std::iter::once(&plan.secret).chain(&plan.secret_parts);
    let data: Vec<_> = parts.map(|secret| secret.data.as_ref().unwrap()).collect();
    let whole: Vec<u8> =
        data.iter().enumerate().flat_map(|(i, data)| data[&control::job_part_key(i)].0.clone()).collect();
    let mut line = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(whole.as_slice()), &mut line).unwrap();
    line
}

#[test]
fn a_job_too_long_for_a_secret_is_compressed_and_then_cut_into_parts() {
    // Six random bits a letter: a quarter can be saved, no more.
    let mut state = 1u64;
    let noise = (0..4 * secrets::MAX).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    });
    for (value, parts) in [("x".repeat(5 * secrets::MAX), 0..1), (noise.collect(), 3..4)] {
        let variables = json!([{"key": "BIG", "value": value}]);
        let fixture = Fixture::new(json!({"variables": variables}), json!({}));
        let plan = fixture.plan();
        assert!(parts.contains(&plan.secret_parts.len()), "{} parts", plan.secret_parts.len());
        let count = &plan.secret.data.as_ref().unwrap()["job.parts"].0;
        assert_eq!(String::from_utf8_lossy(count), (plan.secret_parts.len() + 1).to_string());
        assert_eq!(line_of(&plan), serde_json::to_vec(&fixture.line).unwrap());
        let volume = json!(plan.pod.spec.unwrap().volumes.unwrap()[0]);
        let names: Vec<_> = plan.secret_parts.iter().map(ResourceExt::name_any).collect();
        match volume["projected"]["sources"].as_array() {
            None => assert_eq!(names.len(), 0),
            Some(sources) => {
                assert_eq!(sources[0]["secret"]["name"], plan.secret.name_any());
                assert_eq!(sources.len(), names.len() + 1);
                assert!(sources.iter().all(|source| source["secret"]["optional"] == true));
            }
        }
    }
}

#[test]
fn what_a_service_needs_in_its_environment_must_fit_one_secret() {
    let own = json!([{"key": "BIG", "value": "x".repeat(secrets::MAX + 1)}]);
    let services = json!([{"name": "db:1", "variables": own}]);
    let refusal = Fixture::new(json!({"services": services}), json!({})).try_plan().unwrap_err();
    assert!(refusal.message.contains("which can hold 1048576"), "{}", refusal.message);
}

#[test]
fn nothing_secret_stands_in_the_pod() {
    let payload = json!({
        "token": "SECRET-job-token",
        "git_info": {"repo_url": "https://gitlab-ci-token:SECRET-git@gitlab.example.com/a/b.git"},
        "credentials": [{"type": "registry", "url": "r.example.com", "username": "u", "password": "SECRET-registry"}],
        "dependencies": [{"id": 1, "token": "SECRET-dependency"}],
        "steps": [{"name": "script", "script": ["echo SECRET-in-script"]}],
        "variables": [
            {"key": "CI_JOB_TOKEN", "value": "SECRET-job-token", "masked": true},
            {"key": "HIDDEN", "value": "SECRET-hidden"},
            {"key": "MASKED", "value": "SECRET-masked", "public": true, "masked": true},
            {"key": "FILE", "value": "SECRET-file", "public": true, "file": true},
            {"key": "VIA", "value": "see $HIDDEN", "public": true},
            {"key": "TEXT", "value": "a SECRET-masked b", "public": true},
            {"key": "DOCKER_AUTH_CONFIG", "value": r#"{"auths": {"q": {"auth": "SECRET-auth"}}}"#},
        ],
        "services": [{"name": "postgres:15", "variables": [{"key": "POSTGRES_PASSWORD", "value": "$HIDDEN"}]}],
    });
    let plan = Fixture::new(payload, json!({})).plan();
    let pod = json!(plan.pod).to_string();
    assert!(!pod.contains("SECRET"), "{pod}");
    assert!(!plan.notes.concat().contains("SECRET"));

    let [early] = plan.early_secrets.as_slice() else { panic!("{} secrets", plan.early_secrets.len()) };
    assert_eq!(early.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    let data = early.data.as_ref().unwrap();
    let keys: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, [".dockerconfigjson", "svc-0.MASKED", "svc-0.POSTGRES_PASSWORD", "svc-0.TEXT", "svc-0.VIA"]);
    assert_eq!(data["svc-0.POSTGRES_PASSWORD"].0, b"SECRET-hidden");
    let spec = json!(plan.pod.spec);
    let name = early.metadata.name.clone().unwrap();
    assert_eq!(spec["imagePullSecrets"], json!([{"name": name}]));
    let reference = &spec["containers"][2]["env"][4]["valueFrom"]["secretKeyRef"];
    assert_eq!(reference, &json!({"name": name, "key": "svc-0.POSTGRES_PASSWORD"}));
}

#[test]
fn pull_secrets_are_the_runners_then_the_jobs() {
    let credentials = json!([{"type": "registry", "url": "r", "username": "u", "password": "p"}]);
    for (config, names, early) in [
        (json!({}), json!([{"name": "runner-abc123xyz-project-7-job-42-early"}]), 1),
        (
            json!({"image_pull_secrets": ["a", "b"]}),
            json!([{"name": "a"}, {"name": "b"}, {"name": "runner-abc123xyz-project-7-job-42-early"}]),
            1,
        ),
        (json!({"image_pull_secrets": ["a"], "use_service_account_image_pull_secrets": true}), json!(null), 0),
    ] {
        let plan = Fixture::new(json!({"credentials": credentials}), config).plan();
        assert_eq!(json!(plan.pod.spec)["imagePullSecrets"], names);
        assert_eq!(plan.early_secrets.len(), early);
    }
    let service = json!([{"name": "a", "variables": [{"key": "A", "value": "b"}]}]);
    let plan = Fixture::new(json!({"services": service}), json!({})).plan();
    assert_eq!(plan.early_secrets[0].type_.as_deref(), Some("Opaque"));
    assert_eq!(json!(plan.pod.spec)["imagePullSecrets"], json!(null));
}

#[test]
fn every_key_about_the_pod_as_a_whole_reaches_it() {
    let config = json!({
        "service_account": "runner", "automount_service_account_token": false, "node_selector": {"disk": "ssd"},
        "node_tolerations": {"ci": "NoSchedule"}, "priority_class_name": "low", "runtime_class_name": "gvisor",
        "scheduler_name": "mine", "pod_termination_grace_period_seconds": 5, "pod_cpu_limit": "2",
        "dns_policy": "cluster-first-with-host-net",
        "dns_config": {"nameservers": ["1.1.1.1"], "searches": ["s"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
        "host_aliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
        "pod_security_context": {"fs_group": 59417},
        "affinity": {"node_affinity": {"required_during_scheduling_ignored_during_execution":
            {"node_selector_terms": [{"match_expressions": [{"key": "k", "operator": "Exists"}]}]}}},
    });
    let payload = json!({"services": [{"name": "db"}]});
    let spec = json!(Fixture::new(payload, config).plan().pod.spec);
    for (field, expected) in [
        ("serviceAccountName", json!("runner")),
        ("automountServiceAccountToken", json!(false)),
        ("nodeSelector", json!({"disk": "ssd"})),
        ("tolerations", json!([{"key": "ci", "operator": "Exists", "effect": "NoSchedule"}])),
        ("priorityClassName", json!("low")),
        ("runtimeClassName", json!("gvisor")),
        ("schedulerName", json!("mine")),
        ("terminationGracePeriodSeconds", json!(5)),
        ("resources", json!({"limits": {"cpu": "2"}})),
        ("dnsPolicy", json!("ClusterFirstWithHostNet")),
        (
            "dnsConfig",
            json!({"nameservers": ["1.1.1.1"], "searches": ["s"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}),
        ),
        ("hostAliases", json!([{"ip": "127.0.0.1", "hostnames": ["db"]}, {"ip": "10.0.0.1", "hostnames": ["a", "b"]}])),
        ("securityContext", json!({"fsGroup": 59417})),
        (
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]}}}),
        ),
    ] {
        assert_eq!(spec[field], expected, "{field}");
    }
}

#[test]
fn the_log_says_what_was_chosen() {
    let variables = json!([{"key": "KUBERNETES_CPU_LIMIT", "value": "2"}]);
    let payload = json!({"image": null, "variables": variables, "services": [{"name": "db", "alias": "db"}], "runner_info": {"timeout": 90}});
    let config = json!({
        "namespace": "", "image": "ruby:3", "cpu_limit_overwrite_max_allowed": "4", "pull_policy": ["always", "if-not-present"],
    });
    let plan = Fixture::new(payload, config).plan();
    let expected = [
        text::plain(r#""CPULimit" overwritten with "2""#),
        text::plain("Using default image"),
        text::warning("Namespace is empty, therefore assuming 'default'."),
        text::plain("Using Kubernetes namespace: default"),
        text::plain("Using Kubernetes executor with image ruby:3 ..."),
        text::plain("Using effective pull policy of [Always IfNotPresent] for container helper"),
        text::plain("Using effective pull policy of [Always IfNotPresent] for container build"),
        text::plain("Using effective pull policy of [Always IfNotPresent] for container db"),
    ];
    assert_eq!(plan.notes, expected);
    let deadline = "Using FF_USE_POD_ACTIVE_DEADLINE_SECONDS, the Pod activeDeadlineSeconds will be set to the job timeout: 1m30s plus 1h0m0s...";
    assert_eq!(plan.environment_notes, [text::plain(deadline)]);
}

#[test]
fn the_deadline_can_be_switched_off_and_never_overflows() {
    let off = json!({"variables": [{"key": "FF_USE_POD_ACTIVE_DEADLINE_SECONDS", "value": "false"}]});
    let plan = Fixture::new(off, json!({})).plan();
    assert_eq!(plan.pod.spec.unwrap().active_deadline_seconds, None);
    assert!(plan.environment_notes.is_empty());
    for (timeout, seconds) in [(0, 10_800), (60, 3660), (i64::MAX, i64::from(i32::MAX))] {
        let plan = Fixture::new(json!({"runner_info": {"timeout": timeout}}), json!({})).plan();
        assert_eq!(plan.pod.spec.unwrap().active_deadline_seconds, Some(seconds));
    }
}

#[test]
fn directories_are_expanded() {
    let mut fixture = Fixture::new(json!({"variables": [{"key": "WHERE", "value": "work"}]}), json!({}));
    fixture.table = json!({"builds_dir": "/$WHERE/b", "cache_dir": "/$WHERE/c"});
    let helper = fixture.plan().container("helper");
    assert_eq!(helper.args.unwrap()[8..12], ["--builds-dir", "/work/b", "--cache-dir", "/work/c"]);
    assert_eq!(helper.volume_mounts.unwrap()[4].mount_path, "/work/b");
    let mut fixture = Fixture::new(json!({}), json!({}));
    fixture.table = json!({"builds_dir": "$NONE"});
    assert!(fixture.try_plan().unwrap_err().message.starts_with("the builds_dir is not configured"));
}

#[test]
fn the_pod_follows_the_choice_of_pull_policies() {
    let mut fixture = Fixture::new(json!({}), json!({"pull_policy": ["always", "never"]}));
    let first = fixture.plan();
    fixture.choice = first.policies.after_failure(&fixture.choice, "build").unwrap();
    fixture.attempt = 1;
    let second = fixture.plan();
    assert_eq!(second.container("build").image_pull_policy.as_deref(), Some("Never"));
    assert_eq!(second.container("helper").image_pull_policy.as_deref(), Some("Always"));
    assert_eq!(second.pod.metadata.name.as_deref(), Some("runner-abc123xyz-project-7-job-42-1"));
    assert_eq!(second.secret.metadata.name, second.pod.metadata.name);
}

#[test]
fn the_same_input_gives_the_same_plan() {
    let payload = json!({"services": [{"name": "b", "alias": "x"}, {"name": "a"}], "variables": [{"key": "A", "value": "1", "public": true}]});
    let fixture = Fixture::new(payload, json!({"node_tolerations": {"b": "", "a": ""}}));
    let (one, other) = (fixture.plan(), fixture.plan());
    assert_eq!(json!(one.pod).to_string(), json!(other.pod).to_string());
    assert_eq!(one.secret, other.secret);
}

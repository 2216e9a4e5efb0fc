//! The pod's name, labels and annotations.
//!
//! Source: GitLab Runner's Kubernetes executor, "pod metadata", and [`runner_core::control`] for our own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use runner_core::config::Kubernetes;
use runner_core::control;
use runner_core::duration::GoDuration;

use super::PodInput;
use super::overwrites::Overwrites;

/// Longest name of a pod that is also its host name, and longest value of a label.
const MAX: usize = 63;
/// The label with the runner's short token.
const LABEL_RUNNER: &str = "manager.runner.gitlab.com/id-short";
/// The domain of annotations by which pod and executor talk: nobody else may set them.
const CONTROL_DOMAIN: &str = "runner-tools.dev";

/// `runner-<short token>-project-<id>-job-<id>`, for a replay with the name of the run, from the second attempt on with its
/// number. At most 63 characters; what is too much is cut before the job's id, which makes the name unique.
pub(super) fn pod_name(input: &PodInput<'_>) -> String {
    let attempt = if input.attempt == 0 { String::new() } else { format!("-{}", input.attempt) };
    let replay = input.replay.map(|run| format!("-{run}")).unwrap_or_default();
    let tail = format!("-job-{}{replay}{attempt}", input.payload.id);
    let mut head = project_name(input);
    head.truncate(MAX.saturating_sub(tail.len()));
    format!("{}{tail}", head.trim_end_matches('-'))
}

/// `runner-<short token>-project-<id>` in the characters of a DNS label.
fn project_name(input: &PodInput<'_>) -> String {
    let token: String = input.line.runner.short_token.chars().filter_map(rfc1123).collect();
    let runner = if token.is_empty() { "runner".to_owned() } else { format!("runner-{token}") };
    format!("{runner}-project-{}", input.payload.job_info.project_id)
}

fn rfc1123(c: char) -> Option<char> {
    let lower = c.to_ascii_lowercase();
    (lower.is_ascii_lowercase() || lower.is_ascii_digit() || lower == '-').then_some(lower)
}

/// All labels of the pod and, as far as they tell whose it is, of its Secrets.
pub(super) fn labels(input: &PodInput<'_>, config: &Kubernetes, overwrites: &Overwrites) -> BTreeMap<String, String> {
    let info = &input.payload.job_info;
    let variable = |key| input.variables.value(key);
    let mut project = format!("{}-concurrent-{}", project_name(input), input.line.runner.concurrent_project_id);
    project.truncate(MAX);
    let facts = [
        ("pod", project.clone()),
        ("project.runner.gitlab.com/id", info.project_id.to_string()),
        ("project.runner.gitlab.com/namespace-id", variable("CI_PROJECT_NAMESPACE_ID")),
        ("project.runner.gitlab.com/name", info.project_name.clone()),
        ("project.runner.gitlab.com/namespace", variable("CI_PROJECT_NAMESPACE")),
        ("project.runner.gitlab.com/root-namespace", variable("CI_PROJECT_ROOT_NAMESPACE")),
        ("project.runner.gitlab.com/root-namespace-id", info.root_namespace_id.to_string()),
        ("job.runner.gitlab.com/pod", project),
        ("manager.runner.gitlab.com/name", input.line.runner.name.clone()),
        (LABEL_RUNNER, input.line.runner.short_token.clone()),
    ];
    let configured = config.pod_labels.iter().map(|(key, value)| (key.clone(), input.variables.expand(value)));
    let wanted = configured.chain(overwrites.labels.clone());
    let mut labels: BTreeMap<_, _> = facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    labels.extend(wanted.filter(|(key, _)| !is_ours(key)));
    labels.values_mut().for_each(|value| *value = sanitised(value));
    labels.extend(owner_labels(input));
    labels
}

/// Whether the pod was made for a job of the runner with this short token.
pub(crate) fn is_of_runner(pod: &Pod, short_token: &str) -> bool {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_RUNNER));
    label.is_some_and(|label| *label == sanitised(short_token))
}

/// The labels by which we find what is ours. They win over everything.
pub(super) fn owner_labels(input: &PodInput<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (control::LABEL_MANAGED_BY.to_owned(), control::MANAGED_BY.to_owned()),
        (control::LABEL_SYSTEM_ID.to_owned(), input.owner.to_owned()),
        (control::LABEL_JOB_ID.to_owned(), input.payload.id.to_string()),
    ])
}

/// All annotations of the pod. Configuration and job may replace the facts, but not what controls the helper.
pub(super) fn annotations(
    input: &PodInput<'_>,
    config: &Kubernetes,
    overwrites: &Overwrites,
) -> BTreeMap<String, String> {
    let (payload, info, git) = (input.payload, &input.payload.job_info, &input.payload.git_info);
    let timeout = GoDuration::from_secs(i64::try_from(payload.timeout_secs()).unwrap_or(i64::MAX / 1_000_000_000));
    let facts = [
        ("job.runner.gitlab.com/id", payload.id.to_string()),
        ("job.runner.gitlab.com/url", input.variables.value("CI_JOB_URL")),
        ("job.runner.gitlab.com/sha", git.sha.clone()),
        ("job.runner.gitlab.com/before_sha", git.before_sha.clone()),
        ("job.runner.gitlab.com/ref", git.git_ref.clone()),
        ("job.runner.gitlab.com/name", info.name.clone()),
        ("job.runner.gitlab.com/timeout", timeout.to_string()),
        ("project.runner.gitlab.com/id", info.project_id.to_string()),
    ];
    let mut annotations: BTreeMap<_, _> = facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let configured = config.pod_annotations.iter().map(|(key, value)| (key.clone(), input.variables.expand(value)));
    let wanted = configured.chain(overwrites.annotations.clone());
    annotations.extend(wanted.filter(|(key, _)| !is_in_domain(key, CONTROL_DOMAIN)));
    annotations.insert(control::ANNOTATION_JOB_KEY.to_owned(), input.line.key().to_string());
    if config.namespace_per_job {
        annotations.insert(control::ANNOTATION_OWN_NAMESPACE.to_owned(), "true".to_owned());
    }
    annotations
}

/// Labels that only the runner sets: those of GitLab's own domain, and those by which pods are swept.
fn is_ours(key: &str) -> bool {
    is_in_domain(key, "runner.gitlab.com") || is_in_domain(key, CONTROL_DOMAIN) || key == control::LABEL_MANAGED_BY
}

fn is_in_domain(key: &str, domain: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return false };
    let prefix = prefix.to_ascii_lowercase();
    prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A label's value: characters outside `[A-Za-z0-9._-]` become `_`, `-_.` go from both ends, at most 63 characters.
fn sanitised(value: &str) -> String {
    let ends = ['-', '_', '.'];
    let plain: String =
        value.chars().map(|c| if c.is_ascii_alphanumeric() || ends.contains(&c) { c } else { '_' }).collect();
    let trimmed = plain.trim_matches(ends);
    trimmed[..trimmed.len().min(MAX)].trim_matches(ends).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::Fixture;
    use super::*;

    #[test]
    fn a_pod_tells_whose_runners_it_is() {
        let mut fixture = Fixture::new(json!({}), json!({}));
        // A label's value may not begin like that.
        fixture.line.runner.short_token = "_a-bc".into();
        let pod = fixture.plan().pod;
        assert!(is_of_runner(&pod, "_a-bc") && !is_of_runner(&pod, "_a-bd"));
    }

    #[test]
    fn j144_names_are_made_of_the_job_and_fit_a_dns_label() {
        let long = "runner-a23456789-project-18446744073-job-18446744073709551615-3";
        for (token, project, job, replay, attempt, name) in [
            ("abc123XYZ", 7, 42, None, 0, "runner-abc123xyz-project-7-job-42"),
            ("abc123XYZ", 7, 42, None, 1, "runner-abc123xyz-project-7-job-42-1"),
            ("abc123XYZ", 7, 42, Some("0a1b2c3d"), 2, "runner-abc123xyz-project-7-job-42-0a1b2c3d-2"),
            ("64_a-b.c", 7, 42, None, 0, "runner-64a-bc-project-7-job-42"),
            ("", 7, 42, None, 0, "runner-project-7-job-42"),
            ("a23456789", u64::MAX, u64::MAX, None, 3, long),
        ] {
            let mut fixture = Fixture::new(json!({"id": job, "job_info": {"project_id": project}}), json!({}));
            fixture.line.runner.short_token = token.into();
            fixture.attempt = attempt;
            fixture.replay = replay.map(str::to_owned);
            assert_eq!(pod_name(&fixture.input()), name);
            assert!(name.len() <= MAX);
        }
    }

    #[test]
    fn label_values_are_sanitised() {
        for (value, expected) in [
            ("plain", "plain"),
            ("a b/c", "a_b_c"),
            ("--a.b--", "a.b"),
            ("é", ""),
            ("", ""),
            (&"x".repeat(70), &"x".repeat(63)),
            (&format!("{}-{}", "x".repeat(62), "y"), &"x".repeat(62)),
        ] {
            assert_eq!(sanitised(value), expected);
        }
    }

    #[test]
    fn labels_say_whose_the_pod_is_and_nobody_else_can() {
        let payload = json!({
            "job_info": {"project_id": 7, "project_name": "my app", "root_namespace_id": 3},
            "variables": [
                {"key": "CI_PROJECT_NAMESPACE", "value": "group/sub"}, {"key": "TEAM", "value": "a b"},
                {"key": "KUBERNETES_POD_LABELS_1", "value": "manager.runner.gitlab.com/system-id=other"},
                {"key": "KUBERNETES_POD_LABELS_2", "value": "app.kubernetes.io/managed-by=me"},
                {"key": "KUBERNETES_POD_LABELS_3", "value": "x=y"},
            ],
        });
        let config = json!({
            "pod_labels": {"team": "$TEAM", "Runner.GitLab.com/x": "no", "a.runner.gitlab.com/x": "no", "notrunner.gitlab.com/x": "yes"},
            "pod_labels_overwrite_allowed": ".",
        });
        let labels = Fixture::new(payload, config).plan().pod.metadata.labels.unwrap();
        let expected = json!({
            "app.kubernetes.io/managed-by": "runner-tools",
            "manager.runner.gitlab.com/system-id": "s_owner",
            "manager.runner.gitlab.com/name": "k8s",
            "manager.runner.gitlab.com/id-short": "abc123XYZ",
            "job.runner.gitlab.com/id": "42",
            "job.runner.gitlab.com/pod": "runner-abc123xyz-project-7-concurrent-0",
            "pod": "runner-abc123xyz-project-7-concurrent-0",
            "project.runner.gitlab.com/id": "7",
            "project.runner.gitlab.com/name": "my_app",
            "project.runner.gitlab.com/namespace": "group_sub",
            "project.runner.gitlab.com/namespace-id": "",
            "project.runner.gitlab.com/root-namespace": "",
            "project.runner.gitlab.com/root-namespace-id": "3",
            "notrunner.gitlab.com/x": "yes", "team": "a_b", "x": "y",
        });
        assert_eq!(json!(labels), expected);
    }

    #[test]
    fn annotations_can_be_replaced_but_not_those_that_control_the_helper() {
        let payload = json!({
            "git_info": {"ref": "main", "sha": "abc"}, "runner_info": {"timeout": 3600},
            "variables": [{"key": "KUBERNETES_POD_ANNOTATIONS_1", "value": "runner-tools.dev/acknowledged=999"}],
        });
        let config = json!({
            "pod_annotations": {"job.runner.gitlab.com/ref": "mine", "runner-tools.dev/job": "x", "a": "b"},
            "pod_annotations_overwrite_allowed": ".",
        });
        let annotations = Fixture::new(payload, config).plan().pod.metadata.annotations.unwrap();
        assert_eq!(annotations["job.runner.gitlab.com/ref"], "mine");
        assert_eq!(annotations["job.runner.gitlab.com/timeout"], "1h0m0s");
        assert_eq!(annotations["runner-tools.dev/job"], "42@gitlab.example.com");
        assert_eq!(annotations["a"], "b");
        assert!(!annotations.contains_key("runner-tools.dev/acknowledged"));
    }
}

//! What jobs may change of the pod by `KUBERNETES_…` variables, besides resources.
//!
//! Source: GitLab Runner's Kubernetes executor, "job-variable overwrite rules": each is bound to a regular expression in the
//! runner's configuration, unanchored. No expression: the variable is not looked at. No match: the job is refused.

use std::collections::BTreeMap;

use regex::Regex;
use runner_core::config::Kubernetes;
use runner_core::variables::Variables;

use super::{Note, Refusal};

/// The runner's values after the job's overwrites.
#[derive(Debug)]
pub(super) struct Overwrites {
    /// Empty if none is set.
    pub(super) namespace: String,
    /// Empty if none is set.
    pub(super) service_account: String,
    pub(super) node_selector: BTreeMap<String, String>,
    /// `key` or `key=value` and the effect.
    pub(super) node_tolerations: BTreeMap<String, String>,
    /// Only the job's; the values of the configuration are still to be expanded.
    pub(super) labels: BTreeMap<String, String>,
    /// Only the job's.
    pub(super) annotations: BTreeMap<String, String>,
}

impl Overwrites {
    /// Reads the variables, expanded, of the job with the id `job`.
    pub(super) fn evaluate(
        job: u64,
        config: &Kubernetes,
        variables: &Variables,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Refusal> {
        if config.bearer_token_overwrite_allowed && !variables.value("KUBERNETES_BEARER_TOKEN").is_empty() {
            // One watch and one client serve all jobs; running the job under another account than it asked for is worse.
            return Err(Refusal::configuration(
                "KUBERNETES_BEARER_TOKEN is set, but jobs cannot bring their own token",
            ));
        }
        let mut texts = Texts { variables, notes };
        let allowed = &config.namespace_overwrite_allowed;
        let namespace = match config.namespace_per_job {
            true => format!("ci-job-{job}"),
            false => texts.one("Namespace", &config.namespace, allowed, "KUBERNETES_NAMESPACE_OVERWRITE")?,
        };
        let account = &config.service_account_overwrite_allowed;
        let service_account =
            texts.one("ServiceAccount", &config.service_account, account, "KUBERNETES_SERVICE_ACCOUNT_OVERWRITE")?;
        let allowed = &config.pod_labels_overwrite_allowed;
        let labels = texts.map("PodLabels", allowed, "KUBERNETES_POD_LABELS_", pair)?;
        let allowed = &config.pod_annotations_overwrite_allowed;
        let annotations = texts.map("PodAnnotations", allowed, "KUBERNETES_POD_ANNOTATIONS_", pair)?;
        let allowed = &config.node_selector_overwrite_allowed;
        let mut node_selector = config.node_selector.clone();
        node_selector.extend(texts.map("NodeSelector", allowed, "KUBERNETES_NODE_SELECTOR_", pair)?);
        let allowed = &config.node_tolerations_overwrite_allowed;
        let mut node_tolerations = config.node_tolerations.clone();
        node_tolerations.extend(texts.map("NodeTolerations", allowed, "KUBERNETES_NODE_TOLERATIONS_", toleration)?);
        Ok(Self { namespace, service_account, node_selector, node_tolerations, labels, annotations })
    }
}

/// Takes a variable's value apart.
type Split = fn(&str) -> Result<(String, String), Refusal>;

struct Texts<'a> {
    variables: &'a Variables,
    notes: &'a mut Vec<Note>,
}

impl Texts<'_> {
    fn one(&mut self, name: &str, configured: &str, allowed: &str, variable: &str) -> Result<String, Refusal> {
        let value = self.variables.value(variable);
        if allowed.is_empty() || value.is_empty() {
            return Ok(configured.to_owned());
        }
        check(name, allowed, &value)?;
        self.notes.push(Note::Plain(format!("{name:?} overwritten with {value:?}")));
        Ok(value)
    }

    fn map(
        &mut self,
        name: &str,
        allowed: &str,
        prefix: &str,
        split: Split,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let mut map = BTreeMap::new();
        if allowed.is_empty() {
            return Ok(map);
        }
        for variable in self.variables.iter().filter(|variable| variable.key.starts_with(prefix)) {
            let text = self.variables.expanded_value(variable);
            check(name, allowed, &text)?;
            let (key, value) = split(&text)?;
            self.notes.push(Note::Plain(format!("{name:?} {key:?} overwritten with {value:?}")));
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Refuses a value that the expression does not match.
fn check(name: &str, allowed: &str, value: &str) -> Result<(), Refusal> {
    let expression = Regex::new(allowed).map_err(|err| {
        // The crate's message draws the expression over several lines.
        let why = err.to_string().replace('\n', " ");
        Refusal::configuration(format!("the expression that says which {name} jobs may ask for: {why}"))
    })?;
    if expression.is_match(value) {
        return Ok(());
    }
    Err(Refusal::configuration(format!("provided value {value:?} does not match {allowed:?}")))
}

/// `key=value`.
fn pair(text: &str) -> Result<(String, String), Refusal> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Refusal::configuration(format!("provided value {text:?} is malformed, does not match k=v"))),
    }
}

/// `key[=value][:effect]`; the effect becomes the value.
fn toleration(text: &str) -> Result<(String, String), Refusal> {
    let (taint, effect) = text.split_once(':').unwrap_or((text, ""));
    Ok((taint.to_owned(), effect.to_owned()))
}

#[cfg(test)]
mod tests {
    use runner_core::job::Variable;
    use serde_json::json;

    use super::*;

    fn evaluate(config: serde_json::Value, job: &[(&str, &str)]) -> (Result<Overwrites, String>, Vec<String>) {
        let list = job.iter().map(|&(key, value)| Variable::public(key, value)).collect();
        let config = serde_json::from_value(config).unwrap();
        let mut notes = Vec::new();
        let result = Overwrites::evaluate(42, &config, &Variables::new(list, ""), &mut notes);
        (result.map_err(|refusal| refusal.message), notes.iter().map(|note| note.text().to_owned()).collect())
    }

    #[test]
    fn a_text_is_overwritten_only_where_it_matches() {
        let overwrite = &[("NS", "team-a"), ("KUBERNETES_NAMESPACE_OVERWRITE", "$NS")];
        for (allowed, job, expected) in [
            ("", &overwrite[..], Ok("ci")),
            ("team-", overwrite, Ok("team-a")),
            ("^team-.$", overwrite, Ok("team-a")),
            ("^prod", overwrite, Err(r#"provided value "team-a" does not match "^prod""#)),
            ("^prod", &[], Ok("ci")),
            ("(", &[], Ok("ci")),
        ] {
            let config = json!({"namespace": "ci", "namespace_overwrite_allowed": allowed});
            let (result, notes) = evaluate(config, job);
            let namespace = result.as_ref().map(|o| o.namespace.as_str()).map_err(String::as_str);
            assert_eq!(namespace, expected, "{allowed}");
            if expected == Ok("team-a") {
                assert_eq!(notes, [r#""Namespace" overwritten with "team-a""#]);
            }
        }
        let config = json!({"service_account_overwrite_allowed": "("});
        let (result, _) = evaluate(config, &[("KUBERNETES_SERVICE_ACCOUNT_OVERWRITE", "x")]);
        let message = result.unwrap_err();
        assert!(message.contains("ServiceAccount") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_namespace_of_the_jobs_own_is_not_overwritten() {
        let config = json!({"namespace": "ci", "namespace_per_job": true, "namespace_overwrite_allowed": ".*"});
        let (result, notes) = evaluate(config, &[("KUBERNETES_NAMESPACE_OVERWRITE", "team-a")]);
        assert_eq!((result.unwrap().namespace.as_str(), notes.len()), ("ci-job-42", 0));
    }

    #[test]
    fn maps_are_merged_over_the_runners() {
        let config = json!({
            "node_selector": {"disk": "hdd", "zone": "a"}, "node_selector_overwrite_allowed": ".*",
            "node_tolerations": {"ci": "NoSchedule"}, "node_tolerations_overwrite_allowed": ".*",
            "pod_labels_overwrite_allowed": "^team=",
        });
        let (result, notes) = evaluate(
            config,
            &[
                ("KUBERNETES_NODE_SELECTOR_1", "disk=ssd"),
                ("KUBERNETES_NODE_TOLERATIONS_1", "gpu=yes:NoExecute"),
                ("KUBERNETES_NODE_TOLERATIONS_2", "any"),
                ("KUBERNETES_POD_LABELS_1", "team=a=b"),
                ("KUBERNETES_POD_ANNOTATIONS_1", "not=allowed"),
            ],
        );
        let overwrites = result.unwrap();
        assert_eq!(json!(overwrites.node_selector), json!({"disk": "ssd", "zone": "a"}));
        let tolerations = json!({"ci": "NoSchedule", "gpu=yes": "NoExecute", "any": ""});
        assert_eq!(json!(overwrites.node_tolerations), tolerations);
        assert_eq!(json!(overwrites.labels), json!({"team": "a=b"}));
        assert!(overwrites.annotations.is_empty());
        assert_eq!(notes[0], r#""PodLabels" "team" overwritten with "a=b""#);
    }

    #[test]
    fn bad_overwrites_are_refused() {
        for (config, job, message) in [
            (json!({"pod_labels_overwrite_allowed": "."}), ("KUBERNETES_POD_LABELS_1", "x"), "does not match k=v"),
            (
                json!({"pod_labels_overwrite_allowed": "^a"}),
                ("KUBERNETES_POD_LABELS_1", "b=c"),
                "does not match \"^a\"",
            ),
            (json!({"bearer_token_overwrite_allowed": true}), ("KUBERNETES_BEARER_TOKEN", "secret"), "their own token"),
        ] {
            let (result, _) = evaluate(config, &[job]);
            let refusal = result.unwrap_err();
            assert!(refusal.contains(message) && !refusal.contains("secret"), "{refusal}");
        }
        let unset = evaluate(json!({}), &[("KUBERNETES_BEARER_TOKEN", "secret")]);
        assert!(unset.0.is_ok());
    }
}

//! Where the pod may run: tolerations, and affinities in the words of the API.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use runner_core::config::kubernetes as config;

/// From `key` or `key=value` and the effect. An empty key tolerates everything, an empty effect stands for all.
pub(super) fn tolerations(wanted: &BTreeMap<String, String>) -> Option<Vec<k8s::Toleration>> {
    let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let toleration = |(taint, effect): (&String, &String)| {
        let (key, operator, value) = match taint.split_once('=') {
            Some((key, value)) => (key, "Equal", Some(value.to_owned())),
            None => (taint.as_str(), "Exists", None),
        };
        let operator = Some(operator.to_owned());
        k8s::Toleration { key: set(key), operator, value, effect: set(effect), toleration_seconds: None }
    };
    (!wanted.is_empty()).then(|| wanted.iter().map(toleration).collect())
}

/// `None` if nothing is wanted.
pub(super) fn affinity(wanted: &config::Affinity) -> Option<k8s::Affinity> {
    let made = k8s::Affinity {
        node_affinity: wanted.node_affinity.as_ref().map(node_affinity),
        pod_affinity: wanted.pod_affinity.as_ref().map(|wanted| k8s::PodAffinity {
            required_during_scheduling_ignored_during_execution: required(wanted),
            preferred_during_scheduling_ignored_during_execution: preferred(wanted),
        }),
        pod_anti_affinity: wanted.pod_anti_affinity.as_ref().map(|wanted| k8s::PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: required(wanted),
            preferred_during_scheduling_ignored_during_execution: preferred(wanted),
        }),
    };
    (made != k8s::Affinity::default()).then_some(made)
}

fn node_affinity(wanted: &config::NodeAffinity) -> k8s::NodeAffinity {
    let selector = |wanted: &config::NodeSelector| k8s::NodeSelector {
        node_selector_terms: wanted.node_selector_terms.iter().map(node_term).collect(),
    };
    let preference = |wanted: &config::PreferredSchedulingTerm| k8s::PreferredSchedulingTerm {
        weight: wanted.weight,
        preference: node_term(&wanted.preference),
    };
    k8s::NodeAffinity {
        required_during_scheduling_ignored_during_execution: wanted
            .required_during_scheduling_ignored_during_execution
            .as_ref()
            .map(selector),
        preferred_during_scheduling_ignored_during_execution: list(
            &wanted.preferred_during_scheduling_ignored_during_execution,
            preference,
        ),
    }
}

fn node_term(wanted: &config::NodeSelectorTerm) -> k8s::NodeSelectorTerm {
    let requirement = |wanted: &config::Requirement| k8s::NodeSelectorRequirement {
        key: wanted.key.clone(),
        operator: wanted.operator.clone(),
        values: list(&wanted.values, String::clone),
    };
    k8s::NodeSelectorTerm {
        match_expressions: list(&wanted.match_expressions, requirement),
        match_fields: list(&wanted.match_fields, requirement),
    }
}

fn required(wanted: &config::PodAffinity) -> Option<Vec<k8s::PodAffinityTerm>> {
    list(&wanted.required_during_scheduling_ignored_during_execution, pod_term)
}

fn preferred(wanted: &config::PodAffinity) -> Option<Vec<k8s::WeightedPodAffinityTerm>> {
    list(&wanted.preferred_during_scheduling_ignored_during_execution, |wanted| k8s::WeightedPodAffinityTerm {
        weight: wanted.weight,
        pod_affinity_term: pod_term(&wanted.pod_affinity_term),
    })
}

fn pod_term(wanted: &config::PodAffinityTerm) -> k8s::PodAffinityTerm {
    k8s::PodAffinityTerm {
        label_selector: wanted.label_selector.as_ref().map(label_selector),
        namespaces: list(&wanted.namespaces, String::clone),
        topology_key: wanted.topology_key.clone(),
        namespace_selector: wanted.namespace_selector.as_ref().map(label_selector),
        match_label_keys: list(&wanted.match_label_keys, String::clone),
        mismatch_label_keys: list(&wanted.mismatch_label_keys, String::clone),
    }
}

fn label_selector(wanted: &config::LabelSelector) -> LabelSelector {
    let requirement = |wanted: &config::Requirement| LabelSelectorRequirement {
        key: wanted.key.clone(),
        operator: wanted.operator.clone(),
        values: list(&wanted.values, String::clone),
    };
    LabelSelector {
        match_labels: (!wanted.match_labels.is_empty()).then(|| wanted.match_labels.clone()),
        match_expressions: list(&wanted.match_expressions, requirement),
    }
}

fn list<A, B>(wanted: &[A], convert: impl Fn(&A) -> B) -> Option<Vec<B>> {
    (!wanted.is_empty()).then(|| wanted.iter().map(convert).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_say_exists_or_equal() {
        let wanted = [("ci", "NoSchedule"), ("gpu=a=b", "NoExecute"), ("", ""), ("any", "")];
        let wanted = wanted.iter().map(|&(key, effect)| (key.to_owned(), effect.to_owned())).collect();
        let expected = json!([
            {"operator": "Exists"},
            {"key": "any", "operator": "Exists"},
            {"key": "ci", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "gpu", "operator": "Equal", "value": "a=b", "effect": "NoExecute"},
        ]);
        assert_eq!(json!(tolerations(&wanted)), expected);
        assert_eq!(tolerations(&BTreeMap::new()), None);
    }

    #[test]
    fn affinities_are_taken_over_word_by_word() {
        let requirement = json!({"key": "k", "operator": "In", "values": ["v"]});
        let selector = json!({"match_labels": {"a": "b"}, "match_expressions": [requirement]});
        let term = json!({
            "label_selector": selector, "namespaces": ["n"], "topology_key": "t", "namespace_selector": {"match_labels": {"c": "d"}},
            "match_label_keys": ["m"], "mismatch_label_keys": ["x"],
        });
        let wanted: config::Affinity = serde_json::from_value(json!({
            "node_affinity": {
                "required_during_scheduling_ignored_during_execution": {"node_selector_terms": [{"match_expressions": [requirement]}]},
                "preferred_during_scheduling_ignored_during_execution": [{"weight": 5, "preference": {"match_fields": [requirement]}}],
            },
            "pod_affinity": {"required_during_scheduling_ignored_during_execution": [term]},
            "pod_anti_affinity": {"preferred_during_scheduling_ignored_during_execution": [{"weight": 7, "pod_affinity_term": term}]},
        }))
        .unwrap();
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [requirement]});
        let term = json!({
            "labelSelector": selector, "namespaces": ["n"], "topologyKey": "t", "namespaceSelector": {"matchLabels": {"c": "d"}},
            "matchLabelKeys": ["m"], "mismatchLabelKeys": ["x"],
        });
        let expected = json!({
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": {"matchFields": [requirement]}}],
            },
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term}]},
        });
        assert_eq!(json!(affinity(&wanted)), expected);
        assert_eq!(affinity(&config::Affinity::default()), None);
    }
}

//! When images are pulled: the policies of each container in the order to try, and which of them is tried now.
//!
//! Source: GitLab Runner's Kubernetes executor, "image pull retry": a job's list, else the runner's, cut down to
//! `allowed_pull_policies`, order kept. After a failed pull the next policy of that container is tried.

use std::collections::BTreeMap;

use runner_core::config::Kubernetes;
use runner_core::config::kubernetes::PullPolicy;

use super::Refusal;

/// Which policy of each container's list is tried: how many have failed before it. Empty: the first of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PullChoice(BTreeMap<String, usize>);

impl PullChoice {
    fn failures(&self, container: &str) -> usize {
        self.0.get(container).copied().unwrap_or(0)
    }
}

/// The effective lists of all containers of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PullPolicies(Vec<(String, Vec<PullPolicy>)>);

impl PullPolicies {
    /// Adds a container. `wanted` is what the job asks for, as GitLab sent it; empty if it does not care.
    pub(super) fn add(&mut self, container: &str, wanted: &[String], config: &Kubernetes) -> Result<(), Refusal> {
        let list = effective(container, wanted, config)?;
        self.0.push((container.to_owned(), list));
        Ok(())
    }

    /// The policy to put into the pod for `container`: what `choice` says, the last one if there are no more; `None` leaves
    /// the choice to the cluster.
    pub(super) fn chosen(&self, choice: &PullChoice, container: &str) -> Option<&'static str> {
        let list = self.list(container);
        list.get(choice.failures(container)).or(list.last()).copied().and_then(spelled)
    }

    /// After a failed pull of `container`: the choice for the next pod, if a policy is left.
    pub(crate) fn after_failure(&self, choice: &PullChoice, container: &str) -> Option<PullChoice> {
        let failures = choice.failures(container) + 1;
        if failures >= self.list(container).len() {
            return None;
        }
        let mut next = choice.clone();
        next.0.insert(container.to_owned(), failures);
        Some(next)
    }

    /// The log's line for a failed pull.
    pub(crate) fn failure_line(&self, choice: &PullChoice, container: &str, image: &str, message: &str) -> String {
        let policy = self.chosen(choice, container).unwrap_or_default();
        format!(r#"Failed to pull image "{image}" for container "{container}" with policy "{policy}": {message}"#)
    }

    /// The log's line before the pod of `choice` is made, where `choice` is the result of [`Self::after_failure`].
    pub(crate) fn attempt_line(&self, choice: &PullChoice, container: &str, image: &str) -> String {
        let attempt = choice.failures(container) + 1;
        let policy = self.chosen(choice, container).unwrap_or_default();
        format!(r#"Attempt #{attempt}: Trying "{policy}" pull policy for "{image}" image for container "{container}""#)
    }

    /// One line per container for the log, in the pod's order.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let line = |(container, list): &(String, Vec<_>)| {
            format!("Using effective pull policy of {} for container {container}", shown(list))
        };
        self.0.iter().map(line)
    }

    fn list(&self, container: &str) -> &[PullPolicy] {
        self.0.iter().find(|(name, _)| name == container).map_or(&[], |(_, list)| list)
    }
}

fn effective(container: &str, wanted: &[String], config: &Kubernetes) -> Result<Vec<PullPolicy>, Refusal> {
    const CLUSTER: &[PullPolicy] = &[PullPolicy::ClusterDefault];
    let configured = if config.pull_policy.is_empty() { CLUSTER } else { &config.pull_policy };
    let allowed = if config.allowed_pull_policies.is_empty() { configured } else { &config.allowed_pull_policies };
    let (list, source) = match (wanted, configured) {
        ([], CLUSTER) => (configured.to_vec(), "Runner config (default)"),
        ([], _) => (configured.to_vec(), "Runner config"),
        (names, _) => {
            let parsed = names.iter().map(|name| parse(name)).collect::<Result<_, _>>();
            let unknown = |name| {
                Refusal::configuration(format!("container {container:?}: unsupported pull_policy config: {name:?}"))
            };
            (parsed.map_err(unknown)?, "GitLab pipeline config")
        }
    };
    let kept: Vec<_> = list.iter().copied().filter(|policy| allowed.contains(policy)).collect();
    if kept.is_empty() {
        return Err(Refusal::configuration(format!(
            "invalid pull policy for container {container:?}: pull_policy ({}) defined in {source} is not one of the \
             allowed_pull_policies ({})",
            shown(&list),
            shown(allowed)
        )));
    }
    Ok(kept)
}

fn parse(name: &str) -> Result<PullPolicy, &str> {
    match name {
        "" => Ok(PullPolicy::ClusterDefault),
        "always" => Ok(PullPolicy::Always),
        "if-not-present" => Ok(PullPolicy::IfNotPresent),
        "never" => Ok(PullPolicy::Never),
        other => Err(other),
    }
}

/// As Kubernetes spells it.
fn spelled(policy: PullPolicy) -> Option<&'static str> {
    match policy {
        PullPolicy::ClusterDefault => None,
        PullPolicy::Always => Some("Always"),
        PullPolicy::IfNotPresent => Some("IfNotPresent"),
        PullPolicy::Never => Some("Never"),
    }
}

fn shown(list: &[PullPolicy]) -> String {
    let names: Vec<_> = list.iter().map(|&policy| spelled(policy).unwrap_or_default()).collect();
    format!("[{}]", names.join(" "))
}

#[cfg(test)]
mod tests {
    use PullPolicy::*;

    use super::*;

    /// `pull_policy`, `allowed_pull_policies`, what the job asks for, what comes of it.
    type Case = (&'static [PullPolicy], &'static [PullPolicy], &'static [&'static str], &'static str);

    fn config(pull: &[PullPolicy], allowed: &[PullPolicy]) -> Kubernetes {
        Kubernetes { pull_policy: pull.to_vec(), allowed_pull_policies: allowed.to_vec(), ..Kubernetes::default() }
    }

    #[test]
    fn the_jobs_list_beats_the_runners_and_is_cut_to_what_is_allowed() {
        let cases: &[Case] = &[
            (&[], &[], &[], "[]"),
            (&[Always], &[], &[], "[Always]"),
            (&[Always, IfNotPresent], &[], &["if-not-present"], "[IfNotPresent]"),
            (&[Always], &[Never, IfNotPresent], &["if-not-present", "always", "never"], "[IfNotPresent Never]"),
            (&[Always, Always], &[], &[], "[Always Always]"),
        ];
        for (pull, allowed, wanted, expected) in cases {
            let wanted: Vec<_> = wanted.iter().map(|&s| s.to_owned()).collect();
            let mut policies = PullPolicies::default();
            policies.add("build", &wanted, &config(pull, allowed)).unwrap();
            let line = format!("Using effective pull policy of {expected} for container build");
            assert_eq!(policies.lines().collect::<Vec<_>>(), [line]);
        }
    }

    #[test]
    fn a_policy_that_is_not_allowed_is_refused_with_its_source() {
        let cases: &[Case] = &[
            (
                &[Always],
                &[],
                &["never"],
                "([Never]) defined in GitLab pipeline config is not one of the allowed_pull_policies ([Always])",
            ),
            (
                &[Always],
                &[Never],
                &[],
                "([Always]) defined in Runner config is not one of the allowed_pull_policies ([Never])",
            ),
            (&[], &[Never], &[], "([]) defined in Runner config (default) is not one of"),
            (&[], &[], &["sometimes"], "unsupported pull_policy config: \"sometimes\""),
        ];
        for (pull, allowed, wanted, expected) in cases {
            let wanted: Vec<_> = wanted.iter().map(|&s| s.to_owned()).collect();
            let refusal = PullPolicies::default().add("x", &wanted, &config(pull, allowed)).unwrap_err();
            assert!(refusal.message.contains(expected), "{}", refusal.message);
            assert!(refusal.message.contains("container \"x\""), "{}", refusal.message);
        }
    }

    #[test]
    fn a_failed_pull_moves_that_container_to_its_next_policy_until_none_is_left() {
        let config = config(&[Always, IfNotPresent], &[]);
        let mut policies = PullPolicies::default();
        policies.add("helper", &[], &config).unwrap();
        policies.add("build", &[], &config).unwrap();
        let first = PullChoice::default();
        assert_eq!(
            policies.failure_line(&first, "build", "a:1", "gone"),
            r#"Failed to pull image "a:1" for container "build" with policy "Always": gone"#
        );
        let second = policies.after_failure(&first, "build").unwrap();
        assert_eq!(policies.chosen(&second, "build"), Some("IfNotPresent"));
        assert_eq!(policies.chosen(&second, "helper"), Some("Always"));
        assert_eq!(
            policies.attempt_line(&second, "build", "a:1"),
            r#"Attempt #2: Trying "IfNotPresent" pull policy for "a:1" image for container "build""#
        );
        assert_eq!(policies.after_failure(&second, "build"), None);
        assert!(policies.after_failure(&second, "helper").is_some());
    }
}

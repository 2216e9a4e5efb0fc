//! `workflow`: whether there is a pipeline at all, its name, and what ends it early.

use crate::plan::Variable;

use super::Failure;
use super::conditions::Conditions;
use super::entry::{Entry, Problems};
use super::keywords::{self, Rule};

/// What `workflow` says.
#[derive(Debug, Default)]
pub(super) struct Workflow {
    pub(super) name: Option<String>,
    pub(super) rules: Option<Vec<Rule>>,
    pub(super) auto_cancel: AutoCancel,
}

/// What ends a pipeline early. What is not said is none, so that a rule can say a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AutoCancel {
    /// `conservative`, `interruptible` or `none`.
    pub(crate) on_new_commit: Option<&'static str>,
    /// `all` or `none`.
    pub(crate) on_job_failure: Option<&'static str>,
}

impl AutoCancel {
    /// The same with what `over` says.
    pub(super) fn with(self, over: Self) -> Self {
        Self {
            on_new_commit: over.on_new_commit.or(self.on_new_commit),
            on_job_failure: over.on_job_failure.or(self.on_job_failure),
        }
    }
}

/// What the fitting rule of a workflow changes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) variables: Vec<Variable>,
    pub(super) auto_cancel: AutoCancel,
}

impl Workflow {
    /// What the rules make of a pipeline; none if there is to be none.
    pub(super) fn outcome(&self, conditions: &Conditions<'_>, global: &[Variable]) -> Result<Option<Outcome>, Failure> {
        let Some(rules) = &self.rules else {
            return Ok(Some(Outcome { variables: Vec::new(), auto_cancel: self.auto_cancel }));
        };
        let rule = conditions.first(rules, &conditions.known(global))?.filter(|rule| rule.when != Some("never"));
        Ok(rule.map(|rule| {
            // What is wrong with it was found when the definition was read.
            let problems = Problems::default();
            let over = rule.auto_cancel.as_ref().map(|node| auto_cancel(&Entry::new("workflow", node, &problems)));
            Outcome { variables: rule.variables.clone(), auto_cancel: self.auto_cancel.with(over.unwrap_or_default()) }
        }))
    }
}

pub(super) fn read(entry: &Entry<'_>) -> Workflow {
    entry.map_of(&["name", "rules", "auto_cancel"]);
    let keys = ["if", "changes", "exists", "when", "variables", "auto_cancel"];
    let rules = entry.member("rules").and_then(|rules| {
        // Read here as well, so that what is wrong inside is found.
        for rule in rules.node.items().unwrap_or_default() {
            rules.child("rule", rule).member("auto_cancel").map(|entry| auto_cancel(&entry));
        }
        keywords::rules(&rules, &keys, &["always", "never"])
    });
    Workflow {
        name: entry.attribute("name").and_then(|name| name.name()),
        rules,
        auto_cancel: entry.member("auto_cancel").map(|entry| auto_cancel(&entry)).unwrap_or_default(),
    }
}

pub(super) fn auto_cancel(entry: &Entry<'_>) -> AutoCancel {
    entry.map_of(&["on_new_commit", "on_job_failure"]);
    AutoCancel {
        on_new_commit: entry
            .attribute("on_new_commit")
            .and_then(|word| word.one_of(&["conservative", "interruptible", "none"])),
        on_job_failure: entry.attribute("on_job_failure").and_then(|word| word.one_of(&["all", "none"])),
    }
}

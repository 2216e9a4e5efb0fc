//! Whether rules hold: asked of variables, changed files and files that are there.

use std::collections::BTreeMap;

use crate::plan::Variable;
use crate::variables::{expand, expand_known};

use super::Failure;
use super::expression::{Known, regex};
use super::glob::Glob;
use super::keywords::{Exists, Policy, Rule};
use super::sources::{Sources, Tree};

/// What kind of pipeline asks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kind<'a> {
    pub(crate) ref_name: &'a str,
    pub(crate) is_tag: bool,
    pub(crate) is_merge_request: bool,
    /// `push`, `api`, `trigger`, …
    pub(crate) source: &'a str,
    /// The project's full path.
    pub(crate) project: &'a str,
}

/// What rules are asked with.
pub(super) struct Conditions<'a> {
    pub(super) sources: &'a dyn Sources,
    pub(super) tree: &'a Tree,
    pub(super) kind: Kind<'a>,
    /// Then jobs without rules of their own are in pipelines of merge requests too.
    pub(super) has_workflow_rules: bool,
    /// Predefined, lowest in precedence.
    pub(super) predefined: &'a [Variable],
    /// Of the project and the pipeline, highest in precedence.
    pub(super) given: &'a [Variable],
}

impl Conditions<'_> {
    /// The values of variables where these are defined by the definition.
    pub(super) fn known(&self, defined: &[Variable]) -> Known {
        let all = [self.predefined, defined, self.given].concat();
        expand(all).into_iter().map(|variable| (variable.key, variable.value)).collect()
    }

    /// The first rule that fits.
    pub(super) fn first<'r>(&self, rules: &'r [Rule], known: &Known) -> Result<Option<&'r Rule>, Failure> {
        for rule in rules {
            if self.fits(rule, known)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    fn fits(&self, rule: &Rule, known: &Known) -> Result<bool, Failure> {
        if rule.condition.as_ref().is_some_and(|condition| !condition.holds(known)) {
            return Ok(false);
        }
        if let Some(changes) = &rule.changes {
            let since = changes.compare_to.as_ref().map(|name| expand_known(name, known));
            if !self.has_changed(&changes.paths, since.as_deref(), known)? {
                return Ok(false);
            }
        }
        rule.exists.as_ref().map_or(Ok(true), |exists| self.has_files(exists, known))
    }

    fn has_changed(&self, patterns: &[String], since: Option<&str>, known: &Known) -> Result<bool, Failure> {
        // Where nobody can say what changed, everything has.
        let Some(changed) = self.sources.changed(self.tree, since)? else { return Ok(true) };
        Ok(any_fits(patterns, &changed, known))
    }

    fn has_files(&self, exists: &Exists, known: &Known) -> Result<bool, Failure> {
        let elsewhere = match &exists.project {
            None => None,
            Some(project) => {
                let reference = exists.reference.as_ref().map(|name| expand_known(name, known));
                Some(self.sources.find(&expand_known(project, known), reference.as_deref())?)
            }
        };
        let paths = self.sources.paths(elsewhere.as_ref().unwrap_or(self.tree))?;
        Ok(any_fits(&exists.paths, &paths, known))
    }

    /// Whether a pipeline is as `only` says, in all that it says; of refs it has branches and tags
    /// if it names none.
    pub(super) fn is_wanted(&self, policy: &Policy, known: &Known) -> Result<bool, Failure> {
        let answers = self.answers(policy, known)?;
        let is_default = policy.refs.is_some() || !self.kind.is_merge_request;
        Ok(is_default && !policy.kubernetes && answers.into_iter().flatten().all(|answer| answer))
    }

    /// Whether a pipeline is as `except` says, in anything that it says.
    pub(super) fn is_unwanted(&self, policy: &Policy, known: &Known) -> Result<bool, Failure> {
        Ok(self.answers(policy, known)?.into_iter().flatten().any(|answer| answer))
    }

    /// Whether refs, variables and changes fit, of those that are given.
    fn answers(&self, policy: &Policy, known: &Known) -> Result<[Option<bool>; 3], Failure> {
        let changes = policy.changes.as_ref().map(|patterns| self.has_changed(patterns, None, known)).transpose()?;
        Ok([
            policy.refs.as_ref().map(|refs| refs.iter().any(|name| self.is_ref(name))),
            policy.variables.as_ref().map(|all| all.iter().any(|condition| condition.holds(known))),
            changes,
        ])
    }

    fn is_ref(&self, text: &str) -> bool {
        // `name@group/project` is for that project only.
        let (name, project) = match text.rsplit_once('@') {
            Some((name, project)) if !text.starts_with('/') => (name, Some(project)),
            _ => (text, None),
        };
        let kind = self.kind;
        if project.is_some_and(|project| project != kind.project) {
            return false;
        }
        match name {
            "branches" => !kind.is_tag && !kind.is_merge_request,
            "tags" => kind.is_tag,
            "merge_requests" => kind.is_merge_request,
            "pushes" => kind.source == "push",
            "triggers" | "schedules" | "pipelines" | "external" | "chat" => kind.source == name.trim_end_matches('s'),
            "web" | "api" => kind.source == name,
            pattern if pattern.starts_with('/') => {
                !kind.is_merge_request && regex(pattern).is_some_and(|regex| regex.is_match(kind.ref_name))
            }
            name => !kind.is_merge_request && name == kind.ref_name,
        }
    }
}

fn any_fits(patterns: &[String], paths: &[String], known: &BTreeMap<String, String>) -> bool {
    let patterns = patterns.iter().map(|pattern| Glob::new(expand_known(pattern, known).trim_start_matches("./")));
    patterns.into_iter().any(|pattern| paths.iter().any(|path| pattern.fits(path)))
}

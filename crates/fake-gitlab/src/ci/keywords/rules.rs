//! `rules` of jobs, includes and the workflow, read but not yet asked.

use crate::ci::entry::Entry;
use crate::ci::expression::Expression;
use crate::ci::node::Node;
use crate::plan::{AllowFailure, Need, Variable};

/// One rule. What it does not say is as the job has it.
#[derive(Debug, Clone, Default)]
pub(in crate::ci) struct Rule {
    pub(in crate::ci) condition: Option<Expression>,
    pub(in crate::ci) changes: Option<Changes>,
    pub(in crate::ci) exists: Option<Exists>,
    pub(in crate::ci) when: Option<&'static str>,
    pub(in crate::ci) start_in: Option<u64>,
    pub(in crate::ci) allow_failure: Option<AllowFailure>,
    pub(in crate::ci) variables: Vec<Variable>,
    pub(in crate::ci) needs: Option<Vec<Need>>,
    pub(in crate::ci) interruptible: Option<bool>,
    /// `auto_cancel` of a workflow's rule.
    pub(in crate::ci) auto_cancel: Option<Node>,
}

/// `changes`: patterns, and what to compare with.
#[derive(Debug, Clone)]
pub(in crate::ci) struct Changes {
    pub(in crate::ci) paths: Vec<String>,
    pub(in crate::ci) compare_to: Option<String>,
}

/// `exists`: patterns, and whose files are looked at.
#[derive(Debug, Clone)]
pub(in crate::ci) struct Exists {
    pub(in crate::ci) paths: Vec<String>,
    pub(in crate::ci) project: Option<String>,
    pub(in crate::ci) reference: Option<String>,
}

/// Deepest nesting of rules, which come in lists by way of `!reference`.
const DEPTH_LIMIT: usize = 10;

/// The rules of a list whose rules may have these keys and values of `when`.
pub(in crate::ci) fn rules(entry: &Entry<'_>, keys: &[&str], when: &[&'static str]) -> Option<Vec<Rule>> {
    let mut flat = Vec::new();
    if entry.node.items().is_none() || !flatten(entry.node, 0, &mut flat) {
        entry.complain("should be an array of hashes");
        return None;
    }
    Some(flat.into_iter().filter_map(|node| rule(&entry.child("rule", node), keys, when)).collect())
}

fn flatten<'a>(node: &'a Node, depth: usize, into: &mut Vec<&'a Node>) -> bool {
    match node {
        Node::List(items) if depth < DEPTH_LIMIT => items.iter().all(|item| flatten(item, depth + 1, into)),
        Node::Map(_) => {
            into.push(node);
            true
        }
        _ => false,
    }
}

fn rule(entry: &Entry<'_>, keys: &[&str], allowed: &[&'static str]) -> Option<Rule> {
    entry.map_of(keys)?;
    let when = entry.attribute("when").and_then(|when| when.one_of(allowed));
    let start_in = entry.attribute("start_in").and_then(|time| super::start_in(&time));
    match (when, start_in) {
        (Some("delayed"), None) => entry.require("start_in"),
        (Some("delayed"), Some(_)) | (_, None) => {}
        (_, Some(_)) => entry.complain("contains unknown keys: start_in"),
    }
    Some(Rule {
        condition: entry.attribute("if").and_then(|text| expression(&text)),
        changes: entry.member("changes").and_then(|changes| self::changes(&changes)),
        exists: entry.member("exists").and_then(|exists| self::exists(&exists)),
        when,
        start_in,
        allow_failure: entry.attribute("allow_failure").and_then(|flag| match flag.flag()? {
            true => Some(AllowFailure::Always),
            false => Some(AllowFailure::Never),
        }),
        variables: entry
            .member("variables")
            .and_then(|variables| super::variables(&variables, &["value", "expand"]))
            .unwrap_or_default(),
        needs: entry.member("needs").and_then(|needs| super::needs(&needs)),
        interruptible: entry.attribute("interruptible").and_then(|flag| flag.flag()),
        auto_cancel: entry.node.get("auto_cancel").cloned(),
    })
}

pub(in crate::ci) fn expression(entry: &Entry<'_>) -> Option<Expression> {
    let expression = match entry.node {
        Node::Text(text) => Expression::parse(text),
        _ => None,
    };
    if expression.is_none() {
        entry.complain("invalid expression syntax");
    }
    expression
}

/// A list of patterns, or `{paths, compare_to}`.
pub(in crate::ci) fn changes(entry: &Entry<'_>) -> Option<Changes> {
    if !entry.is_map() {
        return Some(Changes { paths: entry.texts()?, compare_to: None });
    }
    entry.map_of(&["paths", "compare_to"])?;
    entry.require("paths");
    let compare_to = entry.attribute("compare_to").and_then(|name| name.text());
    Some(Changes { paths: entry.attribute("paths")?.texts()?, compare_to })
}

/// A list of patterns, or `{paths, project, ref}`.
pub(in crate::ci) fn exists(entry: &Entry<'_>) -> Option<Exists> {
    if !entry.is_map() {
        return Some(Exists { paths: entry.texts()?, project: None, reference: None });
    }
    entry.map_of(&["paths", "project", "ref"])?;
    entry.require("paths");
    let text = |key| entry.attribute(key).and_then(|text| text.text());
    Some(Exists { paths: entry.attribute("paths")?.texts()?, project: text("project"), reference: text("ref") })
}

//! When a job runs, how long, where, and what its end means.

use crate::ci::entry::Entry;
use crate::ci::node::Node;
use crate::payload::FAILURE_REASONS;
use crate::plan::{AllowFailure, Retry};

/// Largest number of tags of a job.
const TAG_LIMIT: usize = 50;

pub(in crate::ci) fn when(entry: &Entry<'_>) -> Option<&'static str> {
    entry.one_of(&["on_success", "on_failure", "always", "manual", "delayed", "never"])
}

/// Seconds that a delayed job waits.
pub(in crate::ci) fn start_in(entry: &Entry<'_>) -> Option<u64> {
    entry.duration(7 * 24 * 3600, "1 week")
}

/// Seconds; GitLab takes at most a month.
pub(in crate::ci) fn timeout(entry: &Entry<'_>) -> Option<u64> {
    let seconds = entry.duration(31 * 24 * 3600, "one month")?;
    if seconds == 0 {
        entry.complain("should be a duration");
    }
    Some(seconds)
}

/// A boolean, or `{exit_codes: N or [N, …]}`.
pub(in crate::ci) fn allow_failure(entry: &Entry<'_>) -> Option<AllowFailure> {
    if let Node::Bool(flag) = entry.node {
        return Some(if *flag { AllowFailure::Always } else { AllowFailure::Never });
    }
    if !entry.is_map() {
        entry.complain("should be a hash or a boolean value");
        return None;
    }
    entry.map_of(&["exit_codes"])?;
    exit_codes(&entry.attribute("exit_codes")?).map(AllowFailure::ExitCodes)
}

fn exit_codes(entry: &Entry<'_>) -> Option<Vec<i64>> {
    let code = |node: &Node| match node {
        Node::Number(text) => text.parse().ok(),
        _ => None,
    };
    let codes = match entry.node {
        Node::List(items) => items.iter().map(code).collect(),
        node => code(node).map(|code| vec![code]),
    };
    if codes.is_none() {
        entry.complain("should be an array of integers or an integer");
    }
    codes
}

/// A number of tries, or `{max, when, exit_codes}`.
pub(in crate::ci) fn retry(entry: &Entry<'_>) -> Option<Retry> {
    let most = |entry: Entry<'_>| u64::try_from(entry.integer(0, 2)?).ok();
    if !entry.is_map() {
        if !matches!(entry.node, Node::Number(_)) {
            entry.complain("has to be either an integer or a hash");
            return None;
        }
        return Some(Retry { most: most(entry.clone())?, ..Retry::default() });
    }
    entry.map_of(&["max", "when", "exit_codes"])?;
    let reasons = entry.attribute("when").and_then(|when| {
        let reasons = when.texts_or_one()?;
        let unknown: Vec<&str> = reasons
            .iter()
            .map(String::as_str)
            .filter(|reason| *reason != "always" && !FAILURE_REASONS.contains(reason))
            .collect();
        if !unknown.is_empty() {
            when.complain(format!("contains unknown values: {}", unknown.join(", ")));
        }
        Some(reasons)
    });
    let reasons = reasons.unwrap_or_default();
    Some(Retry {
        most: entry.attribute("max").map_or(Some(2), most)?,
        reasons: if reasons.iter().any(|reason| reason == "always") { Vec::new() } else { reasons },
        exit_codes: entry.attribute("exit_codes").and_then(|codes| exit_codes(&codes)).unwrap_or_default(),
    })
}

pub(in crate::ci) fn tags(entry: &Entry<'_>) -> Option<Vec<String>> {
    let tags = entry.texts()?;
    if tags.len() > TAG_LIMIT {
        entry.complain(format!("must be less than the limit of {TAG_LIMIT} tags"));
    }
    Some(tags)
}

/// A pattern between slashes.
pub(in crate::ci) fn coverage(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    let inner = text.strip_prefix('/').and_then(|text| text.strip_suffix('/'));
    if inner.is_none_or(|pattern| regex::Regex::new(pattern).is_err()) {
        entry.complain("must be a regular expression");
    }
    Some(text)
}

//! `cache`, with one entry or several.

use serde_json::{Value, json};

use crate::ci::entry::Entry;
use crate::ci::node::Node;

/// Most entries of a job.
const ENTRY_LIMIT: usize = 4;

/// Payload entries, still with `unprotect` inside, which the payload's suffix depends on, and with
/// keys that are made of files as they stand.
pub(in crate::ci) fn cache(entry: &Entry<'_>) -> Option<Vec<Value>> {
    let Node::List(items) = entry.node else {
        return match entry.map()? {
            members if members.is_empty() => Some(Vec::new()),
            _ => Some(vec![one(entry)?]),
        };
    };
    if items.len() > ENTRY_LIMIT {
        entry.complain(format!("no more than {ENTRY_LIMIT} caches can be created"));
    }
    Some(items.iter().enumerate().filter_map(|(index, node)| one(&entry.child(&index.to_string(), node))).collect())
}

fn one(entry: &Entry<'_>) -> Option<Value> {
    entry.map_of(&["key", "paths", "untracked", "policy", "when", "fallback_keys", "unprotect"])?;
    let flag = |key| entry.attribute(key).and_then(|flag| flag.flag()).unwrap_or(false);
    let texts = |key| entry.attribute(key).and_then(|list| list.texts()).unwrap_or_default();
    // A policy may be a variable, which only the runner can read.
    let policy = entry.attribute("policy").and_then(|policy| match policy.node {
        Node::Text(text) if text.contains('$') => Some(text.clone()),
        _ => policy.one_of(&["pull-push", "push", "pull"]).map(str::to_owned),
    });
    let when = entry.attribute("when").and_then(|when| when.one_of(&["on_success", "on_failure", "always"]));
    let fallback_keys = texts("fallback_keys");
    if fallback_keys.len() > 5 {
        entry.complain("fallback keys has to have no more than 5 items");
    }
    Some(json!({
        "key": entry.member("key").map_or(Some(json!("default")), |key| self::key(&key))?,
        "untracked": flag("untracked"),
        "paths": texts("paths"),
        "policy": policy.as_deref().unwrap_or("pull-push"),
        "when": when.unwrap_or("on_success"),
        "fallback_keys": fallback_keys,
        "unprotect": flag("unprotect"),
    }))
}

/// A text, or `{files or files_commits, prefix}`.
fn key(entry: &Entry<'_>) -> Option<Value> {
    if !entry.is_map() {
        let Some(text) = entry.node.scalar() else {
            entry.complain("should be a hash, a string or a symbol");
            return None;
        };
        let is_path = text.contains('/') || text.to_ascii_lowercase().contains("%2f");
        if is_path {
            entry.complain("cannot contain the \"/\" character");
        } else if text.chars().all(|letter| letter == '.') {
            entry.complain("cannot be \".\" or \"..\"");
        }
        return Some(json!(text));
    }
    entry.map_of(&["files", "files_commits", "prefix"])?;
    let named: Vec<&str> =
        ["files", "files_commits"].into_iter().filter(|key| entry.attribute(key).is_some()).collect();
    let [kind] = named[..] else {
        entry.complain("must use exactly one of these keys: files, files_commits");
        return None;
    };
    let files = entry.member(kind)?;
    let paths = files.texts()?;
    if paths.is_empty() || paths.len() > 2 {
        files.complain("requires 1 or 2 items");
    }
    let prefix = entry.attribute("prefix").and_then(|prefix| prefix.text());
    Some(json!({ kind: paths, "prefix": prefix }))
}

//! `artifacts`: the archive, the reports, and who may have them.

use serde_json::{Value, json};

use crate::artifact_types;
use crate::ci::entry::Entry;
use crate::ci::node::Node;
use crate::duration::parse_seconds;

const KEYS: [&str; 10] =
    ["name", "untracked", "paths", "reports", "when", "expire_in", "expose_as", "exclude", "public", "access"];

/// One payload entry for the archive, if there is one, and one per report.
pub(in crate::ci) fn artifacts(entry: &Entry<'_>) -> Option<Vec<Value>> {
    entry.map_of(&KEYS)?;
    let texts = |key| entry.attribute(key).and_then(|list| list.texts()).unwrap_or_default();
    let (paths, exclude) = (texts("paths"), texts("exclude"));
    let untracked = entry.attribute("untracked").and_then(|flag| flag.flag()).unwrap_or(false);
    let name = entry.attribute("name").and_then(|name| name.text());
    let expire_in = entry.attribute("expire_in").and_then(|time| expire_in(&time));
    let when = entry.attribute("when").and_then(|when| when.one_of(&["on_success", "on_failure", "always"]));
    if let Some(exposed) = entry.attribute("expose_as") {
        exposed.text();
        if paths.is_empty() {
            entry.require("paths");
        } else if paths.iter().any(|path| path.contains('*')) {
            exposed.complain("can't contain '*' when used with paths");
        }
    }
    if entry.attribute("public").is_some() && entry.attribute("access").is_some() {
        entry.complain("must use only one of these keys: public, access");
    }
    let mut entries = Vec::new();
    if !paths.is_empty() || untracked {
        let mut archive = json!({
            "name": name,
            "untracked": untracked,
            "paths": paths,
            "when": when.unwrap_or("on_success"),
            "expire_in": expire_in,
            "artifact_type": "archive",
            "artifact_format": "zip",
        });
        if !exclude.is_empty() {
            archive["exclude"] = json!(exclude);
        }
        entries.push(archive);
    }
    let reports = entry.member("reports").and_then(|reports| self::reports(&reports, expire_in.as_deref()));
    entries.extend(reports.unwrap_or_default());
    Some(entries)
}

/// What `public` and `access` make of it; none if neither is there.
pub(in crate::ci) fn access(entry: &Entry<'_>) -> Option<&'static str> {
    if let Some(public) = entry.attribute("public") {
        return Some(if public.flag()? { "public" } else { "private" });
    }
    match entry.attribute("access")?.one_of(&["none", "developer", "maintainer", "all"])? {
        "all" => Some("public"),
        "none" => Some("none"),
        _ => Some("private"),
    }
}

fn expire_in(entry: &Entry<'_>) -> Option<String> {
    let text = entry.node.scalar().filter(|text| text == "never" || parse_seconds(text).is_some());
    if text.is_none() {
        entry.complain("should be a duration");
    }
    text
}

fn reports(entry: &Entry<'_>, expire_in: Option<&str>) -> Option<Vec<Value>> {
    let mut entries = Vec::new();
    let mut unknown = Vec::new();
    for (key, node) in entry.map()? {
        let report = entry.child(key, node);
        let (file_type, paths) = match key.as_str() {
            "coverage_report" => {
                report.map_of(&["coverage_format", "path"])?;
                report.require("coverage_format");
                report.require("path");
                let format = report.attribute("coverage_format")?.one_of(&["cobertura", "jacoco"])?;
                (format.to_owned(), vec![report.attribute("path")?.text()?])
            }
            _ if node.is_null() => continue,
            _ => match node {
                Node::Text(path) => (key.clone(), vec![path.clone()]),
                _ => (key.clone(), report.texts_or_one()?),
            },
        };
        let Some((format, name)) = artifact_types::report(&file_type) else {
            unknown.push(key.as_str());
            continue;
        };
        entries.push(json!({
            "name": name,
            "paths": paths,
            "when": "always",
            "expire_in": expire_in,
            "artifact_type": file_type,
            "artifact_format": format,
        }));
    }
    if !unknown.is_empty() {
        entry.complain(format!("contains unknown keys: {}", unknown.join(", ")));
    }
    Some(entries)
}

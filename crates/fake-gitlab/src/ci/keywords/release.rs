//! `release`: the step that makes one.

use serde_json::{Value, json};

use crate::ci::entry::Entry;

/// Lines of the step: `glab` is asked to make the release.
pub(in crate::ci) fn release(entry: &Entry<'_>) -> Option<Vec<String>> {
    let keys = ["tag_name", "tag_message", "name", "description", "ref", "milestones", "released_at", "assets"];
    entry.map_of(&keys)?;
    entry.require("tag_name");
    entry.require("description");
    let text = |key| entry.attribute(key).and_then(|text| text.text());
    let mut command = format!("glab release create -R $CI_PROJECT_PATH \"{}\"", text("tag_name").unwrap_or_default());
    let links = entry.member("assets").and_then(|assets| links(&assets)).unwrap_or_default();
    if !links.is_empty() {
        // Once as JSON, and once more as a text that the shell takes for one word.
        command.push_str(&format!(" --assets-links {}", json!(json!(links).to_string())));
    }
    if let Some(milestones) = entry.attribute("milestones").and_then(|names| names.texts_or_one()) {
        command.push_str(&format!(" --milestone \"{}\"", milestones.join(",")));
    }
    let flags = [
        ("--name", text("name")),
        ("--experimental-notes-text-or-file", text("description")),
        ("--ref", Some(text("ref").unwrap_or_else(|| "$CI_COMMIT_SHA".to_owned()))),
        ("--tag-message", text("tag_message")),
        ("--released-at", text("released_at")),
    ];
    for (flag, value) in flags {
        if let Some(value) = value {
            command.push_str(&format!(" {flag} \"{value}\""));
        }
    }
    command.push_str(" --no-update --no-close-milestone");
    Some(vec![
        "export GITLAB_HOST=$CI_SERVER_URL".to_owned(),
        "glab auth login --job-token $CI_JOB_TOKEN --hostname \"$CI_SERVER_FQDN\" --api-protocol $CI_SERVER_PROTOCOL"
            .to_owned(),
        command,
    ])
}

fn links(entry: &Entry<'_>) -> Option<Vec<Value>> {
    entry.map_of(&["links"])?;
    let links = entry.member("links")?;
    for (index, link) in links.items()?.iter().enumerate() {
        let link = links.child(&index.to_string(), link);
        link.map_of(&["name", "url", "filepath", "link_type"]);
        link.require("name");
        link.require("url");
    }
    match links.node.to_json() {
        Value::Array(links) => Some(links),
        _ => None,
    }
}

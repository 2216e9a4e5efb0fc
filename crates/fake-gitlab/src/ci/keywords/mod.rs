//! The values of single keywords, most of them straight into the payload's shape. One file is one
//! family.

mod artifacts;
mod cache;
mod environment;
mod image;
mod needs;
mod outcome;
mod parallel;
mod policy;
mod release;
mod rules;
mod variables;

pub(super) use artifacts::{access, artifacts};
pub(super) use cache::cache;
pub(super) use environment::{environment, resource_group};
pub(super) use image::{image, services};
pub(super) use needs::needs;
pub(super) use outcome::{allow_failure, coverage, retry, start_in, tags, timeout, when};
pub(super) use parallel::{Parallel, Selection, parallel};
pub(super) use policy::{Policy, policy};
pub(super) use release::release;
pub(super) use rules::{Exists, Rule, rules};
pub(super) use variables::variables;

use super::entry::Entry;

/// Names and lines of `hooks`.
pub(super) fn hooks(entry: &Entry<'_>) -> Option<Vec<(String, Vec<String>)>> {
    const KNOWN: [&str; 1] = ["pre_get_sources_script"];
    entry.map_of(&KNOWN)?;
    let hooks = KNOWN.iter().filter_map(|name| Some(((*name).to_owned(), entry.member(name)?.script()?)));
    Some(hooks.collect())
}

/// Steps for the step runner.
pub(super) fn run(entry: &Entry<'_>) -> Option<serde_json::Value> {
    for (index, step) in entry.items()?.iter().enumerate() {
        let step = entry.child(&index.to_string(), step);
        step.map_of(&["name", "script", "step", "func", "inputs", "env"]);
        step.require("name");
        let named = ["script", "step", "func"].iter().filter(|key| step.attribute(key).is_some()).count();
        if named != 1 {
            step.complain("should have either script or step");
        }
    }
    Some(entry.node.to_json())
}

/// `inputs` of a job, with their defaults, in the payload's shape.
pub(super) fn inputs(entry: &Entry<'_>) -> Option<Vec<serde_json::Value>> {
    let inputs = entry.map()?.iter().map(|(key, node)| {
        let input = entry.child(key, node);
        input.map_of(&["type", "default", "options", "regex", "description"])?;
        let kind = input
            .attribute("type")
            .map_or(Some("string"), |kind| kind.one_of(&["string", "number", "boolean", "array"]))?;
        let Some(default) = input.attribute("default") else {
            input.complain("must have a default value");
            return None;
        };
        let content = default.node.to_json();
        let fits = match kind {
            "number" => content.is_number(),
            "boolean" => content.is_boolean(),
            "array" => content.is_array(),
            _ => content.is_string(),
        };
        if !fits {
            default.complain(format!("should be of type {kind}"));
        }
        Some(serde_json::json!({ "key": key, "value": { "type": kind, "content": content, "sensitive": false } }))
    });
    inputs.collect()
}

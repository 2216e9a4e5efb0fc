//! `environment` and `resource_group`.

use crate::ci::entry::Entry;
use crate::plan::Environment;

/// A name, or a map.
pub(in crate::ci) fn environment(entry: &Entry<'_>) -> Option<Environment> {
    if !entry.is_map() {
        return Some(Environment { name: entry.name()?, url: None, action: "start", tier: None });
    }
    entry.map_of(&[
        "name",
        "url",
        "action",
        "on_stop",
        "auto_stop_in",
        "kubernetes",
        "deployment_tier",
        "deployment_attributes",
    ])?;
    entry.require("name");
    let url = entry.attribute("url").and_then(|url| url.text());
    let action =
        entry.attribute("action").and_then(|action| action.one_of(&["start", "stop", "prepare", "verify", "access"]));
    let tier = entry
        .attribute("deployment_tier")
        .and_then(|tier| tier.one_of(&["production", "staging", "testing", "development", "other"]));
    entry.attribute("on_stop").and_then(|job| job.text());
    entry.attribute("auto_stop_in").and_then(|time| time.duration(u64::MAX, "no time"));
    let name = entry.attribute("name")?.name()?;
    Some(Environment { name, url, action: action.unwrap_or("start"), tier })
}

pub(in crate::ci) fn resource_group(entry: &Entry<'_>) -> Option<String> {
    entry.name()
}

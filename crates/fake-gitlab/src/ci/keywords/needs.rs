//! `needs`: which jobs come first, and whose files come with them.

use crate::ci::entry::Entry;
use crate::ci::node::Node;
use crate::plan::Need;

use super::parallel::selections;

/// Names of jobs, or `{job, artifacts, optional, parallel}`. With `parallel` there is one need for
/// each part that it names.
pub(in crate::ci) fn needs(entry: &Entry<'_>) -> Option<Vec<Need>> {
    let mut needs = Vec::new();
    for (index, item) in entry.items()?.iter().enumerate() {
        let need = |job: String| Need { job, artifacts: true, optional: false };
        match item {
            Node::Text(name) => needs.push(need(name.clone())),
            Node::Map(_) => needs.extend(detailed(&entry.child(&index.to_string(), item)).unwrap_or_default()),
            _ => entry.complain("can only be a hash or an array"),
        }
    }
    Some(needs)
}

fn detailed(entry: &Entry<'_>) -> Option<Vec<Need>> {
    for elsewhere in ["pipeline", "project", "ref"] {
        if entry.attribute(elsewhere).is_some() {
            entry.complain(format!("uses `{elsewhere}`, and jobs of other pipelines are not supported here"));
            return None;
        }
    }
    entry.map_of(&["job", "artifacts", "optional", "parallel"])?;
    entry.require("job");
    let job = entry.attribute("job")?.name()?;
    let flag = |key, default| entry.attribute(key).and_then(|flag| flag.flag()).unwrap_or(default);
    let (artifacts, optional) = (flag("artifacts", true), flag("optional", false));
    let names = match entry.member("parallel") {
        None => vec![job],
        Some(parallel) => {
            parallel.map_of(&["matrix"])?;
            let chosen = selections(&parallel.member("matrix")?)?;
            chosen.iter().map(|selection| selection.name(&job)).collect()
        }
    };
    Some(names.into_iter().map(|job| Need { job, artifacts, optional }).collect())
}

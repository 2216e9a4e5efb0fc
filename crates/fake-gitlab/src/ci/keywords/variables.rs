//! `variables` of the top level, a job, a rule or a service.

use crate::ci::entry::Entry;
use crate::ci::node::Node;
use crate::plan::Variable;

/// `KEY: value`, or `KEY: {value, expand, …}` with what else `data` allows there.
pub(in crate::ci) fn variables(entry: &Entry<'_>, data: &[&str]) -> Option<Vec<Variable>> {
    let members = entry.map()?;
    Some(members.iter().filter_map(|(key, node)| variable(&entry.child(key, node), key, data)).collect())
}

fn variable(entry: &Entry<'_>, key: &str, data: &[&str]) -> Option<Variable> {
    let Node::Map(members) = entry.node else {
        return match entry.node {
            Node::Null => Some(Variable::new(key, "")),
            node => match node.scalar() {
                Some(text) => Some(Variable::new(key, text)),
                None => {
                    entry.complain("should be a string or a hash");
                    None
                }
            },
        };
    };
    let wrong: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).filter(|key| !data.contains(key)).collect();
    if !wrong.is_empty() {
        entry.complain(format!("uses invalid data keys: {}", wrong.join(", ")));
        return None;
    }
    let value = entry.attribute("value").and_then(|value| match value.node.scalar() {
        None => {
            value.complain("should be a string");
            None
        }
        text => text,
    });
    entry.attribute("description").and_then(|text| text.text());
    if let Some(options) = entry.attribute("options") {
        let allowed = options.texts()?;
        match &value {
            Some(value) if allowed.contains(value) => {}
            Some(_) => entry.complain("value must be present in options"),
            None => entry.complain("must have a default value that is among its options"),
        }
    }
    let variable = Variable::new(key, value.unwrap_or_default());
    Some(match entry.attribute("expand").and_then(|flag| flag.flag()) {
        Some(false) => variable.raw(),
        _ => variable,
    })
}

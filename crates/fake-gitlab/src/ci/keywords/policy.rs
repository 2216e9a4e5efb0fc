//! `only` and `except`: the older way to say when a job runs.

use crate::ci::entry::Entry;
use crate::ci::expression::Expression;

/// What a pipeline must be like.
#[derive(Debug, Clone, Default)]
pub(in crate::ci) struct Policy {
    /// Names, patterns between slashes, and words such as `branches`.
    pub(in crate::ci) refs: Option<Vec<String>>,
    pub(in crate::ci) variables: Option<Vec<Expression>>,
    pub(in crate::ci) changes: Option<Vec<String>>,
    /// `kubernetes: active`: there is no cluster here, so it never holds.
    pub(in crate::ci) kubernetes: bool,
}

/// A list of refs, or `{refs, variables, changes, kubernetes}`.
pub(in crate::ci) fn policy(entry: &Entry<'_>) -> Option<Policy> {
    if !entry.is_map() {
        if entry.node.items().is_none() {
            entry.complain("has to be either an array of conditions or a hash");
            return None;
        }
        return Some(Policy { refs: Some(entry.texts()?), ..Policy::default() });
    }
    entry.map_of(&["refs", "variables", "changes", "kubernetes"])?;
    let texts = |key| entry.attribute(key).and_then(|list| list.texts());
    let variables = texts("variables").map(|conditions| {
        let parsed: Vec<Expression> = conditions.iter().filter_map(|text| Expression::parse(text)).collect();
        if parsed.len() != conditions.len() {
            entry.complain("variables Invalid expression syntax");
        }
        parsed
    });
    let kubernetes = entry.attribute("kubernetes").and_then(|word| word.one_of(&["active"])).is_some();
    Some(Policy { refs: texts("refs"), variables, changes: texts("changes"), kubernetes })
}

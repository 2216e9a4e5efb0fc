//! `parallel`: one job in many parts.

use crate::ci::entry::Entry;
use crate::ci::node::Node;

/// Most parts of a job.
const PART_LIMIT: i64 = 200;

/// How a job is split.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ci) enum Parallel {
    /// Into so many equal parts.
    Parts(u64),
    /// One part for each choice of variables.
    Matrix(Vec<Selection>),
}

/// Values of variables, in the order of the definition.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ci) struct Selection(pub(in crate::ci) Vec<(String, String)>);

impl Selection {
    /// `job: [a, b]`.
    pub(in crate::ci) fn name(&self, job: &str) -> String {
        let values: Vec<&str> = self.0.iter().map(|(_, value)| value.as_str()).collect();
        format!("{job}: [{}]", values.join(", "))
    }
}

pub(in crate::ci) fn parallel(entry: &Entry<'_>) -> Option<Parallel> {
    if !entry.is_map() {
        return entry.integer(1, PART_LIMIT).and_then(|parts| u64::try_from(parts).ok()).map(Parallel::Parts);
    }
    entry.map_of(&["matrix"])?;
    let matrix = entry.member("matrix");
    if matrix.is_none() {
        entry.complain("should contain a matrix");
    }
    let selections = selections(&matrix?)?;
    if selections.is_empty() {
        entry.complain("generates no jobs (should be at least 1)");
    } else if selections.len() > usize::try_from(PART_LIMIT).unwrap_or(usize::MAX) {
        entry.complain(format!("generates too many jobs (maximum is {PART_LIMIT})"));
    }
    Some(Parallel::Matrix(selections))
}

/// All choices of values of a list of maps from variables to values.
pub(super) fn selections(entry: &Entry<'_>) -> Option<Vec<Selection>> {
    let mut all = Vec::new();
    for (index, item) in entry.items()?.iter().enumerate() {
        let item = entry.child(&index.to_string(), item);
        let mut chosen = vec![Vec::new()];
        for (key, node) in item.map()? {
            let values: Option<Vec<String>> = match node {
                Node::List(values) => values.iter().map(Node::scalar).collect(),
                value => value.scalar().map(|value| vec![value]),
            };
            let Some(values) = values.filter(|values| !values.is_empty()) else {
                item.complain("should be a hash of key value pairs, value can be an array");
                return None;
            };
            // Longer than any that is allowed; the rest is not worth its memory.
            if chosen.len().saturating_mul(values.len()) > 10_000 {
                entry.complain(format!("generates too many jobs (maximum is {PART_LIMIT})"));
                return None;
            }
            let extend = |before: &Vec<(String, String)>| {
                let extend = |value: &String| [before.as_slice(), &[(key.clone(), value.clone())]].concat();
                values.iter().map(extend).collect::<Vec<_>>()
            };
            chosen = chosen.iter().flat_map(extend).collect();
        }
        all.extend(chosen.into_iter().map(Selection));
    }
    Some(all)
}

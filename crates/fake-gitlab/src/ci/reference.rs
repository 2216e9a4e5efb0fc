//! `!reference [job, keyword]`: what stands there, put here.

use super::node::{Members, Node};

/// Longest chain of references.
const DEPTH_LIMIT: usize = 10;

/// The definition without references.
pub(super) fn resolve(root: &Members) -> Result<Members, String> {
    let document = Node::Map(root.clone());
    let resolved = root.iter().map(|(key, node)| Ok((key.clone(), replaced(node, &document, &mut Vec::new())?)));
    resolved.collect()
}

/// A value with its references replaced; `path` holds those that led here.
fn replaced(node: &Node, document: &Node, path: &mut Vec<Vec<Node>>) -> Result<Node, String> {
    match node {
        Node::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                list.push(replaced(item, document, path)?);
            }
            Ok(Node::List(list))
        }
        Node::Map(members) => {
            let members = members.iter().map(|(key, node)| Ok((key.clone(), replaced(node, document, path)?)));
            members.collect::<Result<_, String>>().map(Node::Map)
        }
        Node::Reference(keys) => {
            let shown = Node::List(keys.clone()).to_json().to_string().replace("\",\"", "\", \"");
            if path.contains(keys) {
                return Err(format!("!reference {shown} is part of a circular chain"));
            }
            if path.len() >= DEPTH_LIMIT {
                return Err(format!("!reference {shown} exceeds the nesting limit of {DEPTH_LIMIT}"));
            }
            if keys.is_empty() || keys.iter().any(|key| !matches!(key, Node::Text(_) | Node::Number(_))) {
                return Err(format!("!reference {shown} is not valid"));
            }
            let found = keys.iter().try_fold(document, |node, key| match (node, key.scalar()?) {
                (Node::List(items), index) => items.get(index.parse::<usize>().ok()?),
                (node, key) => node.get(&key),
            });
            let found = found.ok_or_else(|| format!("!reference {shown} could not be found"))?;
            path.push(keys.clone());
            let found = replaced(found, document, path)?;
            path.pop();
            Ok(found)
        }
        scalar => Ok(scalar.clone()),
    }
}

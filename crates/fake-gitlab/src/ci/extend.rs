//! `extends`: a job laid over those it names, the last of which counts most.

use super::node::{Members, Node, merge};

/// Longest chain of jobs that extend each other.
const DEPTH_LIMIT: usize = 10;

/// The definition with every `extends` of a job replaced by what it stands for.
pub(super) fn resolve(root: &Members) -> Result<Members, String> {
    let resolved = root.iter().map(|(name, node)| match node.members() {
        Some(_) => Ok((name.clone(), Node::Map(extended(root, name, &mut Vec::new())?))),
        None => Ok((name.clone(), node.clone())),
    });
    resolved.collect()
}

/// A job with all that it extends; `path` holds the jobs on the way to it.
fn extended<'a>(root: &'a Members, name: &'a str, path: &mut Vec<&'a str>) -> Result<Members, String> {
    if path.contains(&name) {
        return Err(format!("{name}: circular dependency detected in `extends`"));
    }
    if path.len() > DEPTH_LIMIT {
        return Err(format!("{name}: nesting too deep in `extends`"));
    }
    let own = find(root, name).and_then(Node::members).cloned().unwrap_or_default();
    let Some(parents) = own.iter().find(|(key, _)| key == "extends").map(|(_, node)| parents(node)) else {
        return Ok(own);
    };
    let Some(parents) = parents else {
        return Err(format!("{name}: invalid base hashes in `extends`"));
    };
    let unknown: Vec<&str> = parents.iter().map(String::as_str).filter(|parent| find(root, parent).is_none()).collect();
    if !unknown.is_empty() {
        return Err(format!("{name}: unknown keys in `extends` ({})", unknown.join(", ")));
    }
    path.push(name);
    let mut all = Members::new();
    for parent in &parents {
        let Some((parent, node)) = root.iter().find(|(key, _)| key == parent) else { continue };
        if node.members().is_none() {
            return Err(format!("{name}: invalid base hashes in `extends`"));
        }
        merge(&mut all, extended(root, parent, path)?);
    }
    path.pop();
    all.retain(|(key, _)| key != "extends");
    merge(&mut all, own.into_iter().filter(|(key, _)| key != "extends").collect());
    Ok(all)
}

fn find<'a>(root: &'a Members, name: &str) -> Option<&'a Node> {
    root.iter().find(|(key, _)| key == name).map(|(_, node)| node)
}

fn parents(node: &Node) -> Option<Vec<String>> {
    match node {
        Node::Text(name) => Some(vec![name.clone()]),
        Node::List(items) => items.iter().map(Node::scalar).collect(),
        _ => None,
    }
}

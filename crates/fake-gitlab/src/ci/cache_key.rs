//! Cache keys that are made of files.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::variables::expand_known;

use super::Failure;
use super::expression::Known;
use super::glob::Glob;
use super::sources::{Sources, Tree};

/// The entries with `key:files` and `key:files_commits` replaced by the key they stand for:
/// `prefix-digest`. Without a prefix it is made of the entry's number and the files' names.
pub(super) fn resolve(
    entries: &[Value],
    sources: &dyn Sources,
    tree: &Tree,
    known: &Known,
) -> Result<Vec<Value>, Failure> {
    let mut resolved = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let mut entry = entry.clone();
        if let Value::Object(key) = &entry["key"] {
            let by_commit = key.contains_key("files_commits");
            let files = key.get(if by_commit { "files_commits" } else { "files" });
            let files: Vec<String> = files
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|path| expand_known(path, known))
                .collect();
            let prefix = match key.get("prefix").and_then(Value::as_str) {
                Some(prefix) => prefix.to_owned(),
                None => {
                    let names: Vec<&str> =
                        files.iter().map(|file| file.split('.').next().unwrap_or_default()).collect();
                    format!("{index}_{}", names.join("_"))
                }
            };
            let digest = digest(&files, by_commit, sources, tree)?;
            entry["key"] = json!(format!("{prefix}-{}", digest.as_deref().unwrap_or("default")));
        }
        resolved.push(entry);
    }
    Ok(resolved)
}

/// A digest that changes with the files; none if there are none of them.
fn digest(files: &[String], by_commit: bool, sources: &dyn Sources, tree: &Tree) -> Result<Option<String>, Failure> {
    let mut ids = Vec::new();
    for file in files {
        if by_commit {
            ids.extend(sources.last_commit(tree, file)?);
        } else if file.contains('*') {
            let pattern = Glob::new(file);
            for path in sources.paths(tree)?.iter().filter(|path| pattern.fits(path)) {
                ids.extend(sources.content_id(tree, path)?);
            }
        } else {
            ids.extend(sources.content_id(tree, file)?);
        }
    }
    ids.sort();
    ids.dedup();
    let digest = Sha256::digest(ids.join("-")).iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    Ok((!ids.is_empty()).then_some(digest))
}

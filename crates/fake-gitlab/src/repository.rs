//! What users read of a repository: branches, tags, commits, folders, files.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::git::{commit, run, text, update};
use crate::project::{Commit, Project};
use crate::shared::Shared;

/// The copy of a project's repository, brought up to date; none for a project without one.
pub(crate) async fn fresh(shared: &Shared, project: &Project) -> Result<Option<PathBuf>, Error> {
    if let (Some(source), Some(mirror)) = (&project.source, &project.mirror) {
        let _alone = shared.git.lock().await;
        update(source, mirror, &project.default_branch).await?;
    }
    Ok(project.mirror.clone())
}

/// The names below `refs/heads` or `refs/tags`, in order.
pub(crate) async fn names(mirror: &Path, namespace: &str) -> Result<Vec<String>, Error> {
    let listed = text(mirror, &["for-each-ref", "--format=%(refname)", namespace]).await?;
    let prefix = format!("{namespace}/");
    Ok(listed.lines().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
}

/// The commit a branch, a tag or an id stands for.
pub(crate) async fn find(mirror: &Path, revision: &str) -> Result<Option<Commit>, Error> {
    match commit(mirror, revision).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::Git { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Commits from a revision back, newest first, of one file or folder if `path` is not empty.
pub(crate) async fn log(mirror: &Path, revision: &str, path: &str, most: usize) -> Result<Vec<Commit>, Error> {
    let most = format!("--max-count={most}");
    let mut arguments = vec!["rev-list", &most, "--end-of-options", revision, "--"];
    if !path.is_empty() {
        arguments.push(path);
    }
    let mut commits = Vec::new();
    for id in text(mirror, &arguments).await?.lines() {
        commits.push(commit(mirror, id).await?);
    }
    Ok(commits)
}

/// An entry of a folder.
pub(crate) struct Entry {
    pub(crate) mode: String,
    /// `blob`, `tree` or `commit`.
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) path: String,
}

/// The entries of a folder, of those below it too if `recursive`.
pub(crate) async fn tree(mirror: &Path, sha: &str, folder: &str, recursive: bool) -> Result<Vec<Entry>, Error> {
    let folder = match folder.trim_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    let mut arguments = vec!["ls-tree", "-z"];
    if recursive {
        arguments.extend(["-r", "-t"]);
    }
    arguments.push(sha);
    if !folder.is_empty() {
        arguments.extend(["--", &folder]);
    }
    let listed = text(mirror, &arguments).await?;
    let entries = listed.split('\0').filter_map(|line| {
        let (about, path) = line.split_once('\t')?;
        let mut about = about.split(' ').map(str::to_owned);
        Some(Entry { mode: about.next()?, kind: about.next()?, id: about.next()?, path: path.to_owned() })
    });
    Ok(entries.collect())
}

/// A file at a commit, with the id of its content.
pub(crate) async fn blob(mirror: &Path, sha: &str, path: &str) -> Result<Option<(String, Vec<u8>)>, Error> {
    let listed = text(mirror, &["ls-tree", sha, "--", path]).await?;
    let id = listed.split_whitespace().nth(2).filter(|_| listed.split_whitespace().nth(1) == Some("blob"));
    match id {
        Some(id) => Ok(Some((id.to_owned(), run(mirror, &["cat-file", "blob", id]).await?))),
        None => Ok(None),
    }
}

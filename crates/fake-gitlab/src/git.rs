//! The `git` program: bare copies of the given repositories, and what is read from them.
//!
//! The user's repository is only ever read. Everything is served from, and written to, a bare copy
//! in the scratch folder, whose object files are hard links where the file system allows it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::Error;
use crate::project::Commit;

/// Variables that would make git work on another repository than the one named; a hook that calls
/// us has them set.
const INHERITED: [&str; 6] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE"];

/// A `git` command with a clean environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new("git");
    for name in INHERITED {
        command.env_remove(name);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs git in a repository and gives its stdout.
pub(crate) async fn run<A: AsRef<OsStr>>(repository: &Path, args: &[A]) -> Result<Vec<u8>, Error> {
    let output = command().arg("-C").arg(repository).args(args).output().await.map_err(Error::GitMissing)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Git {
        command: args.first().map(|name| name.as_ref().to_string_lossy().into_owned()).unwrap_or_default(),
        repository: repository.to_owned(),
        message: stderr.trim().replace('\n', ": "),
    })
}

pub(crate) async fn text<A: AsRef<OsStr>>(repository: &Path, args: &[A]) -> Result<String, Error> {
    let bytes = run(repository, args).await?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

/// Settings of a copy that is served: any commit may be asked for by its id, nothing is pushed,
/// and nothing is repacked behind the server's back.
const SERVED: [(&str, &str); 7] = [
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.hideRefs", "refs/stash"),
    ("http.receivepack", "false"),
    // Requests without a length are read into memory up to this size.
    ("http.maxRequestBuffer", "100m"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

/// Makes the bare copy `mirror` of the repository at `source`, and gives the default branch: the
/// one HEAD names there. Where HEAD is detached it is one made for HEAD's commit: `main` if there is
/// no such branch, else `detached-head`.
pub(crate) async fn copy(source: &Path, mirror: &Path) -> Result<String, Error> {
    let source = absolute(source)?;
    text(&source, &["rev-parse", "--git-dir"]).await?;
    std::fs::create_dir_all(mirror).map_err(|problem| Error::File {
        action: "make folder",
        path: mirror.to_owned(),
        source: problem,
    })?;
    let settings: Vec<String> =
        SERVED.iter().flat_map(|(key, value)| ["-c".to_owned(), format!("{key}={value}")]).collect();
    let mut arguments: Vec<&OsStr> = ["clone", "--quiet", "--bare"].map(OsStr::new).to_vec();
    arguments.extend(settings.iter().map(OsStr::new));
    arguments.extend([OsStr::new("--"), source.as_ref(), mirror.as_ref()]);
    run(&source, &arguments).await?;
    if let Some(branch) = named_head(&source).await? {
        return Ok(branch);
    }
    let branch = match has_branch(&source, "main").await? {
        true => "detached-head".to_owned(),
        false => "main".to_owned(),
    };
    run(mirror, &["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]).await?;
    update(&source, mirror, &branch).await?;
    Ok(branch)
}

/// Brings the branches and tags of the copy up to date with the user's repository.
///
/// A checkout that a CI job works on has a detached HEAD and no branches. There HEAD is served as
/// the default branch.
pub(crate) async fn update(source: &Path, mirror: &Path, default_branch: &str) -> Result<(), Error> {
    let source = absolute(source)?;
    let head = format!("+HEAD:refs/heads/{default_branch}");
    let mut arguments: Vec<&OsStr> =
        ["fetch", "--quiet", "--prune", "--no-tags", "--update-shallow", "--"].map(OsStr::new).to_vec();
    arguments.push(source.as_ref());
    arguments.extend(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(OsStr::new));
    if named_head(&source).await?.is_none() && !has_branch(&source, default_branch).await? {
        arguments.push(head.as_ref());
    }
    run(mirror, &arguments).await.map(drop)
}

async fn has_branch(repository: &Path, name: &str) -> Result<bool, Error> {
    let listed = text(repository, &["for-each-ref", "--format=%(refname)", &format!("refs/heads/{name}")]).await?;
    Ok(!listed.is_empty())
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::File { action: "find", path: path.to_owned(), source })
}

/// The branch that HEAD names, also when it has no commit yet; none if HEAD is detached.
async fn named_head(repository: &Path) -> Result<Option<String>, Error> {
    match text(repository, &["symbolic-ref", "--short", "HEAD"]).await {
        Ok(name) => Ok(Some(name)),
        Err(Error::Git { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What a name of a branch or tag stands for.
pub(crate) struct Reference {
    pub(crate) is_tag: bool,
    /// Message of an annotated tag.
    pub(crate) tag_message: Option<String>,
    pub(crate) commit: Commit,
}

/// Finds a branch, else a tag, of that name; none if there is neither.
pub(crate) async fn resolve(mirror: &Path, name: &str) -> Result<Option<Reference>, Error> {
    for (namespace, is_tag) in [("refs/heads/", false), ("refs/tags/", true)] {
        let full = format!("{namespace}{}", name.strip_prefix(namespace).unwrap_or(name));
        let found = text(mirror, &["for-each-ref", "--format=%(refname)%00%(objecttype)%00%(contents)", &full]).await?;
        let mut fields = found.split('\0');
        if fields.next() != Some(full.as_str()) {
            continue;
        }
        let is_annotated = fields.next() == Some("tag");
        return Ok(Some(Reference {
            is_tag,
            tag_message: fields.next().filter(|_| is_annotated).map(|message| message.trim_end().to_owned()),
            commit: commit(mirror, &full).await?,
        }));
    }
    Ok(None)
}

/// Reads one commit.
pub(crate) async fn commit(mirror: &Path, revision: &str) -> Result<Commit, Error> {
    let format = "--format=%H%x00%P%x00%an%x00%ae%x00%cI%x00%s%x00%B";
    let shown = text(mirror, &["log", "-1", format, "--end-of-options", &format!("{revision}^{{commit}}")]).await?;
    let mut fields = shown.split('\0').map(str::to_owned);
    let mut next = || fields.next().unwrap_or_default();
    let (sha, parents) = (next(), next());
    Ok(Commit {
        sha,
        parents: parents.split_whitespace().map(str::to_owned).collect(),
        author_name: next(),
        author_email: next(),
        committed_at: next(),
        title: next(),
        message: next(),
    })
}

/// The text of a file at a commit; none if it is not there.
pub(crate) async fn file(mirror: &Path, sha: &str, path: &str) -> Result<Option<String>, Error> {
    let object = format!("{sha}:{path}");
    let listed = text(mirror, &["ls-tree", "--name-only", sha, "--", path]).await?;
    if listed.is_empty() {
        return Ok(None);
    }
    let bytes = run(mirror, &["cat-file", "blob", &object]).await?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Makes `refs/pipelines/<id>`, which keeps a pipeline's commit fetchable whatever becomes of its
/// branch.
pub(crate) async fn keep_pipeline(mirror: &Path, id: u64, sha: &str) -> Result<(), Error> {
    run(mirror, &["update-ref", &format!("refs/pipelines/{id}"), sha]).await.map(drop)
}

/// Where a project's copy is.
pub(crate) fn mirror_path(scratch: &Path, project: u64) -> PathBuf {
    scratch.join("git").join(format!("{project}.git"))
}

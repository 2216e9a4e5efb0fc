//! Where a job's checkout is.
//!
//! Source: GitLab Runner's "directories" contract: below the builds folder by the path of the repository, apart by runner and slot
//! where jobs share that folder, or where `GIT_CLONE_PATH` says.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::job::{JobLine, Payload, Variable};
use crate::variables::Variables;

/// The folder of all checkouts, and what its runner allows in it.
#[derive(Debug, Clone, Copy)]
pub struct Builds<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Whether jobs of other pods meet the same files there.
    pub shared: bool,
    /// Whether a job may choose its own folder (`custom_build_dir`).
    pub custom: bool,
}

impl<'a> Builds<'a> {
    /// The folder of all checkouts of the runner whose table, as a job line carries it, is `config`.
    pub fn new(folder: &'a Path, config: &Value) -> Self {
        // An emptyDir is the pod's own, wherever it is mounted.
        let kinds = config["kubernetes"]["volumes"].as_object().into_iter().flatten();
        let volumes = kinds.filter(|(kind, _)| *kind != "empty_dir").filter_map(|(_, list)| list.as_array()).flatten();
        let shared = volumes.filter_map(|volume| volume["mount_path"].as_str()).any(|path| Path::new(path) == folder);
        Self { folder, shared, custom: config["custom_build_dir"]["enabled"] != Value::Bool(false) }
    }
}

/// Why a job cannot have the folder it asks for; a configuration error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// The runner does not let jobs choose.
    #[error("setting GIT_CLONE_PATH is not allowed, enable `custom_build_dir` feature")]
    NotAllowed,
    /// Not below the builds folder.
    #[error("the GIT_CLONE_PATH=\"{wish}\" has to be within \"{builds}\"")]
    Outside {
        /// What the job asks for, expanded.
        wish: String,
        /// The builds folder.
        builds: String,
    },
}

/// The folder of the checkout of the job in `line`, whose variables so far are `known`.
pub(crate) fn project_folder(
    line: &JobLine,
    payload: &Payload,
    builds: Builds<'_>,
    known: &[Variable],
) -> Result<PathBuf, FolderError> {
    let variables = Variables::new(known.to_vec(), builds.folder.display().to_string());
    let wish = variables.value("GIT_CLONE_PATH");
    if !wish.is_empty() {
        return chosen(builds, wish);
    }
    let path = repository_path(payload.git_info.repo_url.expose())
        .unwrap_or_else(|| PathBuf::from(format!("project-{}", payload.job_info.project_id)));
    let mut folder = builds.folder.to_owned();
    if builds.shared {
        folder.push(&line.runner.short_token);
        folder.push(line.runner.concurrent_project_id.to_string());
    }
    folder.push(path);
    let suffix = if variables.value("GIT_STRATEGY") == "empty" { "-empty" } else { "" };
    Ok(PathBuf::from(format!("{}{suffix}", folder.display())))
}

fn chosen(builds: Builds<'_>, wish: String) -> Result<PathBuf, FolderError> {
    if !builds.custom {
        return Err(FolderError::NotAllowed);
    }
    let folder = cleaned(&builds.folder.join(&wish));
    if !folder.starts_with(cleaned(builds.folder)) {
        return Err(FolderError::Outside { wish, builds: builds.folder.display().to_string() });
    }
    Ok(folder)
}

/// The path part of a repository's URL, without `.git`; `None` if it cannot be a folder.
fn repository_path(url: &str) -> Option<PathBuf> {
    let url = url::Url::parse(url).ok()?;
    if url.scheme() != "file" {
        url.host_str()?;
    }
    let path = url.path().trim_matches('/');
    let path = PathBuf::from(path.strip_suffix(".git").unwrap_or(path));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().next().is_some()).then_some(path)
}

/// `path` without `.` and `..`, by text alone.
pub fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            Component::ParentDir if clean.has_root() => {}
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;
    use crate::job::RunnerRef;

    /// The folder of a job of `http://h/group/project.git` with these variables.
    fn folder(shared: bool, custom: bool, variables: &[(&str, &str)]) -> Result<String, String> {
        let payload = json!({"id": 1, "token": "t", "git_info": {"repo_url": "http://u:p@h/group/project.git"}});
        let raw = RawValue::from_string(payload.to_string()).unwrap();
        let runner = RunnerRef { short_token: "abcdefghi".into(), concurrent_project_id: 3, ..RunnerRef::default() };
        let payload = Payload::parse(&raw).unwrap();
        let line = JobLine::new(1, runner, raw);
        let known: Vec<Variable> = variables.iter().map(|&(key, value)| Variable::public(key, value)).collect();
        let builds = Builds { folder: Path::new("/builds"), shared, custom };
        let folder = project_folder(&line, &payload, builds, &known);
        folder.map(|folder| folder.display().to_string()).map_err(|err| err.to_string())
    }

    #[test]
    fn j134_j534_the_checkout_is_apart_where_builds_are_shared_and_where_the_job_says_if_it_may() {
        let refused = "setting GIT_CLONE_PATH is not allowed, enable `custom_build_dir` feature";
        let outside = |wish: &str| Err(format!("the GIT_CLONE_PATH=\"{wish}\" has to be within \"/builds\""));
        for (shared, custom, variables, expected) in [
            (false, true, &[][..], Ok("/builds/group/project".to_owned())),
            (true, true, &[], Ok("/builds/abcdefghi/3/group/project".to_owned())),
            (false, true, &[("GIT_STRATEGY", "empty")], Ok("/builds/group/project-empty".to_owned())),
            (true, true, &[("GIT_CLONE_PATH", "/builds/a/./b")], Ok("/builds/a/b".to_owned())),
            (false, true, &[("GIT_CLONE_PATH", "$ROOT/x"), ("ROOT", "/builds")], Ok("/builds/x".to_owned())),
            (false, true, &[("GIT_CLONE_PATH", "/builds")], Ok("/builds".to_owned())),
            (false, false, &[("GIT_CLONE_PATH", "/builds/x")], Err(refused.to_owned())),
            (false, true, &[("GIT_CLONE_PATH", "/builds/../x")], outside("/builds/../x")),
            (false, true, &[("GIT_CLONE_PATH", "/buildsx")], outside("/buildsx")),
        ] {
            assert_eq!(folder(shared, custom, variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn only_a_volume_that_outlives_the_pod_is_shared() {
        for (kind, path, shared) in [
            ("host_path", "/builds", true),
            ("pvc", "/builds/", true),
            ("empty_dir", "/builds", false),
            ("pvc", "/other", false),
        ] {
            let config = json!({"kubernetes": {"volumes": {kind: [{"name": "v", "mount_path": path}]}}});
            assert_eq!(Builds::new(Path::new("/builds"), &config).shared, shared, "{kind} at {path}");
        }
        let custom = |config| Builds::new(Path::new("/builds"), &config).custom;
        assert!(custom(json!({})) && custom(Value::Null) && custom(json!({"custom_build_dir": {"enabled": true}})));
        assert!(!custom(json!({"custom_build_dir": {"enabled": false}})));
    }

    #[test]
    fn a_repository_has_a_folder_of_its_own() {
        for (url, expected) in [
            ("http://u:p@h/group/sub/project.git", Some("group/sub/project")),
            ("https://h:8443/p", Some("p")),
            ("file:///tmp/x/repo.git", Some("tmp/x/repo")),
            ("http://h/", None),
            ("not a url", None),
        ] {
            assert_eq!(repository_path(url).as_deref(), expected.map(Path::new), "{url}");
        }
    }

    #[test]
    fn paths_are_cleaned_by_text() {
        for (path, expected) in [("/a/./b/../c", "/a/c"), ("/../a", "/a"), ("a/../../b", "../b"), ("./a//b/", "a/b")] {
            assert_eq!(cleaned(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}

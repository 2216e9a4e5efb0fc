//! The served repositories as what definitions are made of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::runtime::Handle;

use crate::ci::{Failure, Sources, Tree};
use crate::shared::Shared;
use crate::{Error, git, repository};

/// Reads repositories with git; to be used where threads may wait.
pub(crate) struct GitSources<'a> {
    shared: &'a Shared,
    runtime: Handle,
    /// What the commit of a merge request is compared with.
    target: Option<String>,
    paths: RefCell<BTreeMap<Tree, Rc<Vec<String>>>>,
}

impl<'a> GitSources<'a> {
    /// `target` is the branch that the pipeline's changes are for, if it is for a merge request.
    pub(crate) fn new(shared: &'a Shared, runtime: Handle, target: Option<String>) -> Self {
        Self { shared, runtime, target, paths: RefCell::default() }
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn mirror(&self, project: &str) -> Option<PathBuf> {
        self.shared.read(|world| world.project_by_path(project)?.mirror.clone())
    }
}

impl Sources for GitSources<'_> {
    fn text(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error> {
        match self.mirror(&tree.project) {
            Some(mirror) => self.wait(git::file(&mirror, &tree.sha, path)),
            None => Ok(None),
        }
    }

    fn paths(&self, tree: &Tree) -> Result<Rc<Vec<String>>, Error> {
        if let Some(paths) = self.paths.borrow().get(tree) {
            return Ok(Rc::clone(paths));
        }
        let paths = match self.mirror(&tree.project) {
            Some(mirror) => {
                let entries = self.wait(repository::tree(&mirror, &tree.sha, "", true))?;
                entries.into_iter().filter(|entry| entry.kind != "tree").map(|entry| entry.path).collect()
            }
            None => Vec::new(),
        };
        let paths = Rc::new(paths);
        self.paths.borrow_mut().insert(tree.clone(), Rc::clone(&paths));
        Ok(paths)
    }

    fn find(&self, project: &str, reference: Option<&str>) -> Result<Tree, Failure> {
        let found = self.shared.read(|world| world.project_by_path(project).cloned());
        let mirror = found.as_ref().and_then(|project| project.mirror.clone());
        let (Some(found), Some(mirror)) = (found, mirror) else {
            return Err(Failure::one(format!(
                "Project `{project}` not found or access denied! Make sure any includes in the pipeline configuration \
                 are correctly defined."
            )));
        };
        let name = reference.unwrap_or(&found.default_branch);
        let commit = self.wait(async {
            repository::fresh(self.shared, &found).await?;
            repository::find(&mirror, name).await
        })?;
        match commit {
            Some(commit) => Ok(Tree { project: found.path, sha: commit.sha }),
            None => Err(Failure::one(format!("Project `{project}` reference `{name}` does not exist!"))),
        }
    }

    fn changed(&self, tree: &Tree, since: Option<&str>) -> Result<Option<Rc<Vec<String>>>, Failure> {
        let (Some(mirror), Some(since)) = (self.mirror(&tree.project), since.or(self.target.as_deref())) else {
            return Ok(None);
        };
        let Some(base) = self.wait(repository::find(&mirror, since))? else {
            return Err(Failure::one("rules:changes:compare_to is not a valid ref"));
        };
        let range = format!("{}...{}", base.sha, tree.sha);
        let listed = self.wait(git::text(&mirror, &["diff", "--name-only", "-z", "--no-renames", &range, "--"]))?;
        Ok(Some(Rc::new(listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())))
    }

    fn content_id(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error> {
        let Some(mirror) = self.mirror(&tree.project) else { return Ok(None) };
        let listed = self.wait(git::text(&mirror, &["ls-tree", &tree.sha, "--", path]))?;
        Ok(listed.split_whitespace().nth(2).map(str::to_owned))
    }

    fn last_commit(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error> {
        let Some(mirror) = self.mirror(&tree.project) else { return Ok(None) };
        let arguments = ["rev-list", "--max-count=1", "--end-of-options", &tree.sha, "--", path];
        let id = self.wait(git::text(&mirror, &arguments))?;
        Ok(Some(id).filter(|id| !id.is_empty()))
    }
}

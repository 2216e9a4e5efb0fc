//! What a definition is made of besides its own text: files, projects, changes.

use std::rc::Rc;

use crate::Error;

use super::Failure;

/// The files of a project at a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tree {
    /// The project's full path.
    pub(crate) project: String,
    pub(crate) sha: String,
}

/// Where files come from.
pub(crate) trait Sources {
    /// A file's text; none if there is no such file.
    fn text(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error>;
    /// All paths.
    fn paths(&self, tree: &Tree) -> Result<Rc<Vec<String>>, Error>;
    /// A project at a branch, a tag or a commit, its default branch if none is named.
    fn find(&self, project: &str, reference: Option<&str>) -> Result<Tree, Failure>;
    /// The paths that changed in a pipeline, or since a name; none if that cannot be said.
    fn changed(&self, tree: &Tree, since: Option<&str>) -> Result<Option<Rc<Vec<String>>>, Failure>;
    /// What a file's content is known by; none if there is no such file.
    fn content_id(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error>;
    /// The last commit that changed a file.
    fn last_commit(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error>;
}

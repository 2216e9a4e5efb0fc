//! `.gitlab-ci.yml`: from text to job plans.

use crate::plan::JobPlan;

/// What is wrong with a definition, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct DefinitionError {
    /// The file's path in the repository.
    pub file: String,
    /// The problem, with job, keyword and line where there are such.
    pub problem: String,
}

impl DefinitionError {
    /// There is no such file at the commit.
    pub(crate) fn missing(file: &str) -> Self {
        Self { file: file.to_owned(), problem: "is missing".to_owned() }
    }
}

/// Reads a definition.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<JobPlan>, DefinitionError> {
    let _ = text;
    Err(DefinitionError { file: file.to_owned(), problem: "definitions are not read yet".to_owned() })
}

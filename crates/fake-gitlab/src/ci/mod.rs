//! `.gitlab-ci.yml`: from text to job plans.
//!
//! `yaml` reads the text, `definition` the top level and the jobs, `keywords` the values of single
//! keywords into the payload's shape, `graph` checks stages and needs across jobs.

mod definition;
mod graph;
mod keywords;
mod yaml;

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

/// A problem somewhere in the text; the places around it are put in front on the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    text: String,
    /// Counted from 1; 0 if it belongs to no line.
    line: usize,
}

impl Problem {
    fn at(line: usize, text: impl Into<String>) -> Self {
        Self { text: text.into(), line }
    }

    /// The same problem seen from further out.
    fn within(self, place: &str) -> Self {
        Self { text: format!("{place} {}", self.text), line: self.line }
    }
}

/// Reads a definition into the plans of its jobs, in the order of the stages and then of the file.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<JobPlan>, DefinitionError> {
    let plans = yaml::parse(text).and_then(|document| definition::read(&document)).and_then(graph::check);
    plans.map_err(|problem| DefinitionError {
        file: file.to_owned(),
        problem: match problem.line {
            0 => problem.text,
            line => format!("{} (line {line})", problem.text),
        },
    })
}

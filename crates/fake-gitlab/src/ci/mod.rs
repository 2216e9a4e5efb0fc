//! `.gitlab-ci.yml`: from text to job plans.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `yaml`, `node`, `emit` | text to values and back |
//! | `inputs`, `include`, `extend`, `reference` | one definition of many files and jobs, in this order |
//! | `entry` | a value, its place, and what is wrong with it |
//! | `definition`, `workflow`, `job`, `keywords` | what the definition says |
//! | `expression`, `glob`, `conditions`, `select` | which of its jobs run |
//! | `graph`, `cache_key` | what jobs need of each other, and of files |
//! | `sources` | where files come from |

mod cache_key;
mod conditions;
mod definition;
mod emit;
mod entry;
mod expression;
mod extend;
mod glob;
mod graph;
mod include;
mod inputs;
mod job;
mod keywords;
mod node;
mod reference;
mod select;
mod sources;
mod workflow;
mod yaml;

use serde_json::Value;

use crate::Error;
use crate::plan::{JobPlan, Variable};
use crate::variables::expand_known;

pub(crate) use conditions::Kind;
pub(crate) use sources::{Sources, Tree};
pub(crate) use workflow::AutoCancel;

use conditions::Conditions;
use definition::Definition;
use node::{Members, Node};

/// What is wrong with a definition, in GitLab's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}", problems.join("; "))]
pub struct DefinitionError {
    /// The file's path in the repository.
    pub file: String,
    /// At least one problem.
    pub problems: Vec<String>,
}

/// Why there are no plans.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The definition is wrong, or no pipeline is to be made of it.
    Definition(Vec<String>),
    /// What it asks for could not be read.
    Other(Error),
}

impl Failure {
    pub(crate) fn one(problem: impl Into<String>) -> Self {
        Self::Definition(vec![problem.into()])
    }

    /// The same, said of a job's rules.
    fn of_rules(self, job: &str) -> Self {
        match self {
            Self::Definition(problems) => Self::Definition(
                problems.iter().map(|problem| format!("Failed to parse rule for {job}: {problem}")).collect(),
            ),
            other => other,
        }
    }

    /// As an error of the definition in this file.
    pub(crate) fn in_file(self, file: &str) -> Error {
        match self {
            Self::Definition(problems) => Error::Definition(DefinitionError { file: file.to_owned(), problems }),
            Self::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What a pipeline is made of.
pub(crate) struct Request<'a> {
    pub(crate) text: &'a str,
    pub(crate) tree: Tree,
    pub(crate) kind: Kind<'a>,
    /// Predefined, lowest in precedence.
    pub(crate) predefined: &'a [Variable],
    /// Of the project and the pipeline, highest in precedence.
    pub(crate) given: &'a [Variable],
    /// An object, or null.
    pub(crate) inputs: &'a Value,
}

/// A definition that can be run.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// In the order of the stages and then of the file.
    pub(crate) plans: Vec<JobPlan>,
    /// The pipeline's name.
    pub(crate) name: Option<String>,
    pub(crate) auto_cancel: AutoCancel,
}

/// A definition as `ci/lint` shows it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) merged: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) includes: Vec<Value>,
}

/// Reads a definition and finds out which of its jobs run.
pub(crate) fn compile(request: &Request<'_>, sources: &dyn Sources) -> Result<Compiled, Failure> {
    let mut conditions = conditions(request, sources);
    let definition = read(request, &conditions)?.definition;
    conditions.has_workflow_rules = definition.workflow.rules.is_some();
    let Some(outcome) = definition.workflow.outcome(&conditions, &definition.variables)? else {
        return Err(Failure::one("Pipeline filtered out by workflow rules."));
    };
    let global = [definition.variables.as_slice(), &outcome.variables].concat();
    let mut plans = Vec::new();
    for job in &definition.jobs {
        plans.extend(select::plans(job, &global, &conditions)?);
    }
    if plans.iter().all(|plan| [".pre", ".post"].contains(&plan.stage.as_str())) {
        return Err(Failure::one(
            "The resulting pipeline would have been empty. Review the rules configuration for the relevant jobs.",
        ));
    }
    graph::settle(&mut plans).map_err(Failure::one)?;
    let known = conditions.known(&global);
    let name = definition.workflow.name.map(|name| expand_known(&name, &known).trim().to_owned());
    Ok(Compiled { plans, name: name.filter(|name| !name.is_empty()), auto_cancel: outcome.auto_cancel })
}

/// Checks a definition without asking which of its jobs run.
pub(crate) fn check(request: &Request<'_>, sources: &dyn Sources) -> Result<Checked, Failure> {
    let Whole { merged, definition, includes } = read(request, &conditions(request, sources))?;
    Ok(Checked { merged: emit::document(&merged), warnings: definition.warnings, includes })
}

fn conditions<'a>(request: &'a Request<'_>, sources: &'a dyn Sources) -> Conditions<'a> {
    Conditions {
        sources,
        tree: &request.tree,
        kind: request.kind,
        has_workflow_rules: false,
        predefined: request.predefined,
        given: request.given,
    }
}

/// A definition with everything it is made of.
struct Whole {
    merged: Members,
    definition: Definition,
    includes: Vec<Value>,
}

fn read(request: &Request<'_>, conditions: &Conditions<'_>) -> Result<Whole, Failure> {
    let given = match Node::from(request.inputs) {
        Node::Map(members) => members,
        _ => Members::new(),
    };
    let mut includer = include::Includer::new(conditions);
    let all = includer.read(request.text, None, &request.tree, &given)?;
    let merged = extend::resolve(&all).and_then(|extended| reference::resolve(&extended)).map_err(Failure::one)?;
    let definition = definition::read(&merged).map_err(Failure::Definition)?;
    Ok(Whole { merged, definition, includes: includer.included })
}

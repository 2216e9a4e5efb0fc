//! The top level of a definition, and what its jobs share.

use crate::plan::Variable;

use super::entry::{Entry, Problems};
use super::graph;
use super::job::{self, Job};
use super::keywords;
use super::node::{Members, Node};
use super::workflow::{self, Workflow};

/// Keywords of the top level, none of which can be a job's name.
const TOP_LEVEL: [&str; 13] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "pages",
    "services",
    "spec",
    "stages",
    "types",
    "variables",
    "workflow",
];

/// Those of them that are an older way to write a member of `default`.
const OLD_DEFAULTS: [&str; 5] = ["after_script", "before_script", "cache", "image", "services"];

/// Keywords that `default` may have, and the jobs inherit.
const INHERITED: [&str; 11] = [
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "hooks",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
];

/// A whole definition, before it is known which of its jobs run.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) variables: Vec<Variable>,
    pub(super) workflow: Workflow,
    pub(super) jobs: Vec<Job>,
    pub(super) warnings: Vec<String>,
}

/// What all jobs share.
pub(super) struct Shared<'a> {
    document: &'a Node,
    problems: &'a Problems,
    default: Option<Entry<'a>>,
}

impl<'a> Shared<'a> {
    /// What jobs without this keyword have.
    pub(super) fn default(&self, keyword: &str) -> Option<Entry<'a>> {
        let own = self.default.as_ref().and_then(|default| default.member(keyword));
        own.or_else(|| {
            let keyword = OLD_DEFAULTS.into_iter().find(|old| *old == keyword)?;
            let node = self.document.get(keyword).filter(|node| !node.is_null())?;
            Some(Entry::new(keyword, node, self.problems))
        })
    }
}

/// Reads a definition whose includes, `extends` and references are resolved, or gives all that is
/// wrong with it.
pub(super) fn read(root: &Members) -> Result<Definition, Vec<String>> {
    let problems = Problems::default();
    let document = Node::Map(root.clone());
    let definition = read_all(&document, &problems);
    let mut definition = problems.into_result(definition)?;
    graph::check(&definition.jobs).map_err(|problem| vec![problem])?;
    definition.jobs.sort_by_key(|job| job.plan.stage_index);
    Ok(definition)
}

fn read_all<'a>(document: &'a Node, problems: &'a Problems) -> Definition {
    // Places of the top level begin with the keyword alone.
    let top = |key: &str| {
        let node = document.get(key).filter(|node| !node.is_null())?;
        Some(Entry::new(key, node, problems))
    };
    let default = top("default");
    if let Some(default) = &default {
        default.map_of(&INHERITED);
    }
    for keyword in OLD_DEFAULTS.into_iter().filter(|_| default.is_some()) {
        let is_twice = default.as_ref().is_some_and(|default| default.member(keyword).is_some());
        if is_twice && top(keyword).is_some() {
            problems.add(format!("default config has key {keyword} that is also defined globally"));
        }
    }
    if let Some(types) = top("types") {
        types.complain("is not supported, use stages");
    }
    let stages = stages(top("stages"));
    let variables =
        top("variables").and_then(|given| keywords::variables(&given, &["value", "description", "expand", "options"]));
    let shared = Shared { document, problems, default };
    let workflow = top("workflow").map(|entry| workflow::read(&entry)).unwrap_or_default();
    let jobs = jobs(document, problems, &shared, &stages);
    let warnings = match workflow.rules {
        Some(_) => Vec::new(),
        None => jobs.iter().filter_map(warning).collect(),
    };
    Definition { variables: variables.unwrap_or_default(), workflow, jobs, warnings }
}

fn jobs(document: &Node, problems: &Problems, shared: &Shared<'_>, stages: &[String]) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut has_visible = false;
    for (name, node) in document.members().into_iter().flatten() {
        if name.starts_with('.') || (TOP_LEVEL.contains(&name.as_str()) && name != "pages") {
            continue;
        }
        let is_job = ["script", "run", "trigger"].iter().any(|key| node.get(key).is_some());
        if !is_job {
            problems.add(format!("jobs {name} config should implement the script:, run:, or trigger: keyword"));
            continue;
        }
        has_visible = true;
        let Some(mut job) = job::read(name, &Entry::new(format!("jobs:{name}"), node, problems), shared) else {
            continue;
        };
        let is_empty = job.plan.script.is_empty() && job.plan.run.is_null();
        if is_empty && node.get("script").is_none_or(|script| script.items().is_none_or(<[Node]>::is_empty)) {
            problems.add(format!("jobs:{name} script can't be blank"));
        }
        match stages.iter().position(|stage| *stage == job.plan.stage) {
            Some(index) => job.plan.stage_index = index,
            None => problems.add(format!(
                "{name} job: chosen stage {} does not exist; available stages are {}",
                job.plan.stage,
                stages.join(", ")
            )),
        }
        jobs.push(job);
    }
    if !has_visible {
        problems.add("jobs config should contain at least one visible job".to_owned());
    }
    jobs
}

/// `.pre`, the named stages, `.post`.
fn stages(entry: Option<Entry<'_>>) -> Vec<String> {
    let named = entry
        .and_then(|entry| {
            let texts = entry.node.items().map(|items| items.iter().map(Node::scalar).collect::<Option<Vec<String>>>());
            if texts.is_none() || texts == Some(None) {
                entry.complain("should be an array of strings");
            }
            texts.flatten()
        })
        .unwrap_or_else(|| ["build", "test", "deploy"].map(str::to_owned).to_vec());
    let mut stages = vec![".pre".to_owned()];
    stages.extend(named.into_iter().filter(|name| name != ".pre" && name != ".post"));
    stages.push(".post".to_owned());
    stages
}

/// A last rule that always fits makes two pipelines of one push.
fn warning(job: &Job) -> Option<String> {
    let last = job.rules.as_ref()?.last()?;
    let is_bare = last.condition.is_none() && last.changes.is_none() && last.exists.is_none();
    let says_only_when = is_bare && last.variables.is_empty() && last.allow_failure.is_none() && last.needs.is_none();
    (says_only_when && last.when.is_some_and(|when| when != "never")).then(|| {
        format!(
            "jobs:{} may allow multiple pipelines to run for a single action due to `rules:when` clause with no \
             `workflow:rules` - read more: https://docs.gitlab.com/ci/jobs/job_troubleshooting/#job-may-allow-multiple-pipelines-to-run-for-a-single-action-warning",
            job.plan.name
        )
    })
}

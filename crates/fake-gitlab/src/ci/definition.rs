//! The top level of a definition, and what its jobs inherit.

use crate::plan::{AllowFailure, JobPlan, Variable, When};

use super::Problem;
use super::keywords;
use super::yaml::{Kind, Node};

/// Keywords of the top level, none of which can be a job's name.
const TOP_LEVEL: [&str; 8] =
    ["stages", "default", "variables", "image", "services", "cache", "before_script", "after_script"];

/// Keywords GitLab has at the top level and this server does not.
const TOP_LEVEL_MISSING: [&str; 4] = ["include", "workflow", "spec", "types"];

/// Keywords a job may have.
const JOB: [&str; 15] = [
    "stage",
    "image",
    "services",
    "variables",
    "before_script",
    "script",
    "after_script",
    "artifacts",
    "cache",
    "needs",
    "dependencies",
    "allow_failure",
    "when",
    "timeout",
    "tags",
];

/// Keywords GitLab has in jobs and this server does not.
const JOB_MISSING: [&str; 25] = [
    "coverage",
    "dast_configuration",
    "environment",
    "except",
    "extends",
    "hooks",
    "id_tokens",
    "identity",
    "inherit",
    "inputs",
    "interruptible",
    "manual_confirmation",
    "only",
    "pages",
    "parallel",
    "publish",
    "release",
    "resource_group",
    "retry",
    "rules",
    "run",
    "secrets",
    "start_in",
    "trigger",
    "type",
];

/// Keywords that `default` may have, and the jobs inherit.
const INHERITED: [&str; 8] =
    ["after_script", "artifacts", "before_script", "cache", "image", "services", "tags", "timeout"];

/// What all jobs share.
struct Common<'a> {
    stages: Vec<String>,
    defaults: Vec<(&'a str, &'a Node)>,
    variables: Vec<Variable>,
}

/// Reads a whole document.
pub(super) fn read(document: &Node) -> Result<Vec<JobPlan>, Problem> {
    let members = document.map()?;
    let find = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let common = Common {
        stages: stages(find("stages"))?,
        defaults: defaults(members, find("default"))?,
        variables: match find("variables") {
            Some(node) => keywords::variables(node).map_err(|problem| problem.within("keyword `variables`"))?,
            None => Vec::new(),
        },
    };
    let mut plans = Vec::new();
    for (name, node) in members {
        if TOP_LEVEL.contains(&name.as_str()) || name.starts_with('.') {
            continue;
        }
        if TOP_LEVEL_MISSING.contains(&name.as_str()) {
            return Err(Problem::at(node.line, format!("keyword `{name}` is not supported here")));
        }
        let place = format!("job `{name}`:");
        if let Some(plan) = job(name, node, &common).map_err(|problem| problem.within(&place))? {
            plans.push(plan);
        }
    }
    plans.sort_by_key(|plan| plan.stage_index);
    Ok(plans)
}

/// `.pre`, the named stages, `.post`.
fn stages(node: Option<&Node>) -> Result<Vec<String>, Problem> {
    let named = match node {
        Some(node) => node.texts().map_err(|problem| problem.within("keyword `stages`"))?,
        None => ["build", "test", "deploy"].map(str::to_owned).to_vec(),
    };
    let mut stages = vec![".pre".to_owned()];
    stages.extend(named.into_iter().filter(|name| name != ".pre" && name != ".post"));
    stages.push(".post".to_owned());
    Ok(stages)
}

/// What jobs inherit: the members of `default`, and the older form of the same at the top level.
fn defaults<'a>(members: &'a [(String, Node)], default: Option<&'a Node>) -> Result<Vec<(&'a str, &'a Node)>, Problem> {
    let mut defaults = Vec::new();
    if let Some(node) = default {
        for (name, value) in node.map().map_err(|problem| problem.within("keyword `default`"))? {
            if !INHERITED.contains(&name.as_str()) {
                return Err(Problem::at(value.line, format!("keyword `default:{name}` is not supported")));
            }
            defaults.push((name.as_str(), value));
        }
    }
    for (name, value) in members {
        let is_set = defaults.iter().any(|(key, _)| key == name);
        if INHERITED.contains(&name.as_str()) && TOP_LEVEL.contains(&name.as_str()) && !is_set {
            defaults.push((name.as_str(), value));
        }
    }
    Ok(defaults)
}

/// Reads one job; none if it never runs.
fn job(name: &str, node: &Node, common: &Common<'_>) -> Result<Option<JobPlan>, Problem> {
    let members = node.map()?;
    for (keyword, value) in members {
        if JOB_MISSING.contains(&keyword.as_str()) {
            return Err(Problem::at(value.line, format!("keyword `{keyword}` is not supported")));
        }
        if !JOB.contains(&keyword.as_str()) {
            return Err(Problem::at(value.line, format!("unknown keyword `{keyword}`")));
        }
    }
    let reader = JobReader { members, common };
    let Some(when) = reader.read("when", keywords::when)?.unwrap_or(Some(When::OnSuccess)) else {
        return Ok(None);
    };
    let stage = reader.read("stage", Node::text)?.unwrap_or_else(|| "test".to_owned());
    let stage_index = common.stages.iter().position(|known| *known == stage).ok_or_else(|| {
        Problem::at(node.line, format!("stage `{stage}` does not exist; there are {}", common.stages.join(", ")))
    })?;
    let script = reader
        .read("script", keywords::script)?
        .filter(|lines| !lines.is_empty())
        .ok_or_else(|| Problem::at(node.line, "has no `script`"))?;
    let mut lines = reader.read("before_script", keywords::script)?.unwrap_or_default();
    lines.extend(script);
    let mut variables = common.variables.clone();
    variables.extend(reader.read("variables", keywords::variables)?.unwrap_or_default());
    let allow_failure = reader.read("allow_failure", keywords::allow_failure)?;
    Ok(Some(JobPlan {
        name: name.to_owned(),
        stage,
        stage_index,
        when,
        // A manual job does not block its pipeline unless it is told to.
        allow_failure: allow_failure.unwrap_or(match when {
            When::Manual => AllowFailure::Always,
            _ => AllowFailure::Never,
        }),
        needs: reader.read("needs", keywords::needs)?,
        dependencies: reader.read("dependencies", Node::texts)?,
        tags: reader.read("tags", keywords::tags)?.unwrap_or_default(),
        timeout: reader.read("timeout", keywords::timeout)?,
        variables,
        script: lines,
        after_script: reader.read("after_script", keywords::script)?.unwrap_or_default(),
        image: reader.read("image", keywords::image)?.unwrap_or_default(),
        services: reader.read("services", keywords::services)?.unwrap_or_default(),
        artifacts: reader.read("artifacts", keywords::artifacts)?.unwrap_or_default(),
        cache: reader.read("cache", keywords::cache)?.unwrap_or_default(),
        ..JobPlan::default()
    }))
}

struct JobReader<'a> {
    members: &'a [(String, Node)],
    common: &'a Common<'a>,
}

impl JobReader<'_> {
    /// The value of a keyword, the job's own or the inherited one. An own null counts as not
    /// given and still stops the inheritance, as in GitLab.
    fn read<T>(&self, keyword: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
        let own = self.members.iter().find(|(name, _)| name == keyword);
        let node = match own {
            Some((_, node)) => Some(node),
            None => self.common.defaults.iter().find(|(name, _)| *name == keyword).map(|(_, node)| *node),
        };
        match node {
            None => Ok(None),
            Some(node) if node.is_null() => Ok(None),
            Some(node) => check_tags(node)
                .and_then(|()| read(node))
                .map(Some)
                .map_err(|problem| problem.within(&format!("keyword `{keyword}`"))),
        }
    }
}

/// Refuses tags such as `!reference`, which would be read as if they were not there.
fn check_tags(node: &Node) -> Result<(), Problem> {
    if let Some(tag) = &node.tag {
        return Err(Problem::at(node.line, format!("has the tag `{tag}`, which is not supported")));
    }
    match &node.kind {
        Kind::Scalar { .. } => Ok(()),
        Kind::List(items) => items.iter().try_for_each(check_tags),
        Kind::Map(members) => members.iter().try_for_each(|(_, node)| check_tags(node)),
    }
}

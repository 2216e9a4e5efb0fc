//! The values of single keywords, most of them straight into the payload's shape.

use serde_json::{Map, Value, json};

use crate::artifact_types;
use crate::duration::parse_seconds;
use crate::plan::{AllowFailure, Need, Variable, When};

use super::Problem;
use super::yaml::{Kind, Meaning, Node};

/// Refuses members of a map that are not among `known`.
fn only(node: &Node, known: &[&str]) -> Result<(), Problem> {
    for (name, value) in node.map()? {
        if !known.contains(&name.as_str()) {
            return Err(Problem::at(value.line, format!("has the unknown or unsupported key `{name}`")));
        }
    }
    Ok(())
}

/// A member of a map, unless it is absent or null, read with its name put before problems.
fn member<T>(node: &Node, name: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
    let found = node.map()?.iter().find(|(key, value)| key == name && !value.is_null());
    found.map(|(_, value)| read(value).map_err(|problem| problem.within(&format!("key `{name}`")))).transpose()
}

fn one_of(node: &Node, allowed: &[&str]) -> Result<String, Problem> {
    let text = node.text()?;
    if allowed.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(Problem::at(node.line, format!("should be one of {}, not `{text}`", allowed.join(", "))))
}

/// Lines of a script; nested lists are flattened.
pub(super) fn script(node: &Node) -> Result<Vec<String>, Problem> {
    fn collect(node: &Node, depth: usize, lines: &mut Vec<String>) -> Result<(), Problem> {
        match (&node.kind, node.scalar()) {
            (Kind::List(items), _) if depth < 10 => items.iter().try_for_each(|item| collect(item, depth + 1, lines)),
            (_, Some(Meaning::Text(text))) => {
                lines.push(text.to_owned());
                Ok(())
            }
            // `- echo: x` and `- true` are mistakes that YAML hides.
            _ => Err(Problem::at(node.line, "should be a text or a nested list of texts up to 10 levels deep")),
        }
    }
    let mut lines = Vec::new();
    collect(node, 0, &mut lines)?;
    Ok(lines)
}

/// `KEY: value`, or `KEY: {value, description, expand}`.
pub(super) fn variables(node: &Node) -> Result<Vec<Variable>, Problem> {
    node.map()?
        .iter()
        .map(|(key, value)| {
            let read = || match &value.kind {
                Kind::Map(_) => {
                    only(value, &["value", "description", "expand"])?;
                    let text = member(value, "value", Node::text)?.unwrap_or_default();
                    let variable = Variable::new(key, text);
                    Ok(match member(value, "expand", Node::flag)? {
                        Some(false) => variable.raw(),
                        _ => variable,
                    })
                }
                _ if value.is_null() => Ok(Variable::new(key, "")),
                _ => Ok(Variable::new(key, value.text()?)),
            };
            read().map_err(|problem: Problem| problem.within(&format!("key `{key}`")))
        })
        .collect()
}

/// None for `never`.
pub(super) fn when(node: &Node) -> Result<Option<When>, Problem> {
    let text = one_of(node, &["on_success", "on_failure", "always", "manual", "never"])?;
    Ok(match text.as_str() {
        "on_failure" => Some(When::OnFailure),
        "always" => Some(When::Always),
        "manual" => Some(When::Manual),
        "never" => None,
        _ => Some(When::OnSuccess),
    })
}

/// A boolean, or `{exit_codes: N or [N, …]}`.
pub(super) fn allow_failure(node: &Node) -> Result<AllowFailure, Problem> {
    let Kind::Map(_) = &node.kind else {
        return Ok(match node.flag()? {
            true => AllowFailure::Always,
            false => AllowFailure::Never,
        });
    };
    only(node, &["exit_codes"])?;
    let codes = member(node, "exit_codes", |codes| {
        let wrong = || Problem::at(codes.line, "should be a whole number or a list of them");
        codes.texts_or_one()?.iter().map(|code| code.parse().map_err(|_| wrong())).collect::<Result<Vec<i64>, _>>()
    })?;
    codes.map(AllowFailure::ExitCodes).ok_or_else(|| Problem::at(node.line, "has no `exit_codes`"))
}

/// Names of jobs, or `{job, artifacts, optional}`.
pub(super) fn needs(node: &Node) -> Result<Vec<Need>, Problem> {
    node.list()?
        .iter()
        .map(|item| match &item.kind {
            Kind::Map(_) => {
                only(item, &["job", "artifacts", "optional"])?;
                Ok(Need {
                    job: member(item, "job", Node::text)?
                        .ok_or_else(|| Problem::at(item.line, "has an entry without `job`"))?,
                    artifacts: member(item, "artifacts", Node::flag)?.unwrap_or(true),
                    optional: member(item, "optional", Node::flag)?.unwrap_or(false),
                })
            }
            _ => Ok(Need { job: item.text()?, artifacts: true, optional: false }),
        })
        .collect()
}

/// Largest number of tags of a job.
const TAG_LIMIT: usize = 50;

pub(super) fn tags(node: &Node) -> Result<Vec<String>, Problem> {
    let tags = node.texts()?;
    if tags.len() > TAG_LIMIT {
        return Err(Problem::at(node.line, format!("has more than {TAG_LIMIT} tags")));
    }
    Ok(tags)
}

/// Seconds; GitLab takes at most a month.
pub(super) fn timeout(node: &Node) -> Result<u64, Problem> {
    let text = node.text()?;
    match parse_seconds(&text) {
        Some(0) | None => Err(Problem::at(node.line, format!("should be a duration, not `{text}`"))),
        Some(seconds) if seconds > 31 * 24 * 3600 => Err(Problem::at(node.line, "should not exceed one month")),
        Some(seconds) => Ok(seconds),
    }
}

fn list_of_texts(node: &Node) -> Result<Value, Problem> {
    Ok(json!(node.texts()?))
}

fn pull_policy(node: &Node) -> Result<Value, Problem> {
    let policies = node.texts_or_one()?;
    for policy in &policies {
        if !["always", "if-not-present", "never"].contains(&policy.as_str()) {
            return Err(Problem::at(node.line, format!("should be always, if-not-present or never, not `{policy}`")));
        }
    }
    Ok(json!(policies))
}

/// `docker` and `kubernetes` of an image or service, as `executor_opts`.
fn executor_options(node: &Node) -> Result<Value, Problem> {
    let mut options = Map::new();
    let docker = member(node, "docker", |docker| {
        only(docker, &["platform", "user"])?;
        let mut shown = Map::new();
        for name in ["platform", "user"] {
            if let Some(text) = member(docker, name, Node::text)? {
                shown.insert(name.to_owned(), json!(text));
            }
        }
        Ok(Value::Object(shown))
    })?;
    let kubernetes = member(node, "kubernetes", |kubernetes| {
        only(kubernetes, &["user"])?;
        let user = member(kubernetes, "user", |user| {
            // GitLab passes a number on as a number.
            Ok(match user.scalar() {
                Some(Meaning::Number(text)) => text.parse::<u64>().map_or(json!(text), |id| json!(id)),
                _ => json!(user.text()?),
            })
        })?;
        Ok(json!({ "user": user }))
    })?;
    options.extend(docker.map(|docker| ("docker".to_owned(), docker)));
    options.extend(kubernetes.map(|kubernetes| ("kubernetes".to_owned(), kubernetes)));
    Ok(Value::Object(options))
}

/// Numbers, or maps with `number`, `protocol` and `name`.
fn ports(node: &Node) -> Result<Value, Problem> {
    let number = |node: &Node| {
        let text = node.text()?;
        text.parse::<u16>().map_err(|_| Problem::at(node.line, format!("should be a port, not `{text}`")))
    };
    let ports = node.list()?.iter().map(|item| {
        let Kind::Map(_) = &item.kind else {
            return Ok(json!({ "number": number(item)?, "protocol": "http", "name": "default_port" }));
        };
        only(item, &["number", "protocol", "name"])?;
        Ok(json!({
            "number": member(item, "number", number)?.ok_or_else(|| Problem::at(item.line, "has no `number`"))?,
            "protocol": member(item, "protocol", |value| one_of(value, &["http", "https"]))?.unwrap_or("http".into()),
            "name": member(item, "name", Node::text)?.unwrap_or("default_port".into()),
        }))
    });
    ports.collect::<Result<Vec<Value>, Problem>>().map(Value::Array)
}

/// A name, or a map.
pub(super) fn image(node: &Node) -> Result<Value, Problem> {
    let Kind::Map(_) = &node.kind else {
        return Ok(json!({
            "name": node.text()?,
            "entrypoint": null,
            "ports": [],
            "executor_opts": {},
            "pull_policy": null,
        }));
    };
    only(node, &["name", "entrypoint", "ports", "pull_policy", "docker", "kubernetes"])?;
    Ok(json!({
        "name": name_of(node)?,
        "entrypoint": member(node, "entrypoint", list_of_texts)?,
        "ports": member(node, "ports", ports)?.unwrap_or(json!([])),
        "executor_opts": executor_options(node)?,
        "pull_policy": member(node, "pull_policy", pull_policy)?,
    }))
}

fn name_of(node: &Node) -> Result<String, Problem> {
    member(node, "name", Node::text)?.ok_or_else(|| Problem::at(node.line, "has no `name`"))
}

/// Names, or maps.
pub(super) fn services(node: &Node) -> Result<Vec<Value>, Problem> {
    node.list()?
        .iter()
        .map(|item| {
            let Kind::Map(_) = &item.kind else {
                return Ok(json!({
                    "name": item.text()?,
                    "alias": null,
                    "entrypoint": null,
                    "command": null,
                    "ports": [],
                    "variables": null,
                    "executor_opts": {},
                    "pull_policy": null,
                }));
            };
            only(
                item,
                &[
                    "name",
                    "alias",
                    "entrypoint",
                    "command",
                    "ports",
                    "variables",
                    "pull_policy",
                    "docker",
                    "kubernetes",
                ],
            )?;
            let variables: Vec<Value> = member(item, "variables", variables)?
                .unwrap_or_default()
                .iter()
                .map(|variable| json!({ "key": variable.key, "value": variable.value }))
                .collect();
            Ok(json!({
                "name": name_of(item)?,
                "alias": member(item, "alias", Node::text)?,
                "entrypoint": member(item, "entrypoint", list_of_texts)?,
                "command": member(item, "command", list_of_texts)?,
                "ports": member(item, "ports", ports)?.unwrap_or(json!([])),
                "variables": variables,
                "executor_opts": executor_options(item)?,
                "pull_policy": member(item, "pull_policy", pull_policy)?,
            }))
        })
        .collect()
}

/// One payload entry for the archive, if there is one, and one per report.
pub(super) fn artifacts(node: &Node) -> Result<Vec<Value>, Problem> {
    only(node, &["name", "paths", "exclude", "untracked", "when", "expire_in", "reports"])?;
    let paths = member(node, "paths", Node::texts)?.unwrap_or_default();
    let exclude = member(node, "exclude", Node::texts)?.unwrap_or_default();
    let untracked = member(node, "untracked", Node::flag)?.unwrap_or(false);
    let expire_in = member(node, "expire_in", |value| {
        let text = value.text()?;
        if text != "never" && parse_seconds(&text).is_none() {
            return Err(Problem::at(value.line, format!("should be a duration, not `{text}`")));
        }
        Ok(text)
    })?;
    let when = member(node, "when", |value| one_of(value, &["on_success", "on_failure", "always"]))?;
    let mut entries = Vec::new();
    if !paths.is_empty() || untracked {
        let mut archive = json!({
            "name": member(node, "name", Node::text)?,
            "untracked": untracked,
            "paths": paths,
            "when": when.as_deref().unwrap_or("on_success"),
            "expire_in": expire_in,
            "artifact_type": "archive",
            "artifact_format": "zip",
        });
        if !exclude.is_empty() {
            archive["exclude"] = json!(exclude);
        }
        entries.push(archive);
    }
    entries.extend(member(node, "reports", |value| reports(value, expire_in.as_deref()))?.unwrap_or_default());
    Ok(entries)
}

fn reports(node: &Node, expire_in: Option<&str>) -> Result<Vec<Value>, Problem> {
    node.map()?
        .iter()
        .map(|(key, value)| {
            let (file_type, paths) = if key == "coverage_report" {
                only(value, &["coverage_format", "path"])?;
                let format = member(value, "coverage_format", |value| one_of(value, &["cobertura", "jacoco"]))?;
                let path = member(value, "path", Node::text)?;
                match (format, path) {
                    (Some(format), Some(path)) => (format, vec![path]),
                    _ => return Err(Problem::at(value.line, "needs `coverage_format` and `path`")),
                }
            } else {
                (key.clone(), value.texts_or_one()?)
            };
            let (format, name) = artifact_types::report(&file_type)
                .ok_or_else(|| Problem::at(value.line, format!("has the unknown report `{key}`")))?;
            Ok(json!({
                "name": name,
                "paths": paths,
                "when": "always",
                "expire_in": expire_in,
                "artifact_type": file_type,
                "artifact_format": format,
            }))
        })
        .collect()
}

/// Payload entries, still with `unprotect` inside, which the payload's suffix depends on.
pub(super) fn cache(node: &Node) -> Result<Vec<Value>, Problem> {
    match &node.kind {
        Kind::List(items) => items.iter().map(cache_entry).collect(),
        Kind::Map(members) if members.is_empty() => Ok(Vec::new()),
        _ => Ok(vec![cache_entry(node)?]),
    }
}

fn cache_entry(node: &Node) -> Result<Value, Problem> {
    only(node, &["key", "paths", "untracked", "policy", "when", "fallback_keys", "unprotect"])?;
    let key = member(node, "key", |key| match &key.kind {
        Kind::Scalar { .. } => key.text(),
        _ => Err(Problem::at(key.line, "should be a text; maps are not supported")),
    })?;
    // A policy may be a variable, which only the runner can read.
    let policy = member(node, "policy", |policy| {
        let text = policy.text()?;
        if text.starts_with('$') {
            return Ok(text);
        }
        one_of(policy, &["pull-push", "pull", "push"])
    })?;
    let when = member(node, "when", |when| one_of(when, &["on_success", "on_failure", "always"]))?;
    Ok(json!({
        "key": key.as_deref().unwrap_or("default"),
        "untracked": member(node, "untracked", Node::flag)?.unwrap_or(false),
        "paths": member(node, "paths", Node::texts)?.unwrap_or_default(),
        "policy": policy.as_deref().unwrap_or("pull-push"),
        "when": when.as_deref().unwrap_or("on_success"),
        "fallback_keys": member(node, "fallback_keys", Node::texts)?.unwrap_or_default(),
        "unprotect": member(node, "unprotect", Node::flag)?.unwrap_or(false),
    }))
}

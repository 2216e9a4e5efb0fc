//! `image` and `services`.

use serde_json::{Map, Value, json};

use crate::ci::entry::Entry;
use crate::ci::node::Node;

/// A name, or a map.
pub(in crate::ci) fn image(entry: &Entry<'_>) -> Option<Value> {
    let name = match entry.node {
        Node::Text(name) => name.clone(),
        Node::Map(_) => {
            entry.map_of(&["name", "entrypoint", "ports", "pull_policy", "docker", "kubernetes"])?;
            name(entry)?
        }
        _ => {
            entry.complain("should be a hash or a string");
            return None;
        }
    };
    Some(json!({
        "name": name,
        "entrypoint": texts(entry, "entrypoint"),
        "ports": ports(entry),
        "executor_opts": executor_options(entry),
        "pull_policy": pull_policy(entry),
    }))
}

/// Names, or maps.
pub(in crate::ci) fn services(entry: &Entry<'_>) -> Option<Vec<Value>> {
    let services = entry.items()?.iter().enumerate();
    Some(services.filter_map(|(index, node)| service(&entry.child(&index.to_string(), node))).collect())
}

fn service(entry: &Entry<'_>) -> Option<Value> {
    let is_short = matches!(entry.node, Node::Text(_));
    let name = match entry.node {
        Node::Text(name) => name.clone(),
        Node::Map(_) => {
            let own = ["alias", "command", "variables"];
            let shared = ["name", "entrypoint", "ports", "pull_policy", "docker", "kubernetes"];
            entry.map_of(&[&shared[..], &own].concat())?;
            name(entry)?
        }
        _ => {
            entry.complain("should be a hash or a string");
            return None;
        }
    };
    let variables = entry.member("variables").and_then(|given| super::variables(&given, &["value", "expand"]));
    let variables: Vec<Value> = variables
        .unwrap_or_default()
        .iter()
        .map(|variable| json!({ "key": variable.key, "value": variable.value }))
        .collect();
    let alias = entry.attribute("alias").and_then(|alias| match alias.node {
        Node::List(_) => alias.texts().map(|names| names.join(",")),
        _ => alias.text(),
    });
    Some(json!({
        "name": name,
        "alias": alias,
        "entrypoint": texts(entry, "entrypoint"),
        "command": texts(entry, "command"),
        "ports": ports(entry),
        "variables": if is_short { Value::Null } else { json!(variables) },
        "executor_opts": executor_options(entry),
        "pull_policy": pull_policy(entry),
    }))
}

fn name(entry: &Entry<'_>) -> Option<String> {
    entry.require("name");
    entry.attribute("name")?.name()
}

fn texts(entry: &Entry<'_>, key: &str) -> Option<Vec<String>> {
    entry.attribute(key)?.texts()
}

fn pull_policy(entry: &Entry<'_>) -> Option<Vec<String>> {
    let entry = entry.attribute("pull_policy")?;
    let policies = entry.texts_or_one()?;
    let known = |policy: &String| ["always", "if-not-present", "never"].contains(&policy.as_str());
    let unknown: Vec<&str> = policies.iter().filter(|policy| !known(policy)).map(String::as_str).collect();
    if !unknown.is_empty() {
        entry.complain(format!("contains unknown values: {}", unknown.join(", ")));
    }
    Some(policies)
}

/// `docker` and `kubernetes` of an image or service, as `executor_opts`.
fn executor_options(entry: &Entry<'_>) -> Value {
    let mut options = Map::new();
    if let Some(docker) = entry.member("docker") {
        docker.map_of(&["platform", "user"]);
        let shown = ["platform", "user"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), json!(docker.attribute(key)?.text()?))));
        options.insert("docker".to_owned(), Value::Object(shown.collect()));
    }
    if let Some(kubernetes) = entry.member("kubernetes") {
        kubernetes.map_of(&["user"]);
        // GitLab passes a number on as a number.
        let user = kubernetes.attribute("user").map(|user| match user.node {
            Node::Number(_) => user.node.to_json(),
            _ => json!(user.text()),
        });
        options.insert("kubernetes".to_owned(), json!({ "user": user }));
    }
    Value::Object(options)
}

/// Numbers, or maps with `number`, `protocol` and `name`.
fn ports(entry: &Entry<'_>) -> Vec<Value> {
    let port = |node| {
        let entry = entry.child("ports:port", node);
        if !entry.is_map() {
            return Some(json!({ "number": entry.integer(1, 65535)?, "protocol": "http", "name": "default_port" }));
        }
        entry.map_of(&["number", "protocol", "name"])?;
        entry.require("number");
        let protocol = entry.attribute("protocol").and_then(|word| word.one_of(&["http", "https"]));
        Some(json!({
            "number": entry.attribute("number")?.integer(1, 65535)?,
            "protocol": protocol.unwrap_or("http"),
            "name": entry.attribute("name").and_then(|name| name.text()).unwrap_or("default_port".into()),
        }))
    };
    let ports = entry.attribute("ports").and_then(|ports| ports.items());
    ports.unwrap_or_default().iter().filter_map(port).collect()
}

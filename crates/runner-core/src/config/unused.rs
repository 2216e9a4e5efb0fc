//! Keys of the file that are set and change nothing: unknown ones, and GitLab Runner's that mean nothing here.

use serde_ignored::Path;

use super::{Config, EXECUTOR, kubernetes};

/// Keys of GitLab Runner that are understood but change nothing here, with the reason. `runners` stands for each entry.
const NO_EFFECT: &[(&str, &str)] = &[
    ("connection_max_age", "connections are kept as long as they work"),
    ("experimental", "there are no experiments"),
    ("listen_address", "metrics are not served yet"),
    ("log_format", "the flag --log-format decides"),
    ("log_level", "the flag --log-level decides"),
    ("machine", "only the kubernetes executor can be run"),
    ("sentry_dsn", "errors are not reported to Sentry"),
    ("session_server", "there are no interactive sessions"),
    ("shutdown_timeout", "jobs go on while the tools are stopped"),
    ("user", "no process changes its user"),
    ("runners.autoscaler", "only the kubernetes executor can be run"),
    ("runners.custom", "only the kubernetes executor can be run"),
    ("runners.docker", "only the kubernetes executor can be run"),
    ("runners.experimental", "there are no experiments"),
    ("runners.instance", "only the kubernetes executor can be run"),
    ("runners.machine", "only the kubernetes executor can be run"),
    ("runners.monitoring", "metrics are not served yet"),
    ("runners.parallels", "only the kubernetes executor can be run"),
    ("runners.proxy_exec", "scripts are run directly"),
    ("runners.referees", "there are no referees"),
    ("runners.slot_cgroup_template", "only for other executors"),
    ("runners.ssh", "only the kubernetes executor can be run"),
    ("runners.step_runner_image", "native steps are not supported"),
    ("runners.use_slot_cgroups", "only for other executors"),
    ("runners.virtualbox", "only the kubernetes executor can be run"),
];

/// A key that is set and has no effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnusedKey {
    /// Where it is, e.g. `runners[0].docker`.
    pub path: String,
    /// Why a known key has no effect (worth a warning); `None` if the key is not known at all (worth a debug line).
    pub reason: Option<&'static str>,
}

/// `unknown` are the paths for which no field was found.
pub(super) fn unused_keys(config: &Config, table: &toml::Table, unknown: Vec<String>) -> Vec<UnusedKey> {
    let mut keys = Vec::new();
    let mut note = |prefix: &str, table: &toml::Table, list: &str| {
        for (key, reason) in NO_EFFECT.iter().filter_map(|(path, reason)| Some((below(path, list)?, reason))) {
            if table.contains_key(key) {
                keys.push(UnusedKey { path: format!("{prefix}{key}"), reason: Some(reason) });
            }
        }
    };
    note("", table, "");
    let tables = table.get("runners").and_then(toml::Value::as_array).into_iter().flatten();
    let tables = tables.filter_map(toml::Value::as_table).enumerate();
    let ours = tables.filter(|(index, _)| is_ours(config, *index));
    for (index, table) in ours.clone() {
        note(&format!("runners[{index}]."), table, "runners");
    }
    for (index, table) in ours {
        let Some(table) = table.get("kubernetes").and_then(toml::Value::as_table) else { continue };
        for (key, reason) in kubernetes::NO_EFFECT.iter().filter(|(key, _)| table.contains_key(*key)) {
            keys.push(UnusedKey { path: format!("runners[{index}].kubernetes.{key}"), reason: Some(reason) });
        }
    }
    for path in unknown {
        let known =
            keys.iter().any(|key| path.strip_prefix(&key.path).is_some_and(|r| r.is_empty() || r.starts_with('.')));
        let foreign = runner_index(&path).is_some_and(|index| !is_ours(config, index));
        if !known && !foreign {
            keys.push(UnusedKey { path, reason: None });
        }
    }
    keys.sort();
    keys
}

/// The last part of `path` if the rest is `parent`.
fn below(path: &'static str, parent: &str) -> Option<&'static str> {
    match path.rsplit_once('.') {
        Some((rest, key)) => (rest == parent).then_some(key),
        None => parent.is_empty().then_some(path),
    }
}

/// Entries of other executors are skipped as a whole; nobody needs to hear about their keys.
fn is_ours(config: &Config, index: usize) -> bool {
    config.runners.get(index).is_some_and(|runner| runner.executor == EXECUTOR)
}

fn runner_index(path: &str) -> Option<usize> {
    path.strip_prefix("runners[")?.split_once(']')?.0.parse().ok()
}

/// `runners[0].kubernetes.x` for a path of serde_ignored.
pub(super) fn path_text(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_text(parent)),
        Path::Map { parent, key } => match path_text(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => path_text(parent),
    }
}

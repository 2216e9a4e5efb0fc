//! Keys of the file that are set and change nothing: unknown ones, and GitLab Runner's that mean nothing here.

use serde_ignored::Path;

use super::{Config, EXECUTOR, kubernetes};

/// Keys of GitLab Runner that are understood but change nothing here, with the reason. `runners` stands for each entry.
pub(super) const NO_EFFECT: &[(&str, &str)] = &[
    ("connection_max_age", "connections are kept as long as they work"),
    ("experimental", "there are no experiments"),
    ("log_format", "the flag --log-format decides"),
    ("log_level", "the flag --log-level decides"),
    ("machine", OTHER_EXECUTORS),
    ("sentry_dsn", "errors are not reported to Sentry"),
    ("session_server.listen_address", "there are no interactive sessions"),
    ("shutdown_timeout", "jobs go on while the tools are stopped"),
    ("user", "no process changes its user"),
    ("runners.artifact", "the limits of artifact uploads cannot be set yet"),
    ("runners.autoscaler", OTHER_EXECUTORS),
    ("runners.cache", "there is no store for caches yet"),
    ("runners.custom", OTHER_EXECUTORS),
    ("runners.docker", OTHER_EXECUTORS),
    ("runners.experimental", "there are no experiments"),
    ("runners.instance", OTHER_EXECUTORS),
    ("runners.job_status_final_update_retry_limit", "a result is sent until it is accepted or refused"),
    ("runners.machine", OTHER_EXECUTORS),
    ("runners.monitoring", "waiting times are not measured"),
    ("runners.parallels", OTHER_EXECUTORS),
    ("runners.proxy_exec", "scripts are run directly"),
    ("runners.referees", "there are no referees"),
    ("runners.safe_directory_checkout", "checkouts are always safe directories"),
    ("runners.slot_cgroup_template", OTHER_EXECUTORS),
    ("runners.ssh", OTHER_EXECUTORS),
    ("runners.step_runner_image", "native steps are not supported"),
    ("runners.use_slot_cgroups", OTHER_EXECUTORS),
    ("runners.virtualbox", OTHER_EXECUTORS),
];

const OTHER_EXECUTORS: &str = "only the kubernetes executor can be run";

/// Values that say what is the case anyway; GitLab Runner writes some of them into every file. Nothing to warn about.
fn is_default(path: &str, value: &toml::Value) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    match (last, value) {
        ("connection_max_age", toml::Value::String(text)) => text == "15m0s" || text == "15m",
        ("cleanup_resources_timeout", toml::Value::String(text)) => text == "5m0s" || text == "5m",
        ("helper_image_flavor", toml::Value::String(text)) => text.is_empty() || text == "alpine",
        ("log_level", toml::Value::String(text)) => text.is_empty() || text == "info",
        ("log_format", toml::Value::String(text)) => text.is_empty() || text == "runner",
        ("poll_interval", toml::Value::Integer(secs)) => *secs <= 0 || *secs == 3,
        ("safe_directory_checkout", toml::Value::Boolean(on)) => *on,
        _ => is_empty(value),
    }
}

fn is_empty(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.is_empty(),
        toml::Value::Integer(number) => *number == 0,
        toml::Value::Boolean(on) => !on,
        toml::Value::Array(list) => list.is_empty(),
        toml::Value::Table(table) => table.values().all(is_empty),
        toml::Value::Float(_) | toml::Value::Datetime(_) => false,
    }
}

/// A key that is set and has no effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnusedKey {
    /// Where it is, e.g. `runners[0].docker`.
    pub path: String,
    /// Why a known key has no effect (worth a warning); `None` if the key is not known at all (worth a debug line).
    pub reason: Option<&'static str>,
}

/// `unknown` are the paths for which no field was found.
pub(super) fn unused_keys(config: &Config, file: &toml::Table, unknown: Vec<String>) -> Vec<UnusedKey> {
    let mut keys = Vec::new();
    let mut known = Vec::new();
    let mut note = |prefix: String, table: &toml::Table, path: &str, reason| {
        let Some(value) = look_up(table, path) else { return };
        known.push(format!("{prefix}{path}"));
        if !is_default(path, value) {
            keys.push(UnusedKey { path: format!("{prefix}{path}"), reason: Some(reason) });
        }
    };
    for (path, reason) in NO_EFFECT.iter().filter(|(path, _)| !path.starts_with("runners.")) {
        note(String::new(), file, path, reason);
    }
    let entries = file.get("runners").and_then(toml::Value::as_array).into_iter().flatten().enumerate();
    for (index, entry) in entries.filter(|(index, _)| is_ours(config, *index)) {
        let Some(entry) = entry.as_table() else { continue };
        for (path, reason) in NO_EFFECT.iter().filter_map(|(path, why)| Some((path.strip_prefix("runners.")?, why))) {
            note(format!("runners[{index}]."), entry, path, reason);
        }
        let Some(table) = entry.get("kubernetes").and_then(toml::Value::as_table) else { continue };
        for (path, reason) in kubernetes::NO_EFFECT {
            note(format!("runners[{index}].kubernetes."), table, path, reason);
        }
    }
    for path in unknown {
        let is_below =
            |known: &String| path.strip_prefix(known.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.'));
        let foreign = runner_index(&path).is_some_and(|index| !is_ours(config, index));
        if !known.iter().any(is_below) && !foreign {
            keys.push(UnusedKey { path, reason: None });
        }
    }
    keys.sort();
    keys
}

fn look_up<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    match path.split_once('.') {
        Some((first, rest)) => look_up(table.get(first)?.as_table()?, rest),
        None => table.get(path),
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

//! GitLab Runner's feature flags: which exist, what they default to, who decides.

use std::collections::BTreeMap;

use crate::job::Variable;

/// Every known flag with its default, in alphabetical order. All are exported to the job as variables.
pub const KNOWN: &[(&str, bool)] = &[
    ("FF_CLEAN_UP_FAILED_CACHE_EXTRACT", false),
    ("FF_CONCRETE", false),
    ("FF_DISABLE_AUTOMATIC_TOKEN_ROTATION", false),
    ("FF_DISABLE_POWERSHELL_STDIN", false),
    ("FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR", false),
    ("FF_DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR", false),
    ("FF_ENABLE_BASH_EXIT_CODE_CHECK", false),
    ("FF_ENABLE_JOB_CLEANUP", false),
    ("FF_ENABLE_JOB_INPUTS_INTERPOLATION", true),
    ("FF_EXPORT_HIGH_CARDINALITY_METRICS", false),
    ("FF_GIT_URLS_WITHOUT_TOKENS", false),
    ("FF_HASH_CACHE_KEYS", false),
    ("FF_KUBERNETES_HONOR_ENTRYPOINT", false),
    ("FF_LOG_IMAGES_CONFIGURED_FOR_JOB", false),
    ("FF_MASK_ALL_DEFAULT_TOKENS", true),
    ("FF_NETWORK_PER_BUILD", false),
    ("FF_POSIXLY_CORRECT_ESCAPES", false),
    ("FF_PRINT_POD_EVENTS", false),
    ("FF_RESOLVE_FULL_TLS_CHAIN", false),
    ("FF_SCRIPT_SECTIONS", false),
    ("FF_SCRIPT_TO_STEP_MIGRATION", false),
    ("FF_SECRET_RESOLVING_FAILS_IF_MISSING", true),
    ("FF_SUSPENDABLE_ENVIRONMENTS", false),
    ("FF_TIMESTAMPS", true),
    ("FF_USE_ADAPTIVE_REQUEST_CONCURRENCY", true),
    ("FF_USE_ADVANCED_POD_SPEC_CONFIGURATION", false),
    ("FF_USE_DIRECT_DOWNLOAD", true),
    ("FF_USE_DOCKER_AUTOSCALER_DIAL_STDIO", true),
    ("FF_USE_DUMB_INIT_WITH_KUBERNETES_EXECUTOR", false),
    ("FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL", false),
    ("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", true),
    ("FF_USE_FASTZIP", true),
    ("FF_USE_FLEETING_ACQUIRE_HEARTBEATS", false),
    ("FF_USE_GITALY_CORRELATION_ID", true),
    ("FF_USE_GIT_BUNDLE_URIS", true),
    ("FF_USE_GIT_NATIVE_CLONE", false),
    ("FF_USE_GIT_PROACTIVE_AUTH", false),
    ("FF_USE_INIT_WITH_DOCKER_EXECUTOR", false),
    ("FF_USE_JOB_ROUTER", false),
    ("FF_USE_LEGACY_BASH_EVAL", false),
    ("FF_USE_LEGACY_GCS_CACHE_ADAPTER", false),
    ("FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY", false),
    ("FF_USE_LEGACY_S3_CACHE_ADAPTER", false),
    ("FF_USE_NATIVE_CONTAINER_STOP", false),
    ("FF_USE_PARALLEL_ARTIFACT_TRANSFER", false),
    ("FF_USE_PARALLEL_CACHE_TRANSFER", false),
    ("FF_USE_POD_ACTIVE_DEADLINE_SECONDS", true),
    ("FF_USE_POWERSHELL_PATH_RESOLVER", false),
    ("FF_USE_WINDOWS_JOB_OBJECT", false),
    ("FF_USE_WINDOWS_LEGACY_PROCESS_STRATEGY", false),
    ("FF_WAIT_FOR_POD_TO_BE_REACHABLE", false),
];

/// Flags that change nothing here: they are for other executors and systems, or for what these tools do in another way. A job
/// for which one is not at its default is told.
const WITHOUT_EFFECT: &[&str] = &[
    "FF_CONCRETE",
    "FF_DISABLE_POWERSHELL_STDIN",
    "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR",
    "FF_EXPORT_HIGH_CARDINALITY_METRICS",
    "FF_NETWORK_PER_BUILD",
    "FF_SCRIPT_TO_STEP_MIGRATION",
    "FF_SUSPENDABLE_ENVIRONMENTS",
    "FF_USE_DOCKER_AUTOSCALER_DIAL_STDIO",
    "FF_USE_DUMB_INIT_WITH_KUBERNETES_EXECUTOR",
    "FF_USE_FLEETING_ACQUIRE_HEARTBEATS",
    "FF_USE_INIT_WITH_DOCKER_EXECUTOR",
    "FF_USE_JOB_ROUTER",
    "FF_USE_LEGACY_BASH_EVAL",
    "FF_USE_LEGACY_GCS_CACHE_ADAPTER",
    "FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY",
    "FF_USE_LEGACY_S3_CACHE_ADAPTER",
    "FF_USE_NATIVE_CONTAINER_STOP",
    "FF_USE_POWERSHELL_PATH_RESOLVER",
    "FF_USE_WINDOWS_JOB_OBJECT",
    "FF_USE_WINDOWS_LEGACY_PROCESS_STRATEGY",
    "FF_WAIT_FOR_POD_TO_BE_REACHABLE",
];

/// The flags of one job, resolved.
#[derive(Debug, Clone)]
pub struct Flags {
    values: BTreeMap<&'static str, bool>,
    warnings: Vec<String>,
}

impl Flags {
    /// `[runners.feature_flags]` beats the job's variable, which beats the default. A variable that is no bool is a warning.
    pub fn resolve(config: &BTreeMap<String, bool>, variables: &[Variable]) -> Self {
        let mut warnings = Vec::new();
        let values = KNOWN.iter().map(|&(name, default)| {
            if let Some(&value) = config.get(name) {
                return (name, value);
            }
            let Some(variable) = variables.iter().rev().find(|v| v.key == name) else { return (name, default) };
            let value = parse_bool(variable.value.expose()).unwrap_or_else(|| {
                warnings.push(format!(
                    "{name}: could not parse feature flag, expected bool, got {}",
                    variable.value.expose()
                ));
                default
            });
            (name, value)
        });
        let values = values.collect();
        let mut flags = Self { values, warnings };
        let idle = flags.changed_flags().filter(|name| WITHOUT_EFFECT.contains(name));
        let idle: Vec<String> = idle.map(|name| format!("{name} has no effect in this runner")).collect();
        flags.warnings.extend(idle);
        flags
    }

    /// Names of the flags whose value is not the default.
    fn changed_flags(&self) -> impl Iterator<Item = &'static str> {
        KNOWN.iter().filter(|&&(name, default)| self.is_on(name) != default).map(|&(name, _)| name)
    }

    /// Whether `name`, one of [`KNOWN`], is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.values.get(name).copied().unwrap_or(false)
    }

    /// All flags with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.values.iter().map(|(&name, &value)| (name, value))
    }

    /// Flags whose value is not the default, as the log's header shows them: `FF_A:true, FF_B:false`; `None` if there are none.
    pub fn changed(&self) -> Option<String> {
        let changed: Vec<_> = self.changed_flags().map(|name| format!("{name}:{}", self.is_on(name))).collect();
        (!changed.is_empty()).then(|| changed.join(", "))
    }

    /// What was wrong with the job's variables, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The bool texts that GitLab Runner reads: `1 t T TRUE true True` and `0 f F FALSE false False`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j132_j133_config_beats_variable_beats_default() {
        let config = BTreeMap::from([("FF_TIMESTAMPS".to_owned(), true)]);
        let variables = [
            Variable::public("FF_TIMESTAMPS", "false"),
            Variable::public("FF_SCRIPT_SECTIONS", "1"),
            Variable::public("FF_HASH_CACHE_KEYS", "maybe"),
        ];
        let flags = Flags::resolve(&config, &variables);
        assert!(
            flags.is_on("FF_TIMESTAMPS") && flags.is_on("FF_SCRIPT_SECTIONS") && !flags.is_on("FF_HASH_CACHE_KEYS")
        );
        assert_eq!(flags.changed().as_deref(), Some("FF_SCRIPT_SECTIONS:true"));
        assert_eq!(flags.warnings(), ["FF_HASH_CACHE_KEYS: could not parse feature flag, expected bool, got maybe"]);
    }

    #[test]
    fn j306_a_bool_has_twelve_forms() {
        for (text, value) in [("1", true), ("t", true), ("T", true), ("TRUE", true), ("true", true), ("True", true)] {
            assert_eq!(parse_bool(text), Some(value), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Some(false), "{text}");
        }
        for text in ["", "yes", "on", "2", "tRUE", " true"] {
            assert_eq!(parse_bool(text), None, "{text}");
        }
    }

    #[test]
    fn the_tables_are_sorted_and_fit() {
        assert!(KNOWN.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(WITHOUT_EFFECT.windows(2).all(|w| w[0] < w[1]));
        assert!(WITHOUT_EFFECT.iter().all(|name| KNOWN.iter().any(|(known, _)| known == name)));
    }

    #[test]
    fn a_flag_without_effect_is_told_where_it_is_changed() {
        let resolve = |key: &str, value: &str| {
            Flags::resolve(&BTreeMap::new(), &[Variable::public(key, value)]).warnings().to_vec()
        };
        assert_eq!(resolve("FF_CONCRETE", "true"), ["FF_CONCRETE has no effect in this runner"]);
        assert_eq!(resolve("FF_CONCRETE", "false"), [""; 0]);
        let of_docker = "FF_USE_DOCKER_AUTOSCALER_DIAL_STDIO";
        assert_eq!(resolve(of_docker, "false"), [format!("{of_docker} has no effect in this runner")]);
        assert_eq!(resolve("FF_TIMESTAMPS", "false"), [""; 0]);
    }
}

//! Variables by which a job changes how it is run, read and checked once. What is wrong with them is told in one message.

use runner_core::flags::parse_bool;
use runner_core::variables::Variables;

/// The settings of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Scripts show what they run (`CI_DEBUG_TRACE`).
    pub(crate) traces: bool,
    /// Tries in all of `get_sources`.
    pub(crate) get_sources_attempts: u32,
    /// Tries in all of `download_artifacts`.
    pub(crate) artifact_download_attempts: u32,
    /// Tries in all to fetch a secret.
    pub(crate) secrets_attempts: u32,
    /// Tries in all of `restore_cache`.
    pub(crate) restore_cache_attempts: u32,
}

impl Settings {
    /// Reads the settings; the texts say what is wrong with them.
    pub(crate) fn read(variables: &Variables, debug_trace_disabled: bool) -> (Self, Vec<String>) {
        let mut reader = Reader { variables, warnings: Vec::new() };
        let wants_trace = reader.bool("CI_DEBUG_TRACE", false);
        if wants_trace && debug_trace_disabled {
            reader.warnings.push("CI_DEBUG_TRACE: usage is disabled on this Runner".to_owned());
        }
        let settings = Self {
            traces: wants_trace && !debug_trace_disabled,
            get_sources_attempts: reader.attempts("GET_SOURCES_ATTEMPTS"),
            artifact_download_attempts: reader.attempts("ARTIFACT_DOWNLOAD_ATTEMPTS"),
            secrets_attempts: reader.attempts("SECRETS_RETRIEVAL_ATTEMPTS"),
            restore_cache_attempts: reader.attempts("RESTORE_CACHE_ATTEMPTS"),
        };
        reader.attempts("EXECUTOR_JOB_SECTION_ATTEMPTS"); // for its warning: other executors have a use for it
        (settings, reader.warnings)
    }
}

struct Reader<'a> {
    variables: &'a Variables,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn bool(&mut self, key: &str, default: bool) -> bool {
        let text = self.variables.value(key);
        if text.is_empty() {
            return default;
        }
        parse_bool(&text).unwrap_or_else(|| {
            self.warnings.push(format!("{key}: expected bool got \"{text}\", using default value: {default}"));
            default
        })
    }

    /// Tries in all, 1 to 10.
    fn attempts(&mut self, key: &str) -> u32 {
        let text = self.variables.value(key);
        if text.is_empty() {
            return 1;
        }
        let Ok(wanted) = text.parse::<i64>() else {
            self.warnings.push(format!("{key}: expected int got \"{text}\", using default value: 1"));
            return 1;
        };
        let attempts = wanted.clamp(1, 10);
        if attempts != wanted {
            let range = "number of attempts out of the range [1, 10], clamping to";
            self.warnings.push(format!("{key}: {range}: {attempts}"));
        }
        u32::try_from(attempts).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use runner_core::job::Variable;

    use super::*;

    fn read(key: &str, value: &str, disabled: bool) -> (Settings, Vec<String>) {
        Settings::read(&Variables::new(vec![Variable::public(key, value)], ""), disabled)
    }

    #[test]
    fn j126_attempts_are_clamped_or_one() {
        let range = "number of attempts out of the range [1, 10], clamping to";
        for (value, attempts, warning) in [
            ("", 1, None),
            ("3", 3, None),
            ("10", 10, None),
            ("0", 1, Some(format!("GET_SOURCES_ATTEMPTS: {range}: 1"))),
            ("-2", 1, Some(format!("GET_SOURCES_ATTEMPTS: {range}: 1"))),
            ("11", 10, Some(format!("GET_SOURCES_ATTEMPTS: {range}: 10"))),
            ("many", 1, Some("GET_SOURCES_ATTEMPTS: expected int got \"many\", using default value: 1".to_owned())),
        ] {
            let (settings, warnings) = read("GET_SOURCES_ATTEMPTS", value, false);
            assert_eq!((settings.get_sources_attempts, warnings), (attempts, warning.into_iter().collect()), "{value}");
        }
    }

    #[test]
    fn j128_a_job_is_traced_if_it_says_so_and_the_runner_allows_it() {
        let refused = "CI_DEBUG_TRACE: usage is disabled on this Runner";
        let malformed = "CI_DEBUG_TRACE: expected bool got \"yes\", using default value: false";
        for (value, disabled, traces, warning) in [
            ("true", false, true, None),
            ("1", false, true, None),
            ("false", true, false, None),
            ("true", true, false, Some(refused)),
            ("yes", false, false, Some(malformed)),
        ] {
            let (settings, warnings) = read("CI_DEBUG_TRACE", value, disabled);
            let expected: Vec<String> = warning.map(str::to_owned).into_iter().collect();
            assert_eq!((settings.traces, warnings), (traces, expected), "{value}, {disabled}");
        }
    }

    #[test]
    fn j161_a_file_variable_sets_by_its_content() {
        let file = Variable { file: true, ..Variable::public("RESTORE_CACHE_ATTEMPTS", "4") };
        let (settings, warnings) = Settings::read(&Variables::new(vec![file], "/p.tmp"), false);
        assert_eq!((settings.restore_cache_attempts, warnings.len()), (4, 0));
    }
}

//! Jobs that are not begun: what they ask for cannot be done, and no pod would change that.

use runner_core::failure::FailureReason;
use runner_core::job::Payload;

use crate::pod::check_executor_options;
use crate::verdict::{LastWords, Verdict};

/// Exit code of a job that asks for things that exclude each other.
const EXCLUDED: i32 = 3;

/// How much of the log's beginning a refused job still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Introduction {
    /// The usual first lines.
    Whole,
    /// None: the job was refused before them.
    None,
}

/// Why a job is not begun.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) verdict: Verdict,
    pub(crate) introduction: Introduction,
}

impl Refused {
    /// The job's or the runner's settings cannot work.
    pub(crate) fn configuration(message: impl Into<String>, introduction: Introduction) -> Self {
        let verdict = Verdict::failed(FailureReason::RunnerConfigurationError, message);
        Self { verdict, introduction }
    }

    /// GitLab Runner leaves nothing but the text of these in the log, and reports them as its own failure.
    fn bare(message: impl Into<String>) -> Self {
        let verdict = Verdict { exit_code: Some(EXCLUDED), last_words: LastWords::Bare, ..Verdict::system(message) };
        Self { verdict, introduction: Introduction::None }
    }
}

/// What in `payload` nobody here can do.
pub(crate) fn refused(payload: &Payload) -> Option<Refused> {
    if let Err(refusal) = check_executor_options(payload) {
        return Some(Refused::bare(refusal.message));
    }
    payload.run.as_ref().filter(|run| !run.is_empty())?;
    if payload.steps.iter().any(|step| !step.script.is_empty()) {
        return Some(Refused::bare("the `run` and `script` keywords cannot be used together"));
    }
    if payload.variables.iter().any(|variable| variable.key == "STEPS") {
        return Some(Refused::bare("the `run` keyword requires the exclusive use of the variable STEPS"));
    }
    Some(Refused::configuration("the `run` keyword is not supported by this runner", Introduction::Whole))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn told(fields: Value) -> Option<(String, FailureReason, Option<i32>)> {
        let mut payload = json!({"id": 1, "token": "t"});
        payload.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let payload = Payload::parse(&RawValue::from_string(payload.to_string()).unwrap()).unwrap();
        let verdict = refused(&payload)?.verdict;
        Some((verdict.message, verdict.reason.unwrap(), verdict.exit_code))
    }

    #[test]
    fn run_excludes_script_and_the_variable_steps() {
        let (system, configuration) = (FailureReason::RunnerSystemFailure, FailureReason::RunnerConfigurationError);
        let script = json!([{"name": "script", "script": ["true"]}]);
        for (fields, message, reason, code) in [
            (
                json!({"run": "[{}]", "steps": script}),
                "the `run` and `script` keywords cannot be used together",
                system,
                Some(3),
            ),
            (
                json!({"run": "[{}]", "steps": null, "variables": [{"key": "STEPS", "value": ""}]}),
                "the `run` keyword requires the exclusive use of the variable STEPS",
                system,
                Some(3),
            ),
            (json!({"run": "[{}]"}), "the `run` keyword is not supported by this runner", configuration, None),
        ] {
            assert_eq!(told(fields), Some((message.to_owned(), reason, code)));
        }
        for fields in [json!({"steps": script}), json!({"run": "", "steps": script}), json!({"run": null})] {
            assert_eq!(told(fields), None);
        }
    }

    #[test]
    fn options_no_executor_has_are_refused() {
        let image = json!({"name": "a", "executor_opts": {"docker": {"x": 1}}});
        let message =
            "Unsupported \"image\" options [x] for \"docker executor\"; supported options are [platform user]";
        let expected = Some((message.to_owned(), FailureReason::RunnerSystemFailure, Some(3)));
        assert_eq!(told(json!({"image": image})), expected);
        let services = json!([{"name": "ok"}, {"name": "b", "executor_opts": {"podman": {}}}]);
        let (message, ..) = told(json!({"services": services})).unwrap();
        assert_eq!(
            message,
            "Unsupported \"services\" options [podman] for \"executor_opts\"; supported options are [docker kubernetes]"
        );
    }
}

//! What the log says of a job that a policy made.

use runner_core::text;
use serde::Deserialize;

use super::job::Job;
use super::log::Log;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Policy {
    execution_policy_job: bool,
    policy_name: String,
    policy_variables_override_allowed: Option<bool>,
    policy_variables_override_exceptions: Option<Vec<String>>,
}

/// Writes the lines, if the job is a policy's.
pub(crate) fn tell(job: &Job, log: &Log) {
    let Some(Ok(policy)) = job.payload.policy_options.as_ref().map(Policy::deserialize) else { return };
    if !policy.execution_policy_job {
        return;
    }
    for line in lines(&policy) {
        log.runner(&text::info(&line));
    }
}

fn lines(policy: &Policy) -> [String; 2] {
    let exceptions = policy.policy_variables_override_exceptions.as_deref().unwrap_or_default();
    let except = if exceptions.is_empty() { String::new() } else { format!(" (except for {})", exceptions.join(", ")) };
    let variables = match policy.policy_variables_override_allowed {
        None => {
            "Variables defined in the policy take precedence over matching user-defined CI/CD variables for this job."
                .to_owned()
        }
        Some(allowed) => {
            let how = if allowed { "allowed" } else { "ignored" };
            format!("User-defined CI/CD variables are {how} in this job{except} according to the policy.")
        }
    };
    [format!("Job triggered by policy \"{}\".", policy.policy_name), variables]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn j150_the_second_line_says_which_variables_count() {
        for (options, second) in [
            (
                json!({}),
                "Variables defined in the policy take precedence over matching user-defined CI/CD variables for this job.",
            ),
            (
                json!({"policy_variables_override_allowed": true}),
                "User-defined CI/CD variables are allowed in this job according to the policy.",
            ),
            (
                json!({"policy_variables_override_allowed": false, "policy_variables_override_exceptions": ["A", "B"]}),
                "User-defined CI/CD variables are ignored in this job (except for A, B) according to the policy.",
            ),
        ] {
            assert_eq!(lines(&Policy::deserialize(&options).unwrap())[1], second);
        }
    }
}

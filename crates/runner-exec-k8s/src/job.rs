//! A job as the executor holds it: the line that brought it, read and resolved once.

use runner_cli::state::JobDir;
use runner_core::config::{Kubernetes, Runner};
use runner_core::control::Cancel;
use runner_core::event::{Head, JobKey, Open, OpenFeatures};
use runner_core::flags::{Flags, parse_bool};
use runner_core::job::{JobLine, Payload, Variable};
use runner_core::line::LineType;
use runner_core::mask;
use runner_core::secret::Secret;
use runner_core::variables::Variables;

/// The variable that brings the logs of services into the job's log.
const DEBUG_SERVICES: &str = "CI_DEBUG_SERVICES";

/// One job to run.
pub(crate) struct Job {
    pub(crate) key: JobKey,
    pub(crate) line: JobLine,
    pub(crate) payload: Payload,
    pub(crate) runner: Runner,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) variables: Variables,
    pub(crate) flags: Flags,
    /// The job's folder, if it has one: then it survives our restart.
    pub(crate) dir: Option<JobDir>,
    /// Value of the label that says whose pod it is.
    pub(crate) owner: String,
    /// Part of the pod's name for a job without a folder: each run of it has objects of its own.
    pub(crate) replay: Option<String>,
}

impl Job {
    /// Reads the line. The error names the field and quotes no value.
    pub(crate) fn read(
        line: JobLine,
        dir: Option<JobDir>,
        owner: String,
        replay: Option<String>,
    ) -> Result<Self, String> {
        let payload = Payload::parse(&line.payload).map_err(|err| format!("`payload`: {err}"))?;
        if payload.id != line.id {
            return Err(format!("`id` is {}, but `payload.id` is {}", line.id, payload.id));
        }
        let runner = Runner::from_line_config(&line.runner.config).map_err(|err| format!("`runner.config`: {err}"))?;
        let kubernetes = runner.kubernetes.clone().unwrap_or_default();
        let flags = Flags::resolve(&runner.feature_flags, &payload.variables);
        let variables = Variables::new(variables(&runner, &payload), String::new());
        Ok(Self { key: line.key(), line, payload, runner, kubernetes, variables, flags, dir, owner, replay })
    }

    /// The job's `open` event.
    pub(crate) fn open(&self) -> Open {
        Open {
            head: Head::new(LineType::Open),
            key: self.key.clone(),
            url: self.line.runner.url.clone(),
            token: self.payload.token.clone(),
            tls: self.line.runner.tls.clone(),
            limit: self.runner.output_limit(),
            features: OpenFeatures {
                failure_reasons: self.payload.features.failure_reasons.clone(),
                token_mask_prefixes: self.payload.features.token_mask_prefixes.clone(),
            },
            masks: self.variables.masked_values().into_iter().map(Secret::new).collect(),
            debug_trace: self.debugs("CI_DEBUG_TRACE") || self.debugs_services(),
        }
    }

    /// Whether the logs of services go into the job's log.
    pub(crate) fn debugs_services(&self) -> bool {
        self.debugs(DEBUG_SERVICES)
    }

    fn debugs(&self, name: &str) -> bool {
        !self.runner.debug_trace_disabled && parse_bool(&self.variables.value(name)).unwrap_or(false)
    }

    /// What is wrong with settings that only the executor reads.
    pub(crate) fn warning(&self) -> Option<String> {
        let value = self.variables.value(DEBUG_SERVICES);
        match parse_bool(&value) {
            None if !value.is_empty() => {
                Some(format!("{DEBUG_SERVICES}: expected bool got {value:?}, using default value: false"))
            }
            Some(true) if self.runner.debug_trace_disabled => {
                Some(format!("{DEBUG_SERVICES}: usage is disabled on this Runner"))
            }
            _ => None,
        }
    }

    /// A masker for this job's log.
    pub(crate) fn masker(&self) -> mask::Masker {
        let own = self.payload.features.token_mask_prefixes.iter().map(String::as_str);
        mask::Masker::new(self.variables.masked_values(), own.chain(mask::DEFAULT_PREFIXES.iter().copied()))
    }

    /// How the job is to be stopped, if somebody said so.
    pub(crate) fn cancel(&self) -> Option<Cancel> {
        let cancel = self.dir.as_ref()?.cancel();
        cancel.unwrap_or_else(|err| {
            tracing::warn!("job {}: {err}", self.key);
            None
        })
    }

    /// Whether each line of the log begins with its time.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.flags.is_on("FF_TIMESTAMPS")
    }
}

/// What names and settings of the pod may refer to, weakest first: the runner's environment, then GitLab's variables.
fn variables(runner: &Runner, payload: &Payload) -> Vec<Variable> {
    let own = runner.environment.iter().filter_map(|entry| {
        let (key, value) = entry.split_once('=')?;
        Some(Variable { key: key.to_owned(), value: Secret::new(value), ..Variable::default() })
    });
    own.chain(payload.variables.iter().cloned()).collect()
}

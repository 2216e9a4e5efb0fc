//! A job as the executor holds it: the line that brought it, read and resolved once.

use std::path::Path;
use std::time::Duration;

use runner_cli::state::JobDir;
use runner_core::config::{Kubernetes, Runner};
use runner_core::control::Cancel;
use runner_core::event::{Head, JobKey, Open, OpenFeatures};
use runner_core::flags::{Flags, parse_bool};
use runner_core::inputs;
use runner_core::job::{JobLine, Payload};
use runner_core::job_variables::{JobVariables, Sources};
use runner_core::line::LineType;
use runner_core::mask;
use runner_core::project_folder::{Builds, FolderError};
use runner_core::secret::Secret;
use runner_core::variables::Variables;

use crate::pod::DEFAULT_BUILDS_DIR;
use crate::refuse::{self, Introduction, Refused};
use crate::stage_limits::stage_limit;

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
    /// How long its preparation may take.
    pub(crate) prepare_limit: Duration,
    /// Set if the job is not to be begun.
    pub(crate) refused: Option<Refused>,
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
        let mut payload = Payload::parse(&line.payload).map_err(|err| format!("`payload`: {err}"))?;
        if payload.id != line.id {
            return Err(format!("`id` is {}, but `payload.id` is {}", line.id, payload.id));
        }
        let runner = Runner::from_line_config(&line.runner.config).map_err(|err| format!("`runner.config`: {err}"))?;
        let kubernetes = runner.kubernetes.clone().unwrap_or_default();
        let flags = Flags::resolve(&runner.feature_flags, &payload.variables);
        let mut refused = refuse::refused(&payload);
        if flags.is_on("FF_ENABLE_JOB_INPUTS_INTERPOLATION") {
            match inputs::interpolated(&line.payload, &payload) {
                Ok(with_inputs) => payload = with_inputs.unwrap_or(payload),
                Err(err) => {
                    let message = format!("failed to interpolate job inputs: {err}");
                    refused.get_or_insert(Refused::configuration(message, Introduction::None));
                }
            }
        }
        let variables = variables(&line, &payload, &runner, &flags).unwrap_or_else(|err| {
            refused.get_or_insert(Refused::configuration(err.to_string(), Introduction::Whole));
            Variables::new(payload.variables.clone(), String::new())
        });
        let timeout = Duration::from_secs(payload.timeout_secs());
        let limit = |key, configured| {
            let (limit, warning) = stage_limit(key, configured, timeout);
            if let Some(warning) = warning {
                tracing::warn!("job {}: {warning}", line.key());
            }
            limit
        };
        let prepare_limit = limit("prepare_timeout", runner.prepare_timeout);
        limit("get_sources_timeout", runner.get_sources_timeout); // for its warning: the helper sees to it
        let key = line.key();
        Ok(Self {
            key,
            line,
            payload,
            runner,
            kubernetes,
            variables,
            flags,
            prepare_limit,
            refused,
            dir,
            owner,
            replay,
        })
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

/// What names and settings of the pod may refer to: all variables of the job.
fn variables(line: &JobLine, payload: &Payload, runner: &Runner, flags: &Flags) -> Result<Variables, FolderError> {
    let known = Variables::new(payload.variables.clone(), String::new());
    let folder = known.expand(if runner.builds_dir.is_empty() { DEFAULT_BUILDS_DIR } else { &runner.builds_dir });
    let builds = Builds::new(Path::new(&folder), &line.runner.config);
    let sources = Sources { line, payload, flags, environment: &runner.environment, builds, authorities: "" };
    Ok(JobVariables::assemble(sources)?.variables)
}

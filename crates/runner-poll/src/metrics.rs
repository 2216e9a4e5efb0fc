//! What runner-poll tells Prometheus, as text. Names and labels are GitLab Runner's, so that its dashboards work.
//!
//! Source: job semantics, metrics. Metrics of a job's stages and end are not runner-poll's to know.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Content type of [`Metrics::render`].
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counted from the start on.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    runners: BTreeMap<Identity, Counted>,
    /// Configurations taken over.
    pub(crate) loads: u64,
    /// Configurations that could not be used.
    pub(crate) failed_loads: u64,
}

/// By what a runner is told from others: short token and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) short_token: String,
    pub(crate) name: String,
}

#[derive(Debug, Default)]
struct Counted {
    jobs: u64,
    /// Answers to job requests by status, -1 where there was none.
    answers: BTreeMap<i32, u64>,
}

impl Counters {
    /// Begins with the configuration of the start.
    pub(crate) fn new() -> Self {
        Self { loads: 1, ..Self::default() }
    }

    /// An answer to a job request.
    pub(crate) fn answered(&mut self, runner: Identity, status: i32) {
        let counted = self.runners.entry(runner).or_default();
        *counted.answers.entry(status).or_default() += 1;
        counted.jobs += u64::from(status == 201);
    }
}

/// A runner at this moment.
#[derive(Debug)]
pub(crate) struct RunnerNow {
    pub(crate) identity: Identity,
    /// Jobs that hold a slot.
    pub(crate) jobs: usize,
    /// `limit`.
    pub(crate) limit: u32,
    /// `request_concurrency`.
    pub(crate) most_requests: u32,
    /// Requests that may be under way.
    pub(crate) allowed_requests: u32,
    /// Requests under way.
    pub(crate) requests: u32,
}

/// Everything there is to tell.
#[derive(Debug)]
pub(crate) struct Metrics<'a> {
    pub(crate) system_id: &'a str,
    /// `concurrent`.
    pub(crate) concurrent: usize,
    /// No new jobs are taken.
    pub(crate) is_draining: bool,
    pub(crate) runners: Vec<RunnerNow>,
    pub(crate) counters: &'a Counters,
}

/// Names of a runner's numbers, what each is, and where it comes from.
type Gauges = [(&'static str, &'static str, fn(&RunnerNow) -> u64); 5];

const GAUGES: Gauges = [
    ("limit", "Jobs of the runner at one time, 0 for no limit", |runner| runner.limit.into()),
    ("request_concurrency", "Requests for jobs under way", |runner| runner.requests.into()),
    ("request_concurrency_hard_limit", "request_concurrency of the configuration", |runner| {
        runner.most_requests.into()
    }),
    ("request_concurrency_adaptive_limit", "Parallel requests that pay off", |runner| runner.allowed_requests.into()),
    ("request_concurrency_used_limit", "Parallel requests that may be under way", |runner| {
        runner.allowed_requests.into()
    }),
];

impl Metrics<'_> {
    /// The page in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let mut page = Page::default();
        page.family("version_info", "gauge", "What runs here");
        page.sample(
            "version_info",
            &[
                ("name", runner_core::RUNNER_NAME),
                ("version", runner_core::COMPATIBLE_VERSION),
                ("revision", runner_core::REVISION),
                ("os", std::env::consts::OS),
                ("architecture", std::env::consts::ARCH),
            ],
            1,
        );
        page.family("process_state_info", "gauge", "What it is doing");
        let state = if self.is_draining { "graceful-shutdown" } else { "running" };
        page.sample("process_state_info", &[("state", state)], 1);
        for (name, help, value) in [
            ("configuration_loaded_total", "Configurations taken over", self.counters.loads),
            ("configuration_loading_error_total", "Configurations that could not be used", self.counters.failed_loads),
        ] {
            page.family(name, "counter", help);
            page.sample(name, &[], value);
        }
        page.family("concurrent", "gauge", "Jobs of all runners at one time");
        page.sample("concurrent", &[], self.concurrent);
        page.family("jobs", "gauge", "Jobs that hold a slot");
        for runner in &self.runners {
            let state = [("state", "running"), ("stage", ""), ("executor_stage", "")];
            let labels = self.labels(&runner.identity);
            page.sample("jobs", &[&labels[..], &state].concat(), runner.jobs);
        }
        for (name, help, value) in GAUGES {
            page.family(name, "gauge", help);
            for runner in &self.runners {
                page.sample(name, &self.labels(&runner.identity), value(runner));
            }
        }
        self.render_counters(&mut page);
        page.0
    }

    fn render_counters(&self, page: &mut Page) {
        page.family("jobs_total", "counter", "Jobs taken");
        for (runner, counted) in &self.counters.runners {
            page.sample("jobs_total", &self.labels(runner), counted.jobs);
        }
        page.family("api_request_statuses_total", "counter", "Answers of GitLab by status, -1 for none");
        for (runner, counted) in &self.counters.runners {
            for (status, count) in &counted.answers {
                let status = status.to_string();
                let call = [("endpoint", "request_job"), ("status", &*status), ("method", "post")];
                page.sample("api_request_statuses_total", &[&self.labels(runner)[..], &call].concat(), count);
            }
        }
    }

    fn labels<'a>(&'a self, runner: &'a Identity) -> [(&'static str, &'a str); 3] {
        [("runner", &runner.short_token), ("runner_name", &runner.name), ("system_id", self.system_id)]
    }
}

/// The text format, line by line. Writing into a String cannot fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP gitlab_runner_{name} {help}\n# TYPE gitlab_runner_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "gitlab_runner_{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_announced_once_and_names_are_escaped() {
        let identity = Identity { short_token: "abc".to_owned(), name: "a \"b\"\n\\".to_owned() };
        let mut counters = Counters::new();
        for status in [204, 201, 201, -1] {
            counters.answered(identity.clone(), status);
        }
        let runner = RunnerNow { identity, jobs: 2, limit: 3, most_requests: 4, allowed_requests: 2, requests: 1 };
        let metrics =
            Metrics { system_id: "s_1", concurrent: 5, is_draining: false, runners: vec![runner], counters: &counters };
        let page = metrics.render();
        let who = "runner=\"abc\",runner_name=\"a \\\"b\\\"\\n\\\\\",system_id=\"s_1\"";
        for expected in [
            "gitlab_runner_concurrent 5".to_owned(),
            format!("gitlab_runner_jobs{{{who},state=\"running\",stage=\"\",executor_stage=\"\"}} 2"),
            format!("gitlab_runner_jobs_total{{{who}}} 2"),
            format!("gitlab_runner_limit{{{who}}} 3"),
            format!("gitlab_runner_request_concurrency_hard_limit{{{who}}} 4"),
            format!(
                "gitlab_runner_api_request_statuses_total{{{who},endpoint=\"request_job\",status=\"-1\",method=\"post\"}} 1"
            ),
        ] {
            assert!(page.lines().any(|line| line == expected), "no {expected} in\n{page}");
        }
        let mut families: Vec<_> = page.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        let count = families.len();
        families.dedup();
        assert_eq!((families.len(), page.matches("# HELP ").count()), (count, count));
    }
}

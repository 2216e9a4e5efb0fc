//! What a job may want to read beside its own log: the logs of its services, and the events of its pod.

use k8s_openapi::jiff::Timestamp;
use runner_core::stamp::STREAM_SERVICES;
use tokio::sync::mpsc;

use crate::follow::{Followed, LogOf, follow};
use crate::job::Job;
use crate::objects::Objects;
use crate::pod::ServicePlan;
use crate::pod_events;
use crate::watch::PodWatch;

/// Grey, in which GitLab Runner shows what services say.
const GREY: &str = "\u{1b}[0;37m";
const RESET: &str = "\u{1b}[0;m";

/// One line for the log, with its line end, and the stream it belongs to.
pub(crate) struct Aside {
    pub(crate) stream: u8,
    pub(crate) text: String,
}

/// Where everything comes from.
pub(crate) struct Surroundings<'a> {
    pub(crate) job: &'a Job,
    pub(crate) objects: &'a Objects,
    pub(crate) pod: &'a str,
    pub(crate) watch: &'a PodWatch,
    pub(crate) services: &'a [ServicePlan],
    /// Set if the job goes on after a restart: what was said before is in the log already.
    pub(crate) since: Option<Timestamp>,
}

impl Surroundings<'_> {
    /// Starts to listen to what the job asks for. Ends when the receiver is dropped.
    pub(crate) fn listen(&self) -> mpsc::Receiver<Aside> {
        let (to, asides) = mpsc::channel(64);
        if self.job.debugs_services() {
            for service in self.services {
                tokio::spawn(service_log(
                    self.log_of(service),
                    service.label.clone(),
                    self.job.runner.output_limit(),
                    to.clone(),
                ));
            }
        }
        if self.job.flags.is_on("FF_PRINT_POD_EVENTS") {
            tokio::spawn(pod_events::follow(self.objects.events.clone(), self.pod.to_owned(), self.since, to));
        }
        asides
    }

    fn log_of(&self, service: &ServicePlan) -> LogOf {
        LogOf {
            api: self.objects.pods.clone(),
            pod: self.pod.to_owned(),
            container: service.container.clone(),
            watch: self.watch.clone(),
            since: self.since,
        }
    }
}

/// Passes the log of one service on, up to `limit` bytes: a service that never stops talking must not fill the journal.
async fn service_log(log: LogOf, label: String, limit: u64, to: mpsc::Sender<Aside>) {
    let mut last = log.since;
    let mut left = limit;
    let mut lines = follow(log, |stamp, text| (stamp.parse::<Timestamp>().ok(), format!("{stamp} {text}")));
    while let Some(Followed::Line((at, line))) = lines.recv().await {
        // A stream that was opened again begins a little before its time.
        if at.is_some() && at <= last {
            continue;
        }
        last = at.or(last);
        let text = format!("{GREY}[service:{label}] {line}{RESET}\n");
        let Some(rest) = left.checked_sub(text.len() as u64) else { return };
        left = rest;
        if to.send(Aside { stream: STREAM_SERVICES, text }).await.is_err() {
            return;
        }
    }
}

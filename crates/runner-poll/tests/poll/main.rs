//! runner-poll as a process against a fake GitLab.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asks;
mod health;
mod metrics;
mod reloads;
mod renews;
mod state;
mod stops;
mod support;
mod takes;

use fake_gitlab::{FakeGitlab, Fault, JobSpec};

use crate::support::{Place, Poll, config};

const REQUEST: &str = "/api/v4/jobs/request";

async fn gitlab() -> FakeGitlab {
    FakeGitlab::start().await.unwrap()
}

fn one_runner(gitlab: &FakeGitlab, head: &str, lines: &str) -> Place {
    Place::new(&config(gitlab.url(), head, &[("k8s", gitlab.runner_token(), lines)]))
}

async fn enqueue(gitlab: &FakeGitlab, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(gitlab.enqueue(JobSpec::default()).await.unwrap());
    }
    ids
}

/// runner-poll with a job that is stored and that GitLab does not confirm.
async fn unconfirmed(gitlab: &FakeGitlab, place: &Place) -> (Poll, u64) {
    let id = enqueue(gitlab, 1).await[0];
    gitlab.inject(Fault::on("PUT", "/api/v4/jobs/*").delay_ms(600_000));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until(&place.jobs(), || place.folder(id, gitlab.url()).exists()).await;
    (poll, id)
}

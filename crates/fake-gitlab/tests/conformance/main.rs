//! The contract between GitLab and runners, line by line, against the running server.
//!
//! Each test is named by the line it proves; `tests/conformance/gitlab-server.txt` has all lines in a few
//! words, and `scripts/conformance` makes `docs/conformance.md` from both.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod wire;

mod artifacts;
mod common;
mod discovery;
mod downloads;
mod jobs_payload;
mod jobs_put;
mod jobs_request;
mod jobs_trace;
mod runners_delete;
mod runners_post;
mod runners_reset;
mod runners_verify;
mod workhorse;

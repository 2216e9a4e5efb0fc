//! runner-trace as a process, between a pipe and a GitLab on a real socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Hand-made producers and the process under test.
mod harness;

/// The keep-alive. It takes half a minute, so its name makes it start first.
mod alive;
/// What the server may answer.
mod answers;
/// Canceling, by word and by refusal.
mod cancels;
/// How the tool ends, and with which code.
mod endings;
/// kill -9 and a new start.
mod restarts;
/// Texts, limits, many jobs.
mod uploads;

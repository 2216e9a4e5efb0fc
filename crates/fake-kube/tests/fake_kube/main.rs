//! The server as its clients see it: kube-rs against real sockets, containers as real processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

mod collects;
mod control;
mod deletes;
mod faults;
mod kubectl;
mod logs;
mod pods;
mod program;
mod refuses;
mod serves;
mod volumes;
mod watches;

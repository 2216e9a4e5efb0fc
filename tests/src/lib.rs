//! What the whole-pipe tests share: a world of fakes, the real programs on real pipes, and a full report when a test fails.
//!
//! The programs are taken from the folder above the test's own executable, so `cargo build --workspace --bins` must have run;
//! `scripts/test` does that.

pub mod cluster;
pub mod counting;
mod pipe;
mod programs;
pub mod registry;
mod report;
pub mod trace;
mod world;

pub use cluster::Cluster;
pub use pipe::{Pipe, Tool};
pub use programs::{Finished, command, program, run_with_input};
pub use report::Report;
pub use world::{BUILD_IMAGE, PATIENCE, World, WorldBuilder, is_empty};

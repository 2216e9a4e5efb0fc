//! Delivers job logs and results to GitLab.

mod cancel;
mod cli;
mod error;
mod finish;
mod intake;
mod journal;
mod log;
mod pause;
mod render;
mod run;
mod shared;
mod upload;
mod writer;

use runner_cli::Threads;

fn main() -> std::process::ExitCode {
    runner_cli::run(run::TOOL, Threads::One, run::run)
}

//! `crash`: trials in which anything may die at any moment, and every job must still end with its true result and its whole log.
//!
//! A seed decides everything a trial does: which jobs, which faults, when. What is checked is in `check`, what a failing trial
//! leaves is its folder.

mod check;
mod cli;
mod faults;
mod processes;
mod schedule;
mod series;
mod shape;
mod supervisor;
mod trial;
mod wire;
mod world;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match series::run(&cli).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_violated) => ExitCode::from(1),
        Err(err) => {
            series::complain(&format!("crash: {err:#}"));
            ExitCode::from(74)
        }
    }
}

//! Registers runners with GitLab and keeps `config.toml`, without touching a byte of it that is not meant.

mod cli;
mod entry;
mod gitlab;
mod list;
mod listed;
mod plan;
mod questions;
mod register;
mod report;
mod reset;
mod settings;
mod terminal;
mod unregister;
mod verify;

use std::process::ExitCode;

use runner_cli::Threads;
use runner_cli::exit::Exit;
use runner_cli::signals::Signals;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    runner_cli::run("runner-register", Threads::One, run)
}

async fn run(args: Cli, signals: Signals) -> anyhow::Result<Exit> {
    tokio::select! {
        biased;
        () = signals.stop.cancelled() => Ok(signals.stopped()),
        done = command(args) => done,
    }
}

async fn command(args: Cli) -> anyhow::Result<Exit> {
    let path = args.config.path();
    match args.command {
        Command::Register(args) => register::register(*args, path).await,
        Command::Verify(args) => verify::verify(args, &path).await,
        Command::Unregister(args) => unregister::unregister(args, &path).await,
        Command::ResetToken(args) => reset::reset(args, &path).await,
        Command::List(args) => list::list(&args, &path),
    }
}

//! Asks GitLab for jobs and prints them, one line each.
//!
//! A job is durable in the state directory before it is accepted and printed, so that a killed runner-poll, executor or machine
//! loses none: the next start prints it again.

mod cli;
mod configuration;
mod handback;
mod labels;
mod metrics;
mod monitor;
mod poll;
mod renewal;
mod round;
mod slots;
mod source;
mod space;
mod take;
mod turn;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use runner_cli::Threads;
use runner_cli::exit::{Exit, Fail};
use runner_cli::signals::Signals;
use runner_cli::state::Leftover;
use runner_cli::stdout::Output;
use runner_cli::system_id;
use runner_cli::watch::Watcher;
use runner_core::event::Hello;
use runner_core::line;

use crate::cli::Cli;
use crate::configuration::Configuration;
use crate::poll::Poll;
use crate::take::Taker;

const TOOL: &str = "runner-poll";

fn main() -> ExitCode {
    runner_cli::run(TOOL, Threads::One, run)
}

async fn run(args: Cli, signals: Signals) -> anyhow::Result<Exit> {
    let watcher = Watcher::new().context("watching folders").exit(Exit::Io)?;
    let configuration = Configuration::load(args.config.path(), &watcher)?;
    let state = args.state.open(TOOL)?;
    state.sweep(Leftover::New).exit(Exit::Io)?;
    let system_id = system_id::load_or_create(&args.config.path(), state.jobs_path().parent());
    let jobs =
        watcher.watch(state.jobs_path()).with_context(|| state.jobs_path().display().to_string()).exit(Exit::Io)?;
    let output = Output::stdout()?;
    output.write(line::encode(&Hello::resumable(TOOL))).await.exit(Exit::NeighbourLost)?;
    let taker = Taker { state: Arc::new(state), output };
    let pages = monitor::listen(&configuration.listen_address).await;
    let mut poll = Poll::new(configuration, system_id, taker, pages, jobs, signals, args.once);
    poll.resume().await?;
    poll.run().await
}

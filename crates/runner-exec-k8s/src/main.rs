//! `runner-exec-k8s`: one job in, one pod, events out.
//!
//! Reads `job` lines, runs each in a Kubernetes pod of its own and prints what happens as `open`, `pod`, `log`, `stage` and
//! `close` lines. Never talks to GitLab. A restart continues every job where its journal ends.

mod acknowledge;
mod aside;
mod attend;
mod cli;
mod client;
mod control;
mod dry_run;
mod events;
mod execute;
mod files;
mod follow;
mod intake;
mod job;
mod objects;
mod own_namespace;
mod plain;
mod pod;
mod pod_events;
mod pull;
mod refuse;
mod replay;
mod retry;
mod run;
mod stage_limits;
mod status;
mod verdict;
mod watch;

use std::process::ExitCode;

use runner_cli::Threads;

fn main() -> ExitCode {
    runner_cli::run("runner-exec-k8s", Threads::Many, async |args: cli::Cli, signals| match args.dry_run {
        true => dry_run::print(args).await,
        false => run::run(args, signals).await,
    })
}

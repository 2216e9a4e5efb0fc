//! The program around the library: `fake-gitlab serve` and `fake-gitlab run`.

mod cli;
mod exit;
mod follow;
mod serve;
mod state_file;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command, Server};
use crate::exit::Exit;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Serve { server } => {
            log_to_stderr(server);
            serve::serve(server).await
        }
        Command::Run { server, run } => {
            log_to_stderr(server);
            let Some((project, _)) = server.projects.first() else {
                return usage("run needs a repository: --project GROUP/NAME=PATH");
            };
            serve::run(server, project, run).await
        }
    };
    let exit = result.unwrap_or_else(|error| {
        serve::complain(&error.to_string());
        Exit::of(&error)
    });
    exit.into()
}

/// Wrong usage that the parser cannot see, told as the parser tells it.
fn usage(problem: &str) -> ExitCode {
    let error = Cli::command().error(ErrorKind::MissingRequiredArgument, problem);
    // Without a stderr there is nobody to tell.
    let _ = error.print();
    ExitCode::from(2)
}

fn log_to_stderr(server: &Server) {
    let level = match server.verbose {
        true => tracing::Level::DEBUG,
        false => tracing::Level::WARN,
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false).init();
}

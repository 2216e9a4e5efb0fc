//! Runs one job inside its pod: `drive` in the helper container makes the log and knows the result, `serve` in the build container
//! runs the user's script and nothing else.

mod cli;
mod drive;
mod error;
mod install;
mod memory;
mod process;
mod serve;
mod shell;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::HelperError;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| error::bug(panic.location())));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(err) => {
            let _ = err.print(); // nowhere left to report a closed stderr
            return ExitCode::from(if err.use_stderr() { error::USAGE } else { 0 });
        }
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            error::report(&err);
            ExitCode::from(err.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<u8, HelperError> {
    match cli {
        Cli::Install { to } => install::install(&to).map(|()| 0),
        Cli::Serve(args) => {
            let door = serve::Door::new(&args.share)?; // before the runtime: it wants a low descriptor
            runtime()?.block_on(serve::serve(door))
        }
        Cli::Drive(args) => {
            let shell = shell::Shell::new(&args.spool).map_err(error::doing("open `/dev/null`"))?; // as above
            let runtime = runtime()?;
            let code = runtime.block_on(drive::drive(args, shell));
            runtime.shutdown_background(); // a blocked read or write must not hold up the exit
            code
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, HelperError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(error::doing("start the runtime"))
}

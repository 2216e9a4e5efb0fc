//! The frame of a tool: arguments common to all, logging, signals, stdin and stdout, exit codes, the state directory.
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     runner_cli::run("runner-poll", Threads::One, async |args: Cli, cx| poll(args, cx).await)
//! }
//! ```

pub mod args;
pub mod config;
pub mod exit;
mod logging;
pub mod signals;
pub mod state;
pub mod stdin;
pub mod stdout;
pub mod system_id;
pub mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Common;
use crate::exit::Exit;
use crate::signals::Signals;

/// How many threads the runtime of a tool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One: enough for a poller, and the log reads in order.
    One,
    /// As many as there are processors.
    Many,
}

/// Runs a tool: reads its arguments, sets up logging, TLS and signals, runs `body`, and turns what comes out into an exit code.
///
/// An error is printed as one line on stderr, `tool: what: why`; the code is the one given by [`exit::Fail`].
pub fn run<A, F>(tool: &'static str, threads: Threads, body: F) -> ExitCode
where
    A: Parser + AsRef<Common>,
    F: AsyncFnOnce(A, Signals) -> anyhow::Result<Exit>,
{
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(err) => {
            let _ = err.print(); // nowhere left to report a closed stderr
            return if err.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    logging::init(args.as_ref());
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = runtime(threads).map_err(anyhow::Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(async { body(args, Signals::listen()?).await });
        runtime.shutdown_background(); // a blocked file operation must not hold up the exit
        outcome
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(err) => {
            exit::report(tool, &err);
            Exit::of(&err).into()
        }
    }
}

fn runtime(threads: Threads) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

//! A Kubernetes API server and kubelet that is a program.

mod cli;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(std::io::stderr(), "fake-kube: {error:#}");
            ExitCode::from(74)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: cli::Cli) -> anyhow::Result<()> {
    let kubeconfig = cli.kubeconfig.clone();
    // Before anything is started: a signal must never find the default action.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (builder, image_faults) = cli.into_builder();
    let kube = builder.start().await?;
    image_faults.into_iter().for_each(|fault| kube.faults().add_image(fault));
    if let Some(path) = kubeconfig {
        kube.write_kubeconfig(path)?;
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", kube.url()).and_then(|()| stdout.flush()).context("write to stdout")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    drop(kube);
    Ok(())
}

//! The two commands: serve until told to stop, and serve until one pipeline has ended.

use std::io::Write;

use fake_gitlab::{Error, Event, FakeGitlab, JobStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{RunOptions, Server};
use crate::exit::Exit;
use crate::follow::Follower;
use crate::state_file;

/// `fake-gitlab serve`.
pub(crate) async fn serve(options: &Server) -> Result<Exit, Error> {
    let mut stop = Stop::listen()?;
    let gitlab = start(options).await?;
    tokio::select! {
        _ = stop.ordered() => {}
        failed = keep_state(&gitlab, options) => { failed?; }
    }
    write_state(&gitlab, options)?;
    gitlab.stop().await;
    Ok(Exit::Done)
}

/// `fake-gitlab run`.
pub(crate) async fn run(options: &Server, project: &str, run: &RunOptions) -> Result<Exit, Error> {
    let mut stop = Stop::listen()?;
    let gitlab = start(options).await?;
    let pipeline = gitlab.create_pipeline(project, Some(&run.reference), Vec::new()).await?;
    let mut follower = run.follow.then(|| Follower::new(&gitlab));
    let mut told = 0;
    let stopped_by = tokio::select! {
        _ = gitlab.wait_pipeline(pipeline) => None,
        name = stop.ordered() => Some(name),
        failed = keep_state(&gitlab, options) => return failed.map(|()| Exit::InputOutput),
        failed = follow(follower.as_mut()) => match failed? {},
        never = tell_changes(&gitlab, &mut told) => match never {},
    };
    for event in gitlab.events().iter().skip(told) {
        complain(&in_words(event));
    }
    if let Some(follower) = follower {
        follower.finish()?;
    }
    let status = gitlab.pipeline_status(pipeline);
    complain(&format!("pipeline {pipeline}: {}", status.as_str()));
    match stopped_by {
        Some(name) => complain(&format!("stopped by {name}")),
        None if run.keep => {
            tokio::select! {
                _ = stop.ordered() => {}
                failed = keep_state(&gitlab, options) => failed?,
            }
        }
        None => {}
    }
    write_state(&gitlab, options)?;
    gitlab.stop().await;
    Ok(match status {
        JobStatus::Success => Exit::Done,
        _ => Exit::NoSuccess,
    })
}

async fn follow(follower: Option<&mut Follower<'_>>) -> Result<std::convert::Infallible, Error> {
    match follower {
        Some(follower) => follower.follow().await,
        None => std::future::pending().await,
    }
}

async fn start(options: &Server) -> Result<FakeGitlab, Error> {
    let gitlab = options.builder().start().await?;
    let mut text = format!(
        "{}\nregistration-token: {}\nrunner-token: {}\nprivate-token: {}\n",
        gitlab.url(),
        gitlab.registration_token(),
        gitlab.runner_token(),
        gitlab.private_token(),
    );
    if let Some(path) = gitlab.certificate() {
        text.push_str(&format!("tls-certificate: {}\n", path.display()));
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|source| Error::File {
        action: "write",
        path: "stdout".into(),
        source,
    })?;
    Ok(gitlab)
}

/// The order to stop, listened for from the very start, so that none is missed or kills the
/// program before its files are removed.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Error> {
        let listen =
            |kind| signal(kind).map_err(|source| Error::File { action: "listen for", path: "signals".into(), source });
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for SIGTERM or SIGINT and gives its name.
    async fn ordered(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Keeps the state file, if there is to be one; ends only with an error.
async fn keep_state(gitlab: &FakeGitlab, options: &Server) -> Result<(), Error> {
    match &options.state {
        Some(path) => state_file::keep(gitlab, path).await,
        None => std::future::pending().await,
    }
}

fn write_state(gitlab: &FakeGitlab, options: &Server) -> Result<(), Error> {
    match &options.state {
        Some(path) => state_file::write(gitlab, path),
        None => Ok(()),
    }
}

/// Writes each change of a job's state to stderr; never ends.
async fn tell_changes(gitlab: &FakeGitlab, told: &mut usize) -> std::convert::Infallible {
    loop {
        let new = gitlab.wait_events(*told).await;
        *told += new.len();
        for event in &new {
            complain(&in_words(event));
        }
    }
}

fn in_words(event: &Event) -> String {
    let job = &event.job;
    let mut text = format!("job {} `{}`: {}", job.id, job.name, job.status.as_str());
    if let (true, Some(seconds)) = (job.status.is_finished(), job.duration) {
        text.push_str(&format!(" after {seconds:.1} s"));
    }
    if let Some(reason) = &job.failure_reason {
        text.push_str(&format!(", {reason}"));
        if let Some(code) = job.exit_code {
            text.push_str(&format!(", exit code {code}"));
        }
    }
    text
}

/// One line on stderr. That nobody reads it is no reason to stop.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "fake-gitlab: {text}");
}

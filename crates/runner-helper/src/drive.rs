//! The helper container's main process: waits for the job, runs its stages, says how it ended.

mod arrival;
mod artifacts;
mod build;
mod cache;
mod cache_key;
mod control;
mod course;
mod expand;
mod failure;
mod files;
mod git;
mod git_config;
mod handed_over;
mod hooks;
mod job;
mod limits;
mod lines;
mod local;
mod log;
mod pause;
mod policy;
mod printer;
mod readiness;
mod script;
mod secrets;
mod settings;
mod spool;
mod uploads;
mod watch;

use std::fs;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use runner_core::control::SECRET_CA_KEY;
use runner_core::event::State;
use runner_core::failure::FailureReason;
use runner_core::frame::Outcome;
use runner_core::job::Payload;
use runner_core::mask::{DEFAULT_PREFIXES, Masker};
use runner_core::text;
use rustix::fs::Mode;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as level;

use self::arrival::arrival;
use self::build::Build;
use self::control::Control;
use self::course::Course;
use self::failure::Failure;
use self::job::Job;
use self::limits::{Limits, Phase};
use self::local::Local;
use self::log::{Log, Stamps};
use self::watch::Watch;
use crate::cli::DriveArgs;
use crate::error::{HelperError, doing};
use crate::install::install;
use crate::process::{self, Reaper};
use crate::shell::Shell;
use crate::wire::PROGRAM;

/// How long the helper stays after the result when nobody says that it has been received.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15 * 60);

/// How long a helper that is told to go may still print.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs one job; returns the exit code.
pub(crate) async fn drive(args: DriveArgs, shell: Shell) -> Result<u8, HelperError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(doing("listen for SIGTERM"))?;
    // Fails only if a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let reaper = Reaper::start().map_err(doing("become the reaper of the container"))?;
    // Sources and artifacts are for the build container's user, whoever that is.
    let umask = rustix::process::umask(Mode::empty());
    let share = Watch::beside(&args.share.join(PROGRAM))?;
    install(&args.share.join(PROGRAM))?;
    let log = OnceLock::new();
    let code = tokio::select! {
        code = run(&args, shell, reaper, umask, share, &log) => code,
        // The pod is being deleted, the executor knows why. What runs here is killed, serve ends what runs there.
        _ = terminate.recv() => {
            if let Some(log) = log.get() {
                log.close();
                log.settle(LAST_WORDS);
            }
            Ok(128 + 15)
        }
    };
    process::signal_descendants(Signal::KILL, |_, _| true); // what hooks have left running
    code
}

async fn run(
    args: &DriveArgs,
    shell: Shell,
    reaper: Reaper,
    umask: Mode,
    share: Watch,
    known_log: &OnceLock<Log>,
) -> Result<u8, HelperError> {
    let control = control::follow(&args.annotations)?;
    let line = arrival(&args.job).await?;
    let payload = Payload::parse(&line.payload)?;
    let timeout = Duration::from_secs(payload.timeout_secs());
    let authorities = args.job.with_file_name(SECRET_CA_KEY);
    let authorities = match fs::read_to_string(&authorities) {
        Ok(pem) => pem,
        Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(doing(format!("read `{}`", authorities.display()))(err)),
    };
    let (job, log) = match Job::new(line, payload, authorities, args) {
        Ok(job) => {
            let log = open_log(args, &job);
            (Ok(job), log)
        }
        Err(err) => {
            let masker = Masker::new([""; 0], DEFAULT_PREFIXES);
            let log = Log::create(&args.spool, u64::from(u32::MAX), &masker, Stamps::On);
            (Err(Failure::new(err.to_string(), FailureReason::RunnerConfigurationError)), log)
        }
    };
    let log = log.map_err(doing("create the log's spool"))?;
    let log = known_log.get_or_init(|| log).clone();
    replays(&log, control.clone());
    // Not begun before the build container is there: where its image cannot be pulled, another pod may still run the job.
    let build =
        Build::connect(&args.share, share, log.clone()).await.map_err(doing("connect to the build container"))?;
    log.started();
    let mut job = match job {
        Ok(job) => job,
        Err(failure) => return finish(args, &log, control, Some(build), Err(failure)).await,
    };
    if job.keeps_umask() {
        rustix::process::umask(umask);
    }
    let limits = Limits::new(control.clone(), timeout, job.config.sources_timeout(timeout));
    let resolved = tokio::select! {
        resolved = secrets::resolve(&mut job, &log) => resolved,
        stop = limits.stop(Phase::Before) => Err(limits.failure(stop)),
    };
    if let Err(failure) = resolved {
        if job.payload.features.trace_sections {
            log.marker(&text::section_end(SystemTime::now(), "prepare_script")); // the executor has opened it
        }
        return finish(args, &log, control, Some(build), Err(failure)).await;
    }
    let local = Local::new(reaper, shell, log.clone());
    let (build, result) = Course::new(&job, log.clone(), limits, local, build).run(&args.via).await;
    finish(args, &log, control, build, result).await
}

fn open_log(args: &DriveArgs, job: &Job) -> io::Result<Log> {
    let stamps = if job.flags.is_on("FF_TIMESTAMPS") { Stamps::On } else { Stamps::Off };
    Log::create(&args.spool, job.config.log_limit(), &job.masker(), stamps)
}

/// Prints text again when the executor has lost some.
fn replays(log: &Log, mut control: level::Receiver<Control>) {
    let log = log.clone();
    tokio::spawn(async move {
        let mut done = None;
        while control.changed().await.is_ok() {
            let wanted = control.borrow_and_update().replay.clone();
            if let Some((offset, _)) = wanted.as_ref().filter(|_| wanted != done) {
                log.replay(*offset);
            }
            done = wanted;
        }
    });
}

/// Says how the job ended, and stays until that is certain to have been received.
async fn finish(
    args: &DriveArgs,
    log: &Log,
    mut control: level::Receiver<Control>,
    build: Option<Build>,
    result: Result<(), Failure>,
) -> Result<u8, HelperError> {
    let length = log.close();
    let outcome = match result {
        Ok(()) => Outcome {
            state: State::Success,
            exit_code: None,
            failure_reason: None,
            message: String::new(),
            length,
            container_lost: false,
        },
        Err(failure) => Outcome {
            state: State::Failed,
            exit_code: failure.exit_code,
            failure_reason: Some(failure.reason),
            message: failure.message,
            length,
            container_lost: failure.container_lost,
        },
    };
    let code = match (outcome.state, outcome.exit_code) {
        (State::Success, _) => 0,
        (State::Failed, code) => code.and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1),
    };
    let message = runner_core::line::encode(&outcome);
    log.result(outcome);
    if let Err(err) = fs::write(&args.termination_log, message) {
        // The frame says the same; a container without the file still has that.
        crate::error::report(&format_args!("write `{}`: {err}", args.termination_log.display()));
    }
    let acknowledged = async {
        if control.wait_for(|control| control.acknowledged >= length).await.is_err() {
            std::future::pending::<()>().await; // nobody can say it any more
        }
    };
    let farewell = async {
        if let Some(build) = build {
            build.bye().await;
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        biased;
        () = farewell => {}
        () = acknowledged => {}
        () = tokio::time::sleep(UNACKNOWLEDGED) => {}
    }
    Ok(code)
}

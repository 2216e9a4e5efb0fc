//! Many trials, some at once, and the table of what they did.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use futures::StreamExt;

use crate::cli::Cli;
use crate::schedule::Schedule;
use crate::trial::{self, Outcome};

/// Runs the trials; returns how many found a violation.
pub(crate) async fn run(cli: &Cli) -> anyhow::Result<usize> {
    let schedules = (cli.seed..cli.seed + cli.trials).map(|seed| Schedule::new(seed, cli.jobs));
    if cli.dry_run {
        schedules.for_each(|schedule| say(&told(&schedule)));
        return Ok(0);
    }
    let parent = cli.dir.clone().unwrap_or_else(std::env::temp_dir);
    let began = Instant::now();
    let mut table = Table::default();
    let mut trials = futures::stream::iter(schedules.map(|schedule| one(schedule, &parent, cli.keep)))
        .buffer_unordered(cli.parallel.max(1));
    while let Some(outcome) = trials.next().await {
        let outcome = outcome?;
        say(&line(&outcome));
        table.add(&outcome);
    }
    say(&format!("{}{} s", table.told(), began.elapsed().as_secs()));
    Ok(table.violated)
}

async fn one(schedule: Schedule, parent: &Path, keep: bool) -> anyhow::Result<Outcome> {
    let seed = schedule.seed;
    let folder = tempfile::Builder::new()
        .prefix(&format!("crash-{seed}-"))
        .tempdir_in(parent)
        .with_context(|| parent.display().to_string())?;
    std::fs::write(folder.path().join("schedule.txt"), told(&schedule))?;
    let outcome = trial::run(schedule, folder.path()).await.with_context(|| format!("seed {seed}"))?;
    if keep || !outcome.violations.is_empty() {
        let _ = folder.keep();
    }
    Ok(outcome)
}

/// What the schedule says.
fn told(schedule: &Schedule) -> String {
    let mut text = format!("seed {}\n", schedule.seed);
    for (number, job) in schedule.jobs.iter().enumerate() {
        text += &format!("  {}: {:?} at {} ms\n", trial::name_of(number), job.shape, job.at.as_millis());
    }
    for fault in &schedule.faults {
        text += &format!("  {fault}\n");
    }
    text
}

/// A line about a trial, and below it what it found.
fn line(outcome: &Outcome) -> String {
    let Outcome { schedule, violations, happened, runs, took, folder } = outcome;
    let happened = happened.iter().filter(|happened| **happened).count();
    let verdict = if violations.is_empty() { "ok" } else { "VIOLATION" };
    let (jobs, faults, seconds) = (schedule.jobs.len(), schedule.faults.len(), took.as_secs_f32());
    let mut text = format!(
        "seed {}: {verdict}, {jobs} jobs, {happened} of {faults} faults, the pipe started {runs} times, {seconds:.1} s",
        schedule.seed
    );
    if !violations.is_empty() {
        text += &format!("; see {}", folder.display());
    }
    for violation in violations {
        text += &format!("\n  {violation}");
    }
    text
}

/// Counts over all trials.
#[derive(Default)]
struct Table {
    trials: usize,
    violated: usize,
    restarts: usize,
    jobs: BTreeMap<&'static str, usize>,
    faults: BTreeMap<&'static str, usize>,
}

impl Table {
    fn add(&mut self, outcome: &Outcome) {
        self.trials += 1;
        self.violated += usize::from(!outcome.violations.is_empty());
        self.restarts += outcome.runs.saturating_sub(1);
        for job in &outcome.schedule.jobs {
            *self.jobs.entry(job.shape.name()).or_default() += 1;
        }
        let faults = outcome.schedule.faults.iter().zip(&outcome.happened).filter(|(_, happened)| **happened);
        for (fault, _) in faults {
            *self.faults.entry(fault.what.kind()).or_default() += 1;
        }
    }

    fn told(&self) -> String {
        let list = |counts: &BTreeMap<&str, usize>| {
            let all: usize = counts.values().sum();
            let parts: Vec<_> = counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
            format!("{all} ({})", parts.join(", "))
        };
        format!(
            "{} trials, {} with a violation; {} restarts of the pipe\njobs: {}\nfaults: {}\n",
            self.trials,
            self.violated,
            self.restarts,
            list(&self.jobs),
            list(&self.faults)
        )
    }
}

fn say(text: &str) {
    // A reader that went away does not end the trials.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Tells what went wrong with the program itself.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

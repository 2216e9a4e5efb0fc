//! `--dry-run`: the manifests of each job as a YAML stream, without asking any cluster.

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Secret;
use runner_cli::exit::{Exit, failure};
use runner_cli::stdin::{Ending, Lines};
use runner_cli::stdout::Output;
use serde::Serialize;

use crate::cli::Cli;
use crate::files::plan_pod;
use crate::intake::Intake;
use crate::job::Job;
use crate::pod::PullChoice;

/// What stands in place of a Secret's values.
const REDACTED: &str = "[redacted]";

/// Prints the manifests of every job that comes in.
pub(crate) async fn print(args: Cli) -> anyhow::Result<Exit> {
    let intake = Intake::new(&args);
    let mut lines = Lines::stdin().context("reading standard input")?;
    let output = Output::stdout().context("writing standard output")?;
    let mut exit = Exit::Done;
    while let Some(received) = lines.next().await {
        let number = received.number;
        let job = match received.line {
            Ok(line) => intake.job(line)?,
            Err(err) => Some(Err(err.to_string())),
        };
        let manifests = match job {
            None => continue,
            Some(job) => job
                .and_then(|line| Job::read(line, None, "dry-run".to_owned(), None))
                .and_then(|job| manifests(&args, &job)),
        };
        match manifests {
            Ok(yaml) => output.write(yaml.into_bytes()).await?,
            Err(err) => {
                tracing::error!("line {number}: {err}");
                exit = Exit::JobFailed;
            }
        }
    }
    if let Ending::Failed(why) = lines.ending() {
        return Err(failure(Exit::Io, anyhow!("reading standard input: {why}")));
    }
    output.flush().await?;
    Ok(exit)
}

fn manifests(args: &Cli, job: &Job) -> Result<String, String> {
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plan = plan_pod(job, 0, &PullChoice::default(), &host_name, &args.pods);
    let plan = plan.map_err(|refusal| format!("job {}: {}", job.key, refusal.message))?;
    let mut yaml = String::new();
    let secrets = plan.early_secrets.into_iter().chain(plan.secret_parts).chain([plan.secret]);
    for secret in secrets {
        document(&mut yaml, &if args.show_secrets { secret } else { redacted(secret) })?;
    }
    document(&mut yaml, &plan.pod)?;
    Ok(yaml)
}

fn document(yaml: &mut String, object: &impl Serialize) -> Result<(), String> {
    yaml.push_str("---\n");
    yaml.push_str(&serde_saphyr::to_string(object).map_err(|err| err.to_string())?);
    Ok(())
}

fn redacted(mut secret: Secret) -> Secret {
    let data = secret.data.take().unwrap_or_default();
    let mut shown = secret.string_data.take().unwrap_or_default();
    shown.extend(data.into_keys().map(|key| (key, String::new())));
    shown.values_mut().for_each(|value| *value = REDACTED.to_owned());
    secret.string_data = Some(shown);
    secret
}

//! Which jobs of a definition run, and as what.

use crate::plan::{AllowFailure, Environment, JobPlan, Variable, When};
use crate::variables::expand_known;

use super::conditions::Conditions;
use super::job::Job;
use super::keywords::{Parallel, Rule};
use super::{Failure, cache_key};

/// The names of a parallel job's parts; none for others.
pub(super) fn part_names(job: &Job) -> impl Iterator<Item = String> + '_ {
    parts(job).into_iter().filter(|(_, part, _)| part.is_some()).map(|(name, ..)| name)
}

type Part = (String, Option<(u64, u64)>, Vec<Variable>);

/// The parts a job runs in: name, number, variables.
fn parts(job: &Job) -> Vec<Part> {
    let name = &job.plan.name;
    match &job.parallel {
        None => vec![(name.clone(), None, Vec::new())],
        Some(Parallel::Parts(total)) => {
            (1..=*total).map(|index| (format!("{name} {index}/{total}"), Some((index, *total)), Vec::new())).collect()
        }
        Some(Parallel::Matrix(selections)) => {
            let total = selections.len() as u64;
            let part = |(index, selection): (u64, &super::keywords::Selection)| {
                let variables = selection.0.iter().map(|(key, value)| Variable::new(key, value)).collect();
                (selection.name(name), Some((index, total)), variables)
            };
            (1..).zip(selections).map(part).collect()
        }
    }
}

/// The plans of those parts of a job that run. `global` are the variables of the top level.
pub(super) fn plans(job: &Job, global: &[Variable], conditions: &Conditions<'_>) -> Result<Vec<JobPlan>, Failure> {
    let mut plans = Vec::new();
    for (name, part, chosen) in parts(job) {
        let inherits =
            |variable: &&Variable| job.inherits_variables.as_ref().is_none_or(|names| names.contains(&variable.key));
        let mut variables: Vec<Variable> = global.iter().filter(inherits).cloned().collect();
        variables.extend(job.own_variables.iter().cloned());
        variables.extend(chosen);
        let about = [Variable::new("CI_JOB_NAME", &name), Variable::new("CI_JOB_STAGE", &job.plan.stage)];
        let defined = [&about[..], &variables].concat();
        let Some(rule) = choose(job, conditions, &defined)? else { continue };
        let Some(when) = when(job, &rule) else { continue };
        variables.extend(rule.variables.iter().cloned());
        let known = conditions.known(&[&about[..], &variables].concat());
        let allow_failure = rule.allow_failure.clone().or_else(|| job.allow_failure.clone());
        plans.push(JobPlan {
            name,
            part,
            when,
            // A manual job does not block its pipeline unless it is told to, or rules made it one.
            allow_failure: allow_failure.unwrap_or(match when {
                When::Manual if job.rules.is_none() => AllowFailure::Always,
                _ => AllowFailure::Never,
            }),
            needs: rule.needs.clone().or_else(|| job.plan.needs.clone()),
            environment: job
                .plan
                .environment
                .clone()
                .map(|environment| Environment { name: expand_known(&environment.name, &known), ..environment }),
            resource_group: job.plan.resource_group.as_ref().map(|name| expand_known(name, &known)),
            interruptible: rule.interruptible.unwrap_or(job.plan.interruptible),
            variables,
            cache: cache_key::resolve(&job.plan.cache, conditions.sources, conditions.tree, &known)?,
            ..job.plan.clone()
        });
    }
    Ok(plans)
}

/// The rule a job runs by, an empty one where it has none; nothing if it does not run.
fn choose(job: &Job, conditions: &Conditions<'_>, defined: &[Variable]) -> Result<Option<Rule>, Failure> {
    let known = conditions.known(defined);
    if let Some(rules) = &job.rules {
        let found = conditions.first(rules, &known).map_err(|failure| failure.of_rules(&job.plan.name))?;
        return Ok(found.cloned());
    }
    let runs = match (&job.only, &job.except) {
        // Only without rules of the workflow do jobs stay out of pipelines of merge requests.
        (None, None) => !conditions.kind.is_merge_request || conditions.has_workflow_rules,
        (only, except) => {
            let is_wanted = match only {
                Some(policy) => conditions.is_wanted(policy, &known)?,
                None => !conditions.kind.is_merge_request,
            };
            is_wanted && !except.as_ref().map_or(Ok(false), |policy| conditions.is_unwanted(policy, &known))?
        }
    };
    Ok(runs.then(Rule::default))
}

/// None for a job that never runs.
fn when(job: &Job, rule: &Rule) -> Option<When> {
    let start_in = rule.start_in.or(job.start_in).unwrap_or(0);
    match rule.when.unwrap_or(job.when) {
        "on_failure" => Some(When::OnFailure),
        "always" => Some(When::Always),
        "manual" => Some(When::Manual),
        "delayed" => Some(When::Delayed(start_in)),
        "never" => None,
        _ => Some(When::OnSuccess),
    }
}

//! Checks across jobs: what `needs` and `dependencies` name must be there and come first.

use std::collections::BTreeSet;

use crate::plan::{JobPlan, Need};

use super::job::Job;
use super::select::part_names;

/// Most needs of a job.
const NEED_LIMIT: usize = 50;

/// Checks the jobs as they are defined, whether they run or not.
pub(super) fn check(jobs: &[Job]) -> Result<(), String> {
    for job in jobs {
        let rule_needs = job.rules.iter().flatten().filter_map(|rule| rule.needs.as_ref()).flatten();
        let needs: Vec<&Need> = job.plan.needs.iter().flatten().collect();
        let name = &job.plan.name;
        if needs.len() > NEED_LIMIT {
            return Err(format!("{name} job: {} needs, but a job can only need {NEED_LIMIT} others", needs.len()));
        }
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<&str> =
            needs.iter().map(|need| need.job.as_str()).filter(|need| !seen.insert(*need)).collect();
        if !twice.is_empty() {
            let twice: Vec<&str> = twice.into_iter().collect();
            return Err(format!("{name} has the following needs duplicated: {}.", twice.join(", ")));
        }
        for dependency in job.plan.dependencies.iter().flatten() {
            check_named(jobs, job, dependency, "dependency")?;
            let is_needed = |need: &&Need| need.job == *dependency || starts_part(&need.job, dependency);
            if job.plan.needs.is_some() && !needs.iter().any(is_needed) {
                return Err(format!("jobs:{name} dependencies the {dependency} should be part of needs"));
            }
        }
        for need in needs.into_iter().chain(rule_needs).filter(|need| !need.optional) {
            check_named(jobs, job, &need.job, "need")?;
        }
    }
    check_circles(jobs)
}

fn starts_part(part: &str, job: &str) -> bool {
    part.strip_prefix(job).is_some_and(|rest| rest.starts_with(": [") || rest.starts_with(' '))
}

fn check_named(jobs: &[Job], job: &Job, named: &str, what: &str) -> Result<(), String> {
    let name = &job.plan.name;
    let Some(other) = jobs.iter().find(|other| other.plan.name == named || part_names(other).any(|part| part == named))
    else {
        return Err(format!("{name} job: undefined {what}: {named}"));
    };
    if other.plan.stage_index > job.plan.stage_index {
        return Err(format!("{name} job: {what} {named} is not defined in current or prior stages"));
    }
    Ok(())
}

/// Takes away, again and again, the jobs that need nothing that is left; a circle stays.
fn check_circles(jobs: &[Job]) -> Result<(), String> {
    let mut left: Vec<&Job> = jobs.iter().collect();
    loop {
        let names: BTreeSet<String> =
            left.iter().flat_map(|job| part_names(job).chain([job.plan.name.clone()]).collect::<Vec<_>>()).collect();
        let count = left.len();
        left.retain(|job| job.plan.needs.iter().flatten().any(|need| names.contains(&need.job)));
        match left.first() {
            None => return Ok(()),
            Some(first) if left.len() == count => {
                let needs_itself = first.plan.needs.iter().flatten().any(|need| need.job == first.plan.name);
                let what = if needs_itself { "self-dependency" } else { "circular dependency" };
                return Err(format!("The pipeline has circular dependencies: {what}: {}", first.plan.name));
            }
            Some(_) => {}
        }
    }
}

/// Needs of the jobs that run: those of a whole parallel job become those of its parts, optional
/// ones of absent jobs go.
pub(super) fn settle(plans: &mut [JobPlan]) -> Result<(), String> {
    let names: Vec<(String, String)> = plans.iter().map(|plan| (plan.name.clone(), plan.group.clone())).collect();
    for plan in plans {
        let Some(needs) = plan.needs.take() else { continue };
        let mut settled: Vec<Need> = Vec::new();
        for need in needs {
            let parts: Vec<&String> = names
                .iter()
                .filter(|(name, group)| *name == need.job || *group == need.job)
                .map(|(name, _)| name)
                .collect();
            if parts.is_empty() && !need.optional {
                return Err(format!(
                    "'{}' job needs '{}' job, but '{}' does not exist in the pipeline. This might be because of the \
                     only, except, or rules keywords. To need a job that sometimes does not exist in the pipeline, \
                     use needs:optional.",
                    plan.name, need.job, need.job
                ));
            }
            settled.extend(parts.into_iter().map(|part| Need { job: part.clone(), ..need.clone() }));
        }
        plan.needs = Some(settled);
    }
    Ok(())
}

//! Checks across jobs: what `needs` and `dependencies` name must be there and come first.

use std::collections::BTreeSet;

use crate::plan::JobPlan;

use super::Problem;

/// Gives the plans back, optional needs of absent jobs taken out.
pub(super) fn check(mut plans: Vec<JobPlan>) -> Result<Vec<JobPlan>, Problem> {
    if plans.is_empty() {
        return Err(Problem::at(0, "has no job that would run"));
    }
    let names: BTreeSet<String> = plans.iter().map(|plan| plan.name.clone()).collect();
    for plan in &mut plans {
        if let Some(needs) = &mut plan.needs {
            needs.retain(|need| !need.optional || names.contains(&need.job));
        }
    }
    for plan in &plans {
        for (keyword, name) in named(plan) {
            let problem = match plans.iter().find(|other| other.name == name) {
                None => "does not exist",
                Some(other) if keyword == "needs" && other.stage_index > plan.stage_index => "is in a later stage",
                Some(other) if keyword == "dependencies" && !comes_before(other, plan) => "does not come before it",
                Some(_) => continue,
            };
            return Err(Problem::at(
                0,
                format!("job `{}`: keyword `{keyword}` names `{name}`, which {problem}", plan.name),
            ));
        }
    }
    check_circles(&plans)?;
    Ok(plans)
}

/// All jobs a job names, with the keyword that names them.
fn named(plan: &JobPlan) -> impl Iterator<Item = (&'static str, &str)> {
    let needs = plan.needs.iter().flatten().map(|need| ("needs", need.job.as_str()));
    let dependencies = plan.dependencies.iter().flatten().map(|name| ("dependencies", name.as_str()));
    needs.chain(dependencies)
}

fn comes_before(other: &JobPlan, plan: &JobPlan) -> bool {
    match &plan.needs {
        Some(needs) => needs.iter().any(|need| need.job == other.name),
        None => other.stage_index < plan.stage_index,
    }
}

/// Takes away, again and again, the jobs that need nothing that is left; a circle stays.
fn check_circles(plans: &[JobPlan]) -> Result<(), Problem> {
    let mut left: Vec<&JobPlan> = plans.iter().collect();
    loop {
        let names: BTreeSet<&str> = left.iter().map(|plan| plan.name.as_str()).collect();
        let count = left.len();
        left.retain(|plan| plan.needs.iter().flatten().any(|need| names.contains(need.job.as_str())));
        match left.first() {
            None => return Ok(()),
            Some(first) if left.len() == count => {
                return Err(Problem::at(
                    0,
                    format!("job `{}`: keyword `needs` leads back to the job itself", first.name),
                ));
            }
            Some(_) => {}
        }
    }
}

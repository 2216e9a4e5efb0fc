//! The scripts around `get_sources`, run in the helper's container.

use std::collections::BTreeMap;

use super::failure::{Failure, check};
use super::job::Job;
use super::local::Local;
use super::script::{Place, Script, shells};
use crate::wire::Run;

/// Which hooks around the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hooks {
    /// Before them, where the helper's shell starts.
    Pre,
    /// After them, in the checkout.
    Post,
}

/// Runs the runner's hook outside and the job's inside, in the helper's container.
pub(crate) async fn run_hooks(
    job: &Job,
    local: &mut Local,
    env: &BTreeMap<String, String>,
    which: Hooks,
) -> Result<(), Failure> {
    let (name, of_runner) = match which {
        Hooks::Pre => ("pre_get_sources_script", job.config.pre_get_sources_script.as_deref()),
        Hooks::Post => ("post_get_sources_script", job.config.post_get_sources_script.as_deref()),
    };
    let of_job = job.payload.hooks.iter().filter(|hook| hook.name == name);
    let of_job: Vec<&str> = of_job.flat_map(|hook| &hook.script).map(String::as_str).collect();
    let mut lists = vec![of_runner.into_iter().collect(), of_job];
    if which == Hooks::Post {
        lists.reverse();
    }
    for commands in lists.into_iter().filter(|commands: &Vec<&str>| !commands.is_empty()) {
        let place = if which == Hooks::Pre { Place::Anywhere } else { Place::Project };
        let mut script = Script::new(job, env.clone(), place);
        script.commands(name, commands);
        let (script, env) = script.finish();
        let run = Run { name: "get_sources".to_owned(), shells: shells(job.config.shell.as_deref()), script, env };
        let end = local.script(run).await;
        check(end.map_err(|err| Failure::system(format!("start `{name}`: {err}")))?)?;
    }
    Ok(())
}

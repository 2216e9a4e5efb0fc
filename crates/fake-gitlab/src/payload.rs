//! The answer to a job request, member by member (GitLab runner API: job payload).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use url::Url;

use crate::job::Job;
use crate::plan::Variable;
use crate::progress::latest_jobs;
use crate::project::{Pipeline, Project};
use crate::runner::{Runner, RunnerType};
use crate::shared::Shared;
use crate::state::World;
use crate::variables::{Scope, expand, predefined, slug};

/// The failure reasons a runner may report; any other becomes `unknown_failure`.
pub(crate) const FAILURE_REASONS: &[&str] = &[
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "missing_dependency_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "forward_deployment_failure",
    "user_blocked",
    "project_deleted",
    "ci_quota_exceeded",
    "pipeline_loop_detected",
    "no_matching_runner",
    "trace_size_exceeded",
    "builds_disabled",
    "environment_creation_failure",
    "deployment_rejected",
    "failed_outdated_deployment_job",
    "job_execution_server_timeout",
    "stuck_pending_with_matching_runners",
    "stuck_pending_no_matching_runners",
    "no_updates_running",
    "no_updates_canceling",
    "server_timeout_running",
    "server_timeout_canceling",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
    "job_router_failure",
    "job_token_expired",
];

/// The payload of `job`, which `runner` just took.
pub(crate) fn build(shared: &Shared, world: &World, job: &Job, runner: &Runner) -> Option<Value> {
    if world.settings.git_down {
        return None;
    }
    let project = world.projects.get(&job.project)?;
    let pipeline = world.pipelines.get(&job.pipeline)?;
    let repository_url = repository_url(shared.external_url(), project, &job.token);
    let scope =
        Scope { external_url: shared.external_url(), project, pipeline, job, runner, repository_url: &repository_url };
    let needed = dependencies(world, job);
    let mut variables = predefined(&scope);
    if let Some(registry) = &world.settings.registry {
        variables.extend(of_registry(registry, project, &job.token));
    }
    if project.mirror.is_none() {
        variables.push(Variable::new("GIT_STRATEGY", "none"));
    }
    variables.extend(job.plan.variables.iter().cloned());
    variables.extend(of_environment(job));
    for (key, value) in needed.iter().flat_map(|job| &job.dotenv) {
        variables.push(Variable::new(key, value).raw().private());
    }
    let environment = job.plan.environment.as_ref().map(|environment| environment.name.as_str());
    variables.extend(project.variables_for(pipeline.is_protected, environment));
    variables.extend(pipeline.variables.iter().cloned());
    let variables = expand(variables);

    let timeout = timeout(job, project, runner);
    let mut payload = json!({
        "id": job.id,
        "token": job.token,
        "allow_git_fetch": true,
        "job_info": job_info(world, job, project, runner),
        "git_info": git_info(pipeline, &repository_url, depth(&variables).unwrap_or(project.default_git_depth)),
        "runner_info": { "timeout": timeout, "runner_session_url": job.session_url },
        "inputs": job.plan.inputs,
        "variables": variables.iter().map(Variable::to_payload).collect::<Vec<_>>(),
        "steps": steps(job, timeout),
        "hooks": job.plan.hooks.iter().map(|(name, lines)| json!({ "name": name, "script": lines })).collect::<Vec<_>>(),
        "image": job.plan.image,
        "services": job.plan.services,
        "artifacts": if job.plan.artifacts.is_empty() { Value::Null } else { json!(job.plan.artifacts) },
        "cache": job.plan.cache.iter().map(|entry| cache(entry, project, pipeline)).collect::<Vec<_>>(),
        "credentials": credentials(shared, world, job),
        "dependencies": needed.iter().map(|needed| dependency(world, needed, job)).collect::<Vec<_>>(),
        "features": {
            "trace_sections": true,
            "token_mask_prefixes": ["glpat-"],
            "failure_reasons": FAILURE_REASONS,
        },
    });
    if !job.plan.run.is_null() {
        payload["run"] = json!(job.plan.run.to_string());
        payload["steps"] = Value::Null;
    }
    if world.settings.licensed {
        payload["secrets"] = json!(job.plan.secrets);
    }
    merge(&mut payload, &job.plan.overlay);
    Some(payload)
}

/// `http://gitlab-ci-token:TOKEN@host/group/name.git`.
fn repository_url(external_url: &str, project: &Project, token: &str) -> String {
    let plain = format!("{external_url}/{}.git", project.path);
    let Ok(mut url) = Url::parse(&plain) else { return plain };
    match (url.set_username("gitlab-ci-token"), url.set_password(Some(token))) {
        (Ok(()), Ok(())) => url.into(),
        _ => plain,
    }
}

/// The smallest of job or project timeout and the runner's limit, in seconds.
fn timeout(job: &Job, project: &Project, runner: &Runner) -> u64 {
    let wanted = job.plan.timeout.unwrap_or(project.timeout);
    runner.spec.maximum_timeout.map_or(wanted, |limit| limit.min(wanted))
}

/// `GIT_DEPTH` as the job sees it.
fn depth(variables: &[Variable]) -> Option<u64> {
    variables.iter().rfind(|variable| variable.key == "GIT_DEPTH")?.value.parse().ok()
}

/// The variables that let a job use the registry.
fn of_registry(registry: &str, project: &Project, token: &str) -> [Variable; 4] {
    [
        Variable::new("CI_REGISTRY", registry),
        Variable::new("CI_REGISTRY_IMAGE", format!("{registry}/{}", project.path)),
        Variable::new("CI_REGISTRY_USER", "gitlab-ci-token"),
        Variable::new("CI_REGISTRY_PASSWORD", token).masked(),
    ]
}

/// Where the job deploys to.
fn of_environment(job: &Job) -> Vec<Variable> {
    let Some(environment) = &job.plan.environment else { return Vec::new() };
    let name = environment.name.as_str();
    let tier = environment.tier.unwrap_or_else(|| tier_of(name));
    let mut variables = vec![
        Variable::new("CI_ENVIRONMENT_SLUG", slug(name)),
        Variable::new("CI_ENVIRONMENT_NAME", name),
        Variable::new("CI_ENVIRONMENT_ACTION", environment.action),
        Variable::new("CI_ENVIRONMENT_TIER", tier),
    ];
    variables.extend(environment.url.as_ref().map(|url| Variable::new("CI_ENVIRONMENT_URL", url)));
    variables
}

/// What GitLab takes an environment of such a name for.
fn tier_of(name: &str) -> &'static str {
    const WORDS: [(&str, &[&str]); 4] = [
        ("development", &["dev", "review", "trunk"]),
        ("testing", &["test", "tst", "int", "acceptance", "accept", "acpt", "qa", "qc", "control", "quality"]),
        ("staging", &["stg", "stag", "mdl", "model", "pre", "demo", "non"]),
        ("production", &["prod", "prd", "live"]),
    ];
    let name = name.to_ascii_lowercase();
    let found = WORDS.iter().find(|(_, words)| words.iter().any(|word| name.contains(word)));
    found.map_or("other", |(tier, _)| tier)
}

/// What the runner logs in with to pull images: the registry and the dependency proxy.
fn credentials(shared: &Shared, world: &World, job: &Job) -> Vec<Value> {
    let proxy = Url::parse(shared.external_url()).ok().and_then(|url| {
        let port = url.port_or_known_default()?;
        Some(format!("{}:{port}", url.host_str()?))
    });
    let addresses = [world.settings.registry.clone(), proxy.filter(|_| world.settings.dependency_proxy)];
    let entry = |url| json!({ "type": "registry", "url": url, "username": "gitlab-ci-token", "password": job.token });
    addresses.into_iter().flatten().map(entry).collect()
}

/// How many jobs of a project run on instance runners; from a limit on only that there are more.
fn running_on_instance_runners(world: &World, job: &Job) -> String {
    let is_on_instance_runner = |other: &&Job| {
        let runner = other.runner.as_ref().and_then(|(runner, _)| world.runners.get(runner));
        runner.is_some_and(|runner| runner.spec.kind == RunnerType::InstanceType)
    };
    let others = world.jobs.values().filter(|other| other.id != job.id && other.project == job.project);
    let running = others.filter(|other| other.status.is_executing()).filter(is_on_instance_runner).count() as u64;
    match world.settings.running_jobs_bucket {
        limit if running >= limit => format!("{limit}+"),
        _ => running.to_string(),
    }
}

fn job_info(world: &World, job: &Job, project: &Project, runner: &Runner) -> Value {
    let queued = job.queued_at.and_then(|at| world.now().duration_since(at).ok()).map_or(0, |age| age.as_secs());
    json!({
        "id": job.id,
        "name": job.plan.name,
        "stage": job.plan.stage,
        "pipeline_id": job.pipeline,
        "project_id": project.id,
        "project_name": project.name(),
        "project_full_path": project.path,
        "namespace_id": project.namespace_id,
        "root_namespace_id": project.root_namespace_id,
        "organization_id": 1,
        "instance_id": "",
        "instance_uuid": "",
        "user_id": 1,
        "scoped_user_id": null,
        "time_in_queue_seconds": queued,
        "project_jobs_running_on_instance_runners_count":
            match runner.spec.kind {
                RunnerType::InstanceType => running_on_instance_runners(world, job),
                _ => "+Inf".to_owned(),
            },
        "queue_size": world.jobs.values().filter(|job| job.status == crate::JobStatus::Pending).count(),
        "queue_depth": 1,
    })
}

fn git_info(pipeline: &Pipeline, repository_url: &str, depth: u64) -> Value {
    let own = format!("+refs/pipelines/{0}:refs/pipelines/{0}", pipeline.id);
    let name = &pipeline.ref_name;
    let refspecs = match (depth, pipeline.is_tag) {
        (1.., _) if pipeline.merge_request.is_some() => vec![own],
        (0, _) => vec![own, "+refs/heads/*:refs/remotes/origin/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()],
        (_, true) => vec![own, format!("+refs/tags/{name}:refs/tags/{name}")],
        (_, false) => vec![own, format!("+refs/heads/{name}:refs/remotes/origin/{name}")],
    };
    json!({
        "repo_url": repository_url,
        "repo_object_format": if pipeline.commit.sha.len() == 64 { "sha256" } else { "sha1" },
        "ref": name,
        "sha": pipeline.commit.sha,
        "before_sha": "0".repeat(40),
        "ref_type": if pipeline.is_tag { "tag" } else { "branch" },
        "refspecs": refspecs,
        "depth": depth,
        "protected": pipeline.is_protected,
    })
}

fn steps(job: &Job, timeout: u64) -> Value {
    let mut steps = vec![json!({
        "name": "script",
        "script": job.plan.script,
        "timeout": timeout,
        "when": "on_success",
        "allow_failure": false,
    })];
    if !job.plan.release.is_empty() {
        steps.push(json!({
            "name": "release",
            "script": job.plan.release,
            "timeout": timeout,
            "when": "on_success",
            "allow_failure": false,
        }));
    }
    if !job.plan.after_script.is_empty() {
        steps.push(json!({
            "name": "after_script",
            "script": job.plan.after_script,
            "timeout": timeout,
            "when": "always",
            "allow_failure": true,
        }));
    }
    Value::Array(steps)
}

/// A cache entry with the suffix that keeps protected and other branches apart.
fn cache(entry: &Value, project: &Project, pipeline: &Pipeline) -> Value {
    let mut entry = entry.clone();
    let unprotect = entry.as_object_mut().and_then(|members| members.remove("unprotect"));
    let index = match project.cache_index {
        0 => String::new(),
        index => format!("-{index}"),
    };
    let apart = match pipeline.is_protected && unprotect != Some(Value::Bool(true)) {
        _ if !project.separated_caches => "",
        true => "-protected",
        false => "-non_protected",
    };
    let suffix = format!("{index}{apart}");
    let add_suffix = |key: &mut Value| {
        if let Some(text) = key.as_str() {
            *key = json!(format!("{text}{suffix}"));
        }
    };
    add_suffix(&mut entry["key"]);
    if let Some(keys) = entry["fallback_keys"].as_array_mut() {
        keys.iter_mut().for_each(add_suffix);
    }
    entry
}

/// The finished jobs whose artifacts and dotenv variables a job gets, in the order they were made.
pub(crate) fn dependencies<'a>(world: &'a World, job: &Job) -> Vec<&'a Job> {
    let plan = &job.plan;
    let needed: Option<BTreeSet<&str>> = plan
        .needs
        .as_ref()
        .map(|needs| needs.iter().filter(|need| need.artifacts).map(|need| need.job.as_str()).collect());
    latest_jobs(world, job.pipeline)
        .into_iter()
        .filter(|other| match &needed {
            Some(names) => names.contains(other.plan.name.as_str()),
            None => other.plan.stage_index < plan.stage_index,
        })
        .filter(|other| plan.dependencies.as_ref().is_none_or(|names| names.contains(&other.plan.name)))
        .chain(plan.cross_dependencies.iter().filter_map(|id| world.jobs.get(id)))
        .filter(|other| other.started_at.is_some() && other.status.is_finished())
        .collect()
}

fn dependency(world: &World, needed: &Job, running: &Job) -> Value {
    let mut entry = json!({
        "id": needed.id,
        "name": needed.plan.name,
        "token": running.token,
    });
    if let Some(archive) = needed.archive(world.now()) {
        entry["artifacts_file"] = json!({ "filename": archive.filename, "size": archive.size });
    }
    entry
}

/// Lays `overlay` over `base`: objects member by member, `variables` by appending, anything else
/// by replacing.
fn merge(base: &mut Value, overlay: &Value) {
    let (Value::Object(base), Value::Object(overlay)) = (base, overlay) else { return };
    merge_members(base, overlay);
}

fn merge_members(base: &mut Map<String, Value>, overlay: &Map<String, Value>) {
    for (key, value) in overlay {
        match (base.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_members(old, new),
            (Some(Value::Array(old)), Value::Array(new)) if key == "variables" => {
                old.extend(new.iter().cloned());
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

//! New runners: by registration token, or made by a user (GitLab runner API: `POST /runners` and
//! `POST /user/runners`).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::runner::{RunnerSpec, RunnerType};
use crate::server::Peer;
use crate::shared::Shared;
use crate::state::World;

use super::runners::address;
use super::user::Writer;

/// `POST /runners` with a registration token.
pub(crate) async fn register(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let token = params.required("token")?;
    let mut spec = read_spec(&params)?;
    shared.write(|world| {
        (spec.kind, spec.owner) =
            registrar(world, &token).ok_or_else(|| ApiError::forbidden_because("invalid token supplied"))?;
        check_allowed(world, spec.kind)?;
        check_limit(world, &spec)?;
        let info = params.value("info");
        let id = add(world, spec, false)?;
        let runner = world.runners.get_mut(&id).ok_or_else(|| ApiError::not_found("Runner"))?;
        runner.name = info.and_then(|info| info["name"].as_str()).map(str::to_owned);
        runner.ip_address = Some(address(&headers, peer));
        Ok((StatusCode::CREATED, Json(runner.credentials())).into_response())
    })
}

/// Whose registration token it is: the instance's, a project's or a group's.
fn registrar(world: &World, token: &str) -> Option<(RunnerType, Option<String>)> {
    if token == world.registration_token {
        return Some((RunnerType::InstanceType, None));
    }
    let project = world.projects.values().find(|project| project.runners_token == token);
    let group = world.groups.values().find(|group| group.runners_token == token);
    let by_project = project.map(|project| (RunnerType::ProjectType, Some(project.path.clone())));
    by_project.or_else(|| group.map(|group| (RunnerType::GroupType, Some(group.path.clone()))))
}

fn check_allowed(world: &World, kind: RunnerType) -> Result<(), ApiError> {
    let settings = &world.settings;
    let is_valid = |name: &str| settings.valid_runner_registrars.iter().any(|registrar| registrar == name);
    let allowed = match kind {
        RunnerType::InstanceType => true,
        RunnerType::GroupType => is_valid("group"),
        RunnerType::ProjectType => is_valid("project"),
    };
    match allowed && settings.allow_runner_registration_token {
        true => Ok(()),
        false => Err(ApiError::message(StatusCode::GONE, "410 Gone - runner registration disallowed")),
    }
}

/// Refuses one runner too many for a project or group; those long silent do not count.
fn check_limit(world: &World, spec: &RunnerSpec) -> Result<(), ApiError> {
    let (key, what, limit) = match spec.kind {
        RunnerType::InstanceType => return Ok(()),
        RunnerType::ProjectType => ("runner_projects.base", "project", world.settings.project_runner_limit),
        RunnerType::GroupType => ("runner_namespaces.base", "group", world.settings.group_runner_limit),
    };
    let now = world.now();
    let same = world.runners.values().filter(|runner| runner.spec.kind == spec.kind && runner.spec.owner == spec.owner);
    let count = same.filter(|runner| runner.is_recent(now)).count() as u64;
    match limit {
        Some(limit) if count >= limit => {
            let problem = format!("Maximum number of ci registered {what} runners ({limit}) exceeded");
            Err(ApiError::message(StatusCode::BAD_REQUEST, json!({ key: [problem] })))
        }
        _ => Ok(()),
    }
}

/// `POST /user/runners` with a user's token.
pub(crate) async fn create(_: Writer, State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, ApiError> {
    let mut spec = read_spec(&params)?;
    let kind = params.required("runner_type")?;
    spec.kind = serde_json::from_value(Value::String(kind))
        .map_err(|_| ApiError::parameter("runner_type does not have a valid value"))?;
    let number = |name: &str| {
        let number = params.integer(name)?.ok_or_else(|| ApiError::missing(name))?;
        Ok(u64::try_from(number).unwrap_or_default())
    };
    let (project, group) = match spec.kind {
        RunnerType::InstanceType => (None, None),
        RunnerType::ProjectType => (Some(number("project_id")?), None),
        RunnerType::GroupType => (None, Some(number("group_id")?)),
    };
    shared.write(|world| {
        if let Some(id) = project {
            spec.owner = world.projects.get(&id).map(|project| project.path.clone());
            spec.owner.as_ref().ok_or_else(|| ApiError::not_found("Project"))?;
        }
        if let Some(id) = group {
            spec.owner = world.groups.get(&id).map(|group| group.path.clone());
            spec.owner.as_ref().ok_or_else(|| ApiError::not_found("Group"))?;
        }
        let id = add(world, spec, true)?;
        let runner = world.runners.get(&id).ok_or_else(|| ApiError::not_found("Runner"))?;
        Ok((StatusCode::CREATED, Json(runner.credentials())).into_response())
    })
}

fn add(world: &mut World, spec: RunnerSpec, created_by_user: bool) -> Result<u64, ApiError> {
    if let Some(problems) = spec.problems() {
        return Err(ApiError::message(StatusCode::BAD_REQUEST, problems));
    }
    world.add_runner(spec, created_by_user, None).map(|runner| runner.id).map_err(ApiError::internal)
}

/// The runner that parameters describe.
pub(super) fn read_spec(params: &Params) -> Result<RunnerSpec, ApiError> {
    let exclusive = |first: &str, second: &str| {
        if params.value(first).is_some() && params.value(second).is_some() {
            return Err(ApiError::parameter(format!("{first}, {second} are mutually exclusive")));
        }
        Ok(())
    };
    exclusive("paused", "active")?;
    exclusive("maintenance_note", "maintainer_note")?;
    let protected_only = match params.text("access_level").as_deref() {
        None | Some("" | "not_protected") => false,
        Some("ref_protected") => true,
        Some(_) => {
            return Err(ApiError::parameter("access_level does not have a valid value"));
        }
    };
    let maximum_timeout = match params.integer("maximum_timeout")? {
        None => None,
        Some(seconds) => Some(u64::try_from(seconds).map_err(|_| ApiError::parameter("maximum_timeout is invalid"))?),
    };
    Ok(RunnerSpec {
        description: params.text("description").unwrap_or_default(),
        tags: params.list("tag_list").unwrap_or_default(),
        run_untagged: params.flag("run_untagged")?.unwrap_or(true),
        paused: match params.flag("paused")? {
            Some(paused) => paused,
            None => !params.flag("active")?.unwrap_or(true),
        },
        locked: params.flag("locked")?.unwrap_or(false),
        protected_only,
        maximum_timeout,
        maintenance_note: params.text("maintenance_note").or_else(|| params.text("maintainer_note")),
        kind: RunnerType::InstanceType,
        owner: None,
    })
}

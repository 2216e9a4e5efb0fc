//! Registration, verification, removal and token reset of runners (GitLab runner API: `/runners`).

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::runner::{Manager, Runner, RunnerSpec, RunnerType};
use crate::server::Peer;
use crate::shared::Shared;
use crate::state::World;
use crate::token;

use super::user::User;
use super::user_runners;

type Reply = Result<Response, ApiError>;

/// `POST /runners` with a registration token.
pub(crate) async fn register(State(shared): State<Arc<Shared>>, params: Params) -> Reply {
    let token = params.required("token")?;
    let spec = read_spec(&params)?;
    shared.write(|world| {
        if token != world.registration_token {
            return Err(ApiError::forbidden_because("invalid token supplied"));
        }
        add(world, spec, false)
    })
}

/// `POST /user/runners` with a user's token.
pub(crate) async fn create(_: User, State(shared): State<Arc<Shared>>, params: Params) -> Reply {
    let mut spec = read_spec(&params)?;
    let kind = params.required("runner_type")?;
    spec.kind = serde_json::from_value(Value::String(kind))
        .map_err(|_| ApiError::parameter("runner_type does not have a valid value"))?;
    match spec.kind {
        RunnerType::InstanceType => {}
        RunnerType::ProjectType => {
            let id = params.integer("project_id")?.ok_or_else(|| ApiError::missing("project_id"))?;
            let id = u64::try_from(id).unwrap_or_default();
            spec.owner = shared.read(|world| world.projects.get(&id).map(|project| project.path.clone()));
            if spec.owner.is_none() {
                return Err(ApiError::not_found("Project"));
            }
        }
        RunnerType::GroupType => {
            let id = params.integer("group_id")?.ok_or_else(|| ApiError::missing("group_id"))?;
            spec.owner = shared.read(|world| {
                world
                    .projects
                    .values()
                    .find(|project| i64::try_from(crate::variables::namespace_id(project)) == Ok(id))
                    .map(|project| project.namespace().to_owned())
            });
            if spec.owner.is_none() {
                return Err(ApiError::not_found("Group"));
            }
        }
    }
    shared.write(|world| add(world, spec, true))
}

fn add(world: &mut World, spec: RunnerSpec, created_by_user: bool) -> Reply {
    if let Some(problems) = spec.problems() {
        return Err(ApiError::message(StatusCode::BAD_REQUEST, problems));
    }
    let runner = world.add_runner(spec, created_by_user, None).map_err(ApiError::internal)?;
    Ok((StatusCode::CREATED, Json(runner.credentials())).into_response())
}

fn read_spec(params: &Params) -> Result<RunnerSpec, ApiError> {
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

/// `POST /runners/verify`.
pub(crate) async fn verify(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    params: Params,
) -> Reply {
    let token = params.required("token")?;
    shared.write(|world| {
        let id = authenticate(world, &token)?.id;
        heartbeat(world, id, &params, &headers, peer);
        let runner = world.runners.get(&id).ok_or_else(ApiError::forbidden)?;
        Ok(Json(runner.credentials()).into_response())
    })
}

/// `DELETE /runners`: the runner and all its managers.
pub(crate) async fn unregister(State(shared): State<Arc<Shared>>, headers: HeaderMap, params: Params) -> Reply {
    let token = params.required("token")?;
    shared.write(|world| {
        let runner = authenticate(world, &token)?;
        check_unmodified(&headers, runner.updated_at)?;
        let id = runner.id;
        world.runners.remove(&id);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

/// `DELETE /runners/managers`: one machine of a runner.
pub(crate) async fn remove_manager(State(shared): State<Arc<Shared>>, headers: HeaderMap, params: Params) -> Reply {
    let token = params.required("token")?;
    let system_id = params.required("system_id")?;
    shared.write(|world| {
        let id = authenticate(world, &token)?.id;
        let runner = world.runners.get_mut(&id).ok_or_else(ApiError::forbidden)?;
        let Some(manager) = runner.manager(&system_id) else {
            return Err(ApiError::not_found("Runner manager not found"));
        };
        check_unmodified(&headers, manager.contacted_at)?;
        runner.managers.retain(|manager| manager.system_id != system_id);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

/// `POST /runners/reset_authentication_token` by the runner itself.
pub(crate) async fn reset(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    params: Params,
) -> Reply {
    let token = params.required("token")?;
    shared.write(|world| {
        let id = authenticate(world, &token)?.id;
        heartbeat(world, id, &params, &headers, peer);
        renew(world, id)
    })
}

/// `POST /runners/:id/reset_authentication_token` by a user.
pub(crate) async fn reset_by_id(_: User, State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    shared.write(|world| {
        let id = user_runners::find(world, &id)?.id;
        renew(world, id)
    })
}

fn renew(world: &mut World, id: u64) -> Reply {
    let runner = world.runners.get_mut(&id).ok_or_else(|| ApiError::not_found("Runner"))?;
    let prefix = if runner.created_by_user { "glrt-" } else { "" };
    runner.token = token::random(&format!("{prefix}{}", runner.spec.kind.token_mark())).map_err(ApiError::internal)?;
    let answer = json!({
        "token": runner.token,
        "token_expires_at": crate::clock::stamp_or_null(runner.token_expires_at),
    });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `GET /runners/router/discovery`: there is no job router here, and runners then use this API.
pub(crate) async fn discover_router(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> ApiError {
    let token = headers.get("runner-token").and_then(|value| value.to_str().ok());
    let known = token.is_some_and(|token| shared.read(|world| world.runner_by_token(token).is_some()));
    if !known {
        return ApiError::forbidden();
    }
    ApiError::message(StatusCode::NOT_IMPLEMENTED, "Job Router is not available. Please contact your administrator.")
}

/// The runner of a token, or 403.
pub(super) fn authenticate<'a>(world: &'a World, token: &str) -> Result<&'a Runner, ApiError> {
    world.runner_by_token(token).ok_or_else(ApiError::forbidden)
}

fn check_unmodified(headers: &HeaderMap, updated_at: SystemTime) -> Result<(), ApiError> {
    let since = headers
        .get(header::IF_UNMODIFIED_SINCE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| httpdate::parse_http_date(text).ok());
    match since {
        Some(since) if since < updated_at => {
            Err(ApiError::message(StatusCode::PRECONDITION_FAILED, "412 Precondition Failed"))
        }
        _ => Ok(()),
    }
}

/// Notes that a machine spoke for a runner, and what it said about itself.
pub(super) fn heartbeat(world: &mut World, id: u64, params: &Params, headers: &HeaderMap, peer: Peer) {
    let now = SystemTime::now();
    let system_id = params.text("system_id").unwrap_or_else(|| "<legacy>".to_owned());
    let address = headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.split(',').next())
        .map_or_else(|| peer.0.to_string(), |first| first.trim().to_owned());
    let info = params.value("info").map(stored_info);
    let is_known = world.runners.get(&id).is_some_and(|runner| runner.manager(&system_id).is_some());
    let new_id = if is_known { 0 } else { world.next_id("manager") };
    let Some(runner) = world.runners.get_mut(&id) else { return };
    runner.contacted_at = Some(now);
    match runner.managers.iter_mut().find(|manager| manager.system_id == system_id) {
        Some(manager) => {
            manager.contacted_at = now;
            manager.ip_address = Some(address);
            if let Some(info) = info {
                manager.info = info;
            }
        }
        None => runner.managers.push(Manager {
            id: new_id,
            system_id,
            info: info.unwrap_or(Value::Null),
            ip_address: Some(address),
            created_at: now,
            contacted_at: now,
        }),
    }
}

/// The `info` object with nothing in `config` but `gpus`.
fn stored_info(info: &Value) -> Value {
    let mut info = info.clone();
    if let Some(config) = info.get_mut("config") {
        *config = match config.get("gpus") {
            Some(gpus) => json!({ "gpus": gpus }),
            None => json!({}),
        };
    }
    info
}

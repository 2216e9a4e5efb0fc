//! Verification, removal and token reset of runners (GitLab runner API: `/runners`).

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::runner::{Manager, Runner};
use crate::server::Peer;
use crate::shared::Shared;
use crate::state::World;
use crate::token;

use super::user::Writer;
use super::user_runners;

type Reply = Result<Response, ApiError>;

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
        let runner = authenticate_any(world, &token)?;
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
        let id = authenticate_any(world, &token)?.id;
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
pub(crate) async fn reset_by_id(_: Writer, State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    shared.write(|world| {
        let id = user_runners::find(world, &id)?.id;
        renew(world, id)
    })
}

fn renew(world: &mut World, id: u64) -> Reply {
    let kind = world.runners.get(&id).ok_or_else(|| ApiError::not_found("Runner"))?.spec.kind;
    let (now, expiry) = (world.now(), world.token_expiry(kind));
    let runner = world.runners.get_mut(&id).ok_or_else(|| ApiError::not_found("Runner"))?;
    let prefix = if runner.created_by_user { "glrt-" } else { "" };
    runner.token = token::random(&format!("{prefix}{}", runner.spec.kind.token_mark())).map_err(ApiError::internal)?;
    runner.token_expires_at = expiry;
    runner.updated_at = now;
    let answer = json!({
        "token": runner.token,
        "token_expires_at": crate::clock::stamp_or_null(runner.token_expires_at),
    });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The runner of a token, or 403; 403 too if what the runner is for is gone.
pub(super) fn authenticate<'a>(world: &'a World, token: &str) -> Result<&'a Runner, ApiError> {
    let runner = authenticate_any(world, token)?;
    match world.is_orphaned(runner) {
        true => Err(ApiError::forbidden_because("Runner is orphaned")),
        false => Ok(runner),
    }
}

/// The runner of a token, or 403.
fn authenticate_any<'a>(world: &'a World, token: &str) -> Result<&'a Runner, ApiError> {
    world.runner_by_token(token).ok_or_else(ApiError::forbidden)
}

/// The machine that speaks for a runner.
pub(super) fn system_id(params: &Params) -> String {
    params.text("system_id").filter(|id| !id.is_empty()).unwrap_or_else(|| "<legacy>".to_owned())
}

/// The address a request came from: the first that a proxy names, else the peer's.
pub(super) fn address(headers: &HeaderMap, peer: Peer) -> String {
    headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.split(',').next())
        .map_or_else(|| peer.0.to_string(), |first| first.trim().to_owned())
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
    let now = world.now();
    let system_id = system_id(params);
    let address = address(headers, peer);
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

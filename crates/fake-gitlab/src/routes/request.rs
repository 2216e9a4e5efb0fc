//! `POST /jobs/request`: the queue as a runner sees it (GitLab runner API: jobs/request).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::params::Params;
use crate::rate_limit::Bucket;
use crate::server::Peer;
use crate::shared::Shared;
use crate::state::World;

use crate::assign::{Asking, Assignment, assign, take_back_lapsed};

use super::runners::{authenticate, heartbeat, system_id};

const LAST_UPDATE: &str = "x-gitlab-last-update";

/// Gives a job, or says that there is none.
pub(crate) async fn request_job(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let token = params.required("token")?;
    let last_update = params.text("last_update").filter(|value| !value.is_empty());
    // GitLab has a job of its own for this; it waits for no change of a queue.
    shared.write(take_back_lapsed);
    if let Some(held) = hold(&shared, &token, last_update.as_deref()).await {
        return Ok(held);
    }
    shared.write(|world| {
        let (now, limit) = (world.now(), world.settings.job_request_rate);
        world.rate_limits.count(Bucket::JobRequest, &token, limit, now)?;
        let id = authenticate(world, &token)?.id;
        heartbeat(world, id, &params, &headers, peer);
        let runner = world.runners.get_mut(&id).ok_or_else(ApiError::forbidden)?;
        runner.has_asked = true;
        let queue_value = runner.queue_value.clone();
        if runner.spec.paused || last_update.as_deref() == Some(queue_value.as_str()) {
            return Ok(no_job(&queue_value));
        }
        let info = params.value("info");
        let session = params.value("session").and_then(|session| session["url"].as_str());
        let asking = Asking {
            runner: id,
            system_id: &system_id(&params),
            features: info.map_or(&Value::Null, |info| &info["features"]),
            session_url: session.filter(|url| !url.is_empty()),
        };
        Ok(match assign(&shared, world, &asking) {
            Assignment::None => no_job(&queue_value),
            Assignment::Conflict => ApiError::message(StatusCode::CONFLICT, "409 Conflict").into_response(),
            Assignment::Job(payload) => {
                (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], payload.to_string()).into_response()
            }
        })
    })
}

fn no_job(queue_value: &str) -> Response {
    (StatusCode::NO_CONTENT, [(LAST_UPDATE, queue_value)]).into_response()
}

/// Long polling as Workhorse does it: a runner that knows the present queue value waits until the
/// value changes or the time is up. The answer then is an empty one without a queue value, so
/// that the runner asks again at once.
async fn hold(shared: &Shared, token: &str, last_update: Option<&str>) -> Option<Response> {
    let limit = Duration::from_millis(shared.read(|world| world.settings.long_poll_ms));
    let last_update = last_update.filter(|_| !limit.is_zero())?;
    let is_current =
        |world: &World| world.runner_by_token(token).is_some_and(|runner| runner.queue_value == last_update);
    if !shared.read(is_current) {
        return None;
    }
    let changed = shared.wait_until(|world| (!is_current(world)).then_some(()));
    // Both ends are answered alike.
    let _ = tokio::time::timeout(limit, changed).await;
    Some((StatusCode::NO_CONTENT, [("gitlab-ci-builds-polling", "yes")]).into_response())
}

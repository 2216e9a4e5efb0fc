//! `POST /jobs/request`: the queue as a runner sees it (GitLab runner API: jobs/request).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::job::JobStatus;
use crate::params::Params;
use crate::payload;
use crate::server::Peer;
use crate::shared::Shared;
use crate::state::World;

use super::runners::{authenticate, heartbeat};

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
    if let Some(held) = hold(&shared, &token, last_update.as_deref()).await {
        return Ok(held);
    }
    shared.write(|world| {
        let id = authenticate(world, &token)?.id;
        heartbeat(world, id, &params, &headers, peer);
        let runner = world.runners.get(&id).ok_or_else(ApiError::forbidden)?;
        let queue_value = runner.queue_value.clone();
        if runner.spec.paused || last_update.as_deref() == Some(queue_value.as_str()) {
            return Ok(no_job(&queue_value));
        }
        let system_id = params.text("system_id").unwrap_or_else(|| "<legacy>".to_owned());
        let features = params.value("info").map_or(Value::Null, |info| info["features"].clone());
        Ok(match assign(&shared, world, id, &system_id, &features) {
            None => no_job(&queue_value),
            Some(payload) => {
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
    let limit = shared.settings.long_poll?;
    let last_update = last_update?;
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

/// Takes the oldest pending job the runner may have; jobs that need a feature the runner lacks
/// fail on the way.
fn assign(shared: &Shared, world: &mut World, runner_id: u64, system_id: &str, features: &Value) -> Option<Value> {
    loop {
        let runner = world.runners.get(&runner_id)?;
        let job = world.jobs.values().find(|job| job.status == JobStatus::Pending && world.may_take(runner, job))?;
        let id = job.id;
        if let Some(feature) = job.plan.unsupported_by(|feature| features[feature] == true) {
            tracing::info!("job {id} needs `{feature}`, which runner {runner_id} lacks");
            world.finish(id, JobStatus::Failed, Some("runner_unsupported"));
            continue;
        }
        if let Some(job) = world.jobs.get_mut(&id) {
            job.runner = Some((runner_id, system_id.to_owned()));
        }
        world.set_status(id, JobStatus::Running);
        let runner = world.runners.get(&runner_id)?;
        let job = world.jobs.get(&id)?;
        match payload::build(shared, world, job, runner) {
            Some(payload) => return Some(payload),
            None => world.finish(id, JobStatus::Failed, Some("scheduler_failure")),
        }
    }
}

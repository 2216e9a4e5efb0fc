//! Trigger tokens, and the pipelines that others start with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::clock::stamp;
use crate::params::Params;
use crate::plan::Variable;
use crate::project::Trigger;
use crate::shared::Shared;
use crate::token;

use super::pages::{page, segment};
use super::user::{User, Writer, user_json};
use super::{pipelines, projects};

fn to_json(trigger: &Trigger, external_url: &str) -> Value {
    json!({
        "id": trigger.id,
        "description": trigger.description,
        "token": trigger.token,
        "created_at": stamp(trigger.created_at),
        "updated_at": stamp(trigger.created_at),
        "last_used": null,
        "expires_at": null,
        "owner": user_json(external_url),
    })
}

/// `GET /projects/:id/triggers`.
pub(crate) async fn list(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let items: Vec<Value> = shared.read(|world| {
        let triggers = &projects::find(world, &project)?.triggers;
        Ok(triggers.iter().map(|trigger| to_json(trigger, shared.external_url())).collect())
    })?;
    page(&items, &params, &format!("{}/api/v4/projects/{}/triggers", shared.external_url(), segment(&project)))
}

/// `POST /projects/:id/triggers` with a `description`.
pub(crate) async fn create(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let description = params.required("description")?;
    let token = token::random("glptt-").map_err(ApiError::internal)?;
    shared.write(|world| {
        let (id, created_at) = (world.next_id("trigger"), world.now());
        let project = projects::find_mut(world, &project)?;
        let trigger = Trigger { id, token, description, created_at };
        let shown = to_json(&trigger, shared.external_url());
        project.triggers.push(trigger);
        Ok((StatusCode::CREATED, Json(shown)).into_response())
    })
}

/// `DELETE /projects/:id/triggers/:trigger_id`.
pub(crate) async fn delete(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    shared.write(|world| {
        let project = projects::find_mut(world, &project)?;
        let place = project.triggers.iter().position(|trigger| trigger.id.to_string() == id);
        project.triggers.remove(place.ok_or_else(|| ApiError::not_found("Trigger"))?);
        Ok(StatusCode::NO_CONTENT)
    })
}

/// `POST /projects/:id/trigger/pipeline` with a trigger's `token`, a `ref` and `variables`, an
/// object.
pub(crate) async fn start(
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let token = params.required("token")?;
    let reference = params.required("ref")?;
    shared.read(|world| {
        let project = projects::find(world, &project)?;
        let is_known = project.triggers.iter().any(|trigger| trigger.token == token);
        is_known.then_some(()).ok_or_else(|| ApiError::not_found("Project"))
    })?;
    let variables = match params.value("variables") {
        None => Vec::new(),
        Some(Value::Object(given)) => given
            .iter()
            .map(|(key, value)| {
                let value = value.as_str().ok_or_else(|| ApiError::parameter("variables is invalid"))?;
                Ok(Variable::new(key, value).private())
            })
            .collect::<Result<_, ApiError>>()?,
        Some(_) => return Err(ApiError::parameter("variables is invalid")),
    };
    pipelines::start(&shared, &project, &reference, variables, serde_json::Value::Null, "trigger").await
}

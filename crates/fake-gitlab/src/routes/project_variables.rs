//! Variables of a project in the user-facing API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::params::Params;
use crate::plan::Variable;
use crate::project::{Project, ProjectVariable};
use crate::shared::Shared;

use super::pages::{page, segment};
use super::projects;
use super::user::{User, Writer};

/// Shortest value that runners can hide.
const MASKABLE: usize = 8;

fn to_json(given: &ProjectVariable) -> Value {
    let variable = &given.variable;
    json!({
        "variable_type": if variable.file { "file" } else { "env_var" },
        "key": variable.key,
        "value": if given.hidden { Value::Null } else { json!(variable.value) },
        "hidden": given.hidden,
        "protected": given.protected,
        "masked": variable.masked,
        "raw": variable.raw,
        "environment_scope": given.scope,
        "description": given.description,
    })
}

fn not_found() -> ApiError {
    ApiError::not_found("Variable")
}

/// Position of the variable; `filter[environment_scope]` chooses among several of one name.
fn place(project: &Project, key: &str, params: &Params) -> Result<usize, ApiError> {
    let scope = params
        .text("filter[environment_scope]")
        .or_else(|| Some(params.value("filter")?["environment_scope"].as_str()?.to_owned()));
    let fits =
        |given: &ProjectVariable| given.variable.key == key && scope.as_ref().is_none_or(|scope| *scope == given.scope);
    project.variables.iter().position(fits).ok_or_else(not_found)
}

/// The variable that parameters describe, those that are missing taken from `old`.
fn read(params: &Params, old: ProjectVariable) -> Result<ProjectVariable, ApiError> {
    let flag = |name, old: bool| Ok::<_, ApiError>(params.flag(name)?.unwrap_or(old));
    let value = params.text("value").unwrap_or(old.variable.value);
    let hidden = flag("masked_and_hidden", old.hidden)?;
    let masked = hidden || flag("masked", old.variable.masked)?;
    let is_maskable = value.len() >= MASKABLE && !value.contains(char::is_whitespace);
    if masked && !is_maskable {
        return Err(ApiError::message(StatusCode::BAD_REQUEST, json!({ "value": ["is invalid"] })));
    }
    let file = match params.text("variable_type").as_deref() {
        None => old.variable.file,
        Some("env_var") => false,
        Some("file") => true,
        Some(_) => return Err(ApiError::parameter("variable_type does not have a valid value")),
    };
    Ok(ProjectVariable {
        variable: Variable {
            key: old.variable.key,
            value,
            public: false,
            masked,
            file,
            raw: flag("raw", old.variable.raw)?,
        },
        protected: flag("protected", old.protected)?,
        scope: params.text("environment_scope").unwrap_or(old.scope),
        description: params.text("description").or(old.description),
        hidden,
    })
}

/// `GET /projects/:id/variables`.
pub(crate) async fn list(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let items: Vec<Value> =
        shared.read(|world| Ok(projects::find(world, &project)?.variables.iter().map(to_json).collect()))?;
    page(&items, &params, &format!("{}/api/v4/projects/{}/variables", shared.external_url(), segment(&project)))
}

/// `GET /projects/:id/variables/:key`.
pub(crate) async fn get(
    _: User,
    State(shared): State<Arc<Shared>>,
    Path((project, key)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    shared.read(|world| {
        let project = projects::find(world, &project)?;
        Ok(Json(to_json(&project.variables[place(project, &key, &params)?])))
    })
}

/// `POST /projects/:id/variables`.
pub(crate) async fn create(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let key = params.required("key")?;
    params.value("value").ok_or_else(|| ApiError::missing("value"))?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if !key.chars().all(is_name) || key.len() > 255 {
        let problem = json!({ "key": ["can contain only letters, digits and '_'."] });
        return Err(ApiError::message(StatusCode::BAD_REQUEST, problem));
    }
    let given = read(&params, Variable::new(key, "").into())?;
    shared.write(|world| {
        let project = projects::find_mut(world, &project)?;
        let same = |old: &ProjectVariable| old.variable.key == given.variable.key && old.scope == given.scope;
        if project.variables.iter().any(same) {
            let problem = json!({ "key": [format!("({}) has already been taken", given.variable.key)] });
            return Err(ApiError::message(StatusCode::BAD_REQUEST, problem));
        }
        let shown = to_json(&given);
        project.variables.push(given);
        Ok((StatusCode::CREATED, Json(shown)).into_response())
    })
}

/// `PUT /projects/:id/variables/:key`.
pub(crate) async fn update(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, key)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    shared.write(|world| {
        let project = projects::find_mut(world, &project)?;
        let place = place(project, &key, &params)?;
        let changed = read(&params, project.variables[place].clone())?;
        let shown = to_json(&changed);
        project.variables[place] = changed;
        Ok(Json(shown))
    })
}

/// `DELETE /projects/:id/variables/:key`.
pub(crate) async fn delete(
    _: Writer,
    State(shared): State<Arc<Shared>>,
    Path((project, key)): Path<(String, String)>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    shared.write(|world| {
        let project = projects::find_mut(world, &project)?;
        let place = place(project, &key, &params)?;
        project.variables.remove(place);
        Ok(StatusCode::NO_CONTENT)
    })
}

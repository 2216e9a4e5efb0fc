//! Making pipelines: from a repository's definition, or around one raw job.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::runtime::Handle;

use crate::ci::{Compiled, Failure, Sources};
use crate::git_sources::GitSources;
use crate::plan::Variable;
use crate::project::{Commit, Pipeline, PipelineOrigin, Project};
use crate::shared::Shared;
use crate::variables::predefined_before;
use crate::{Error, JobSpec, RAW_PROJECT, ci, git};

/// The definition file of every project.
const DEFINITION: &str = ".gitlab-ci.yml";

/// Makes a pipeline from `.gitlab-ci.yml` at a branch or tag, and starts it. `HEAD`, like no name,
/// stands for the default branch.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    path: &str,
    reference: Option<&str>,
    variables: Vec<Variable>,
    inputs: Value,
    source: &'static str,
) -> Result<u64, Error> {
    let project = find_project(shared, path)?;
    let Some(mirror) = &project.mirror else {
        return Err(Error::Project { path: path.to_owned(), problem: "has no repository" });
    };
    let origin = origin(shared, &project, mirror, reference, variables, source).await?;
    let compiled = compile(shared, &project, &origin, inputs).await?;
    add(shared, mirror, origin, compiled).await
}

/// Makes a pipeline of one raw job, and gives the job's number.
pub(crate) async fn enqueue(shared: &Shared, spec: JobSpec) -> Result<u64, Error> {
    let path = spec.project.as_deref().unwrap_or(RAW_PROJECT);
    let project = find_project(shared, path)?;
    let reference = spec.reference.clone();
    let compiled = Compiled { plans: vec![spec.into_plan()], ..Compiled::default() };
    let pipeline = match &project.mirror {
        Some(mirror) => {
            let origin = origin(shared, &project, mirror, reference.as_deref(), Vec::new(), "api").await?;
            add(shared, mirror, origin, compiled).await?
        }
        None => {
            let origin = PipelineOrigin {
                project: project.id,
                ref_name: reference.unwrap_or_else(|| project.default_branch.clone()),
                is_tag: false,
                tag_message: None,
                commit: Commit {
                    sha: "0".repeat(40),
                    title: "no repository".into(),
                    message: "no repository".into(),
                    ..Commit::default()
                },
                source: "api",
                variables: Vec::new(),
                merge_request: None,
            };
            shared.write(|world| {
                let id = world.next_id("pipeline");
                world.add_pipeline(id, origin, compiled).map(|()| id)
            })?
        }
    };
    let job = shared.read(|world| world.pipelines.get(&pipeline)?.jobs.first().copied());
    job.ok_or(Error::NoJob(0))
}

fn find_project(shared: &Shared, path: &str) -> Result<Project, Error> {
    shared
        .read(|world| world.project_by_path(path).cloned())
        .ok_or_else(|| Error::Project { path: path.to_owned(), problem: "does not exist" })
}

/// Makes a pipeline for a merge request's source branch.
pub(crate) async fn create_for_merge_request(shared: &Arc<Shared>, path: &str, iid: u64) -> Result<u64, Error> {
    let project = find_project(shared, path)?;
    let request = project.merge_requests.iter().find(|request| request.iid == iid);
    let (Some(mirror), Some(request)) = (&project.mirror, request) else {
        return Err(Error::Project { path: path.to_owned(), problem: "has no such merge request" });
    };
    let branch = Some(request.source_branch.as_str());
    let mut origin = origin(shared, &project, mirror, branch, Vec::new(), "merge_request_event").await?;
    origin.ref_name = format!("refs/merge-requests/{iid}/head");
    origin.merge_request = Some(iid);
    let compiled = compile(shared, &project, &origin, Value::Null).await?;
    add(shared, mirror, origin, compiled).await
}

/// The jobs of the definition at the origin's commit that run.
async fn compile(
    shared: &Arc<Shared>,
    project: &Project,
    origin: &PipelineOrigin,
    inputs: Value,
) -> Result<Compiled, Error> {
    let mirror = project.mirror.as_deref().unwrap_or(Path::new(""));
    let text = git::file(mirror, &origin.commit.sha, DEFINITION)
        .await?
        .ok_or_else(|| Failure::one("Missing CI config file").in_file(DEFINITION))?;
    with_definition(shared, project, origin, text, inputs, ci::compile)
        .await?
        .map_err(|wrong| wrong.in_file(DEFINITION))
}

/// Does `work` with a definition's text as if it were of a commit. Reading repositories takes its
/// time, so a thread of its own does it.
pub(crate) async fn with_definition<T: Send + 'static>(
    shared: &Arc<Shared>,
    project: &Project,
    origin: &PipelineOrigin,
    text: String,
    inputs: Value,
    work: fn(&ci::Request<'_>, &dyn Sources) -> Result<T, Failure>,
) -> Result<Result<T, Failure>, Error> {
    let (shared, project, origin) = (Arc::clone(shared), project.clone(), origin.clone());
    let runtime = Handle::current();
    let worked = tokio::task::spawn_blocking(move || {
        let now = shared.read(crate::state::World::now);
        let is_protected = project.protects(&origin);
        let pipeline = Pipeline::new(0, 0, is_protected, origin, now);
        let predefined = predefined_before(shared.external_url(), &project, &pipeline);
        let mut given = project.variables_for(is_protected, None);
        given.extend(pipeline.variables.iter().cloned());
        let request = ci::Request {
            text: &text,
            tree: ci::Tree { project: project.path.clone(), sha: pipeline.commit.sha.clone() },
            kind: ci::Kind {
                ref_name: &pipeline.ref_name,
                is_tag: pipeline.is_tag,
                is_merge_request: pipeline.merge_request.is_some(),
                source: pipeline.source,
                project: &project.path,
            },
            predefined: &predefined,
            given: &given,
            inputs: &inputs,
        };
        let merged = project.merge_requests.iter().find(|request| Some(request.iid) == pipeline.merge_request);
        let target = merged.map(|request| request.target_branch.clone());
        work(&request, &GitSources::new(&shared, runtime, target))
    });
    worked.await.map_err(|problem| {
        Error::Definition(ci::DefinitionError { file: DEFINITION.to_owned(), problems: vec![problem.to_string()] })
    })
}

pub(crate) async fn origin(
    shared: &Shared,
    project: &Project,
    mirror: &Path,
    reference: Option<&str>,
    variables: Vec<Variable>,
    source: &'static str,
) -> Result<PipelineOrigin, Error> {
    if let Some(source) = &project.source {
        let _alone = shared.git.lock().await;
        git::update(source, mirror, &project.default_branch).await?;
    }
    let name = reference.filter(|name| *name != "HEAD").unwrap_or(&project.default_branch);
    let found = git::resolve(mirror, name)
        .await?
        .ok_or_else(|| Error::NoReference { project: project.path.clone(), reference: name.to_owned() })?;
    let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
    Ok(PipelineOrigin {
        project: project.id,
        ref_name: short.unwrap_or(name).to_owned(),
        is_tag: found.is_tag,
        tag_message: found.tag_message,
        commit: found.commit,
        source,
        variables,
        merge_request: None,
    })
}

/// The pipeline's own ref must be there before a runner can see one of its jobs.
async fn add(shared: &Shared, mirror: &Path, origin: PipelineOrigin, compiled: Compiled) -> Result<u64, Error> {
    let id = shared.write(|world| world.next_id("pipeline"));
    {
        let _alone = shared.git.lock().await;
        git::keep_pipeline(mirror, id, &origin.commit.sha).await?;
    }
    shared.write(|world| world.add_pipeline(id, origin, compiled))?;
    Ok(id)
}

//! Making pipelines: from a repository's definition, or around one raw job.

use std::path::Path;

use crate::plan::Variable;
use crate::project::{Commit, Project};
use crate::shared::Shared;
use crate::state::PipelineOrigin;
use crate::{Error, JobSpec, RAW_PROJECT, ci, git};

/// The definition file of every project.
const DEFINITION: &str = ".gitlab-ci.yml";

/// Makes a pipeline from `.gitlab-ci.yml` at a branch or tag, and starts it. `HEAD`, like no name,
/// stands for the default branch.
pub(crate) async fn create(
    shared: &Shared,
    path: &str,
    reference: Option<&str>,
    variables: Vec<Variable>,
    source: &'static str,
) -> Result<u64, Error> {
    let project = find_project(shared, path)?;
    let Some(mirror) = &project.mirror else {
        return Err(Error::Project { path: path.to_owned(), problem: "has no repository" });
    };
    let origin = origin(shared, &project, mirror, reference, variables, source).await?;
    let plans = plans(mirror, &origin).await?;
    add(shared, mirror, origin, plans).await
}

/// Makes a pipeline of one raw job, and gives the job's number.
pub(crate) async fn enqueue(shared: &Shared, spec: JobSpec) -> Result<u64, Error> {
    let path = spec.project.as_deref().unwrap_or(RAW_PROJECT);
    let project = find_project(shared, path)?;
    let reference = spec.reference.clone();
    let plans = vec![spec.into_plan()];
    let pipeline = match &project.mirror {
        Some(mirror) => {
            let origin = origin(shared, &project, mirror, reference.as_deref(), Vec::new(), "api").await?;
            add(shared, mirror, origin, plans).await?
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
                world.add_pipeline(id, origin, plans).map(|()| id)
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
pub(crate) async fn create_for_merge_request(shared: &Shared, path: &str, iid: u64) -> Result<u64, Error> {
    let project = find_project(shared, path)?;
    let request = project.merge_requests.iter().find(|request| request.iid == iid);
    let (Some(mirror), Some(request)) = (&project.mirror, request) else {
        return Err(Error::Project { path: path.to_owned(), problem: "has no such merge request" });
    };
    let branch = Some(request.source_branch.as_str());
    let mut origin = origin(shared, &project, mirror, branch, Vec::new(), "merge_request_event").await?;
    origin.ref_name = format!("refs/merge-requests/{iid}/head");
    origin.merge_request = Some(iid);
    let plans = plans(mirror, &origin).await?;
    add(shared, mirror, origin, plans).await
}

/// The jobs of the definition at the origin's commit.
async fn plans(mirror: &Path, origin: &PipelineOrigin) -> Result<Vec<crate::plan::JobPlan>, Error> {
    let definition = git::file(mirror, &origin.commit.sha, DEFINITION)
        .await?
        .ok_or_else(|| ci::DefinitionError::missing(DEFINITION))?;
    Ok(ci::read(DEFINITION, &definition)?)
}

async fn origin(
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
async fn add(
    shared: &Shared,
    mirror: &Path,
    origin: PipelineOrigin,
    plans: Vec<crate::plan::JobPlan>,
) -> Result<u64, Error> {
    let id = shared.write(|world| world.next_id("pipeline"));
    {
        let _alone = shared.git.lock().await;
        git::keep_pipeline(mirror, id, &origin.commit.sha).await?;
    }
    shared.write(|world| world.add_pipeline(id, origin, plans))?;
    Ok(id)
}

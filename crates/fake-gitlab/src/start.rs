//! What happens at the start: repositories are copied, tokens made up, the socket bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::builder::{Builder, Settings};
use crate::plan::Variable;
use crate::project::Project;
use crate::runner::RunnerSpec;
use crate::shared::Shared;
use crate::state::World;
use crate::{Error, FakeGitlab, RAW_PROJECT, git, routes, server, token};

/// Starts a server.
pub(crate) async fn start(builder: Builder) -> Result<FakeGitlab, Error> {
    let Builder { settings, listen, projects, variables, registration_token, runner_token, private_token } = builder;
    let listen_error = |source| Error::Listen { address: listen.clone(), source };
    let listener = TcpListener::bind(&listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let scratch = tempfile::Builder::new().prefix("fake-gitlab-").tempdir().map_err(Error::Scratch)?;

    let mut world =
        World::new(given_or_random(registration_token, "GR1348941")?, given_or_random(private_token, "glpat-")?);
    add_projects(&mut world, projects, &variables, &settings, scratch.path()).await?;
    let first = RunnerSpec { description: "first runner".into(), ..RunnerSpec::default() };
    let runner_token = world.add_runner(first, true, runner_token)?.token.clone();

    let shared = Shared::new(settings, format!("http://{address}"), scratch.path().to_owned(), world);
    let shared = Arc::new(shared);
    let router = routes::router(Arc::clone(&shared));
    let stop = CancellationToken::new();
    let serving = server::serve(listener, router, Arc::clone(&shared), stop.clone());
    Ok(FakeGitlab { shared, runner_token, serving: Some(tokio::spawn(serving)), stop, _scratch: scratch })
}

/// Copies the repositories, and adds their projects and the one of raw jobs.
async fn add_projects(
    world: &mut World,
    projects: Vec<(String, PathBuf)>,
    variables: &[Variable],
    settings: &Settings,
    scratch: &Path,
) -> Result<(), Error> {
    let add = |world: &mut World, id, path, default_branch, mirror, source| {
        let project = Project {
            id,
            path,
            default_branch,
            mirror,
            source,
            variables: variables.to_vec(),
            timeout: settings.project_timeout,
            created_at: SystemTime::now(),
        };
        world.projects.insert(id, project);
    };
    for (path, source) in projects {
        check_path(world, &path)?;
        let id = world.next_id("project");
        let mirror = git::mirror_path(scratch, id);
        let default_branch = git::copy(&source, &mirror).await?;
        add(world, id, path, default_branch, Some(mirror), Some(source));
    }
    let id = world.next_id("project");
    add(world, id, RAW_PROJECT.to_owned(), "main".to_owned(), None, None);
    Ok(())
}

fn given_or_random(given: Option<String>, prefix: &str) -> Result<String, Error> {
    given.map_or_else(|| token::random(prefix), Ok)
}

/// GitLab's rule in short: at least one group, segments of letters, digits, `.`, `_` and `-`.
fn check_path(world: &World, path: &str) -> Result<(), Error> {
    let is_segment = |segment: &str| {
        segment.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && !segment.ends_with(".git")
            && segment.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
    };
    let problem = if !path.contains('/') {
        "has no group, expected `group/name`"
    } else if !path.split('/').all(is_segment) {
        "is no path of letters, digits, `.`, `_` and `-`"
    } else if path == RAW_PROJECT || world.project_by_path(path).is_some() {
        "is taken"
    } else {
        return Ok(());
    };
    Err(Error::Project { path: path.to_owned(), problem })
}

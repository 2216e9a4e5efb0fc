//! What happens at the start: repositories are copied, tokens made up, the socket bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::builder::Builder;
use crate::plan::Variable;
use crate::project::{Group, Project};
use crate::runner::RunnerSpec;
use crate::shared::{Addresses, Shared};
use crate::state::World;
use crate::{Error, FakeGitlab, RAW_PROJECT, git, progress, routes, server, tls, token};

/// Depth of clones that GitLab gives new projects.
const DEFAULT_DEPTH: u64 = 20;

/// Groups are numbered from here on, so that their numbers are no projects'.
const FIRST_GROUP: u64 = 1000;

/// Starts a server.
pub(crate) async fn start(builder: Builder) -> Result<FakeGitlab, Error> {
    let Builder { settings, listen, external_url, .. } = builder;
    let listen_error = |source| Error::Listen { address: listen.clone(), source };
    let listener = TcpListener::bind(&listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let scratch = tempfile::Builder::new().prefix("fake-gitlab-").tempdir().map_err(Error::Scratch)?;

    let mut world = World {
        settings,
        registration_token: given_or_random(builder.registration_token, "GR1348941")?,
        private_token: given_or_random(builder.private_token, "glpat-")?,
        read_only_token: given_or_random(builder.read_only_token, "glpat-")?,
        ..World::default()
    };
    add_projects(&mut world, builder.projects, &builder.variables, builder.project_timeout, scratch.path()).await?;
    let first = RunnerSpec { description: "first runner".into(), ..RunnerSpec::default() };
    let runner_token = world.add_runner(first, true, builder.runner_token)?.token.clone();

    let storage = TcpListener::bind((address.ip(), 0)).await.map_err(listen_error)?;
    let storage_address = storage.local_addr().map_err(listen_error)?;
    let (tls, certificate) = builder.tls.map(|tls| tls::acceptor(tls, address.ip())).transpose()?.unzip();
    let certificate = certificate.map(|pem| keep_certificate(scratch.path(), &pem)).transpose()?;
    let addresses = Addresses {
        external: external_url,
        local: match tls {
            Some(_) => format!("https://{address}"),
            None => format!("http://{address}"),
        },
        storage: builder.storage_url.unwrap_or_else(|| format!("http://{storage_address}")),
    };
    let shared = Arc::new(Shared::new(addresses, token::hex()?, scratch.path().to_owned(), world));
    let stop = CancellationToken::new();
    shared.faults.set(builder.faults);
    let serve = |listener, tls, router| server::serve(listener, tls, router, Arc::clone(&shared), stop.clone());
    let gitlab = serve(listener, tls, routes::router(Arc::clone(&shared)));
    let storage = serve(storage, None, routes::storage::router(Arc::clone(&shared)));
    let delayed = start_delayed(Arc::clone(&shared), stop.clone());
    let serving = tokio::spawn(async move {
        tokio::join!(gitlab, storage, delayed);
    });
    Ok(FakeGitlab { shared, runner_token, certificate, serving: Some(serving), stop, _scratch: scratch })
}

/// Starts delayed jobs when their time comes, until told to stop.
async fn start_delayed(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let (now, (due, next)) = shared.read(|world| (world.now(), progress::due(world)));
        if !due.is_empty() {
            shared.write(|world| {
                for id in due {
                    world.play(id);
                }
            });
            continue;
        }
        let changed = shared.wait_until(|world| {
            let (due, other) = progress::due(world);
            (!due.is_empty() || other != next).then_some(())
        });
        let time = async {
            match next.and_then(|next| next.duration_since(now).ok()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed => {}
            () = time => {}
        }
    }
}

/// Copies the repositories, and adds their projects and the one of raw jobs.
async fn add_projects(
    world: &mut World,
    projects: Vec<(String, PathBuf)>,
    variables: &[Variable],
    timeout: u64,
    scratch: &Path,
) -> Result<(), Error> {
    let add = |world: &mut World, id, path: String, default_branch, mirror, source| -> Result<(), Error> {
        let namespace = path.rsplit_once('/').map_or("", |(namespace, _)| namespace);
        let namespace_id = add_groups(world, namespace)?;
        let root = namespace.split('/').next().unwrap_or_default();
        let project = Project {
            id,
            namespace_id,
            root_namespace_id: world.group_by_path(root).map_or(namespace_id, |group| group.id),
            path,
            default_branch,
            mirror,
            source,
            variables: variables.iter().cloned().map(Into::into).collect(),
            timeout,
            created_at: world.now(),
            runners_token: token::random("GR1348941")?,
            default_git_depth: DEFAULT_DEPTH,
            shared_runners_enabled: true,
            separated_caches: true,
            cache_index: 0,
            pending_delete: false,
            job_token_allowlist: Vec::new(),
            triggers: Vec::new(),
            merge_requests: Vec::new(),
        };
        world.projects.insert(id, project);
        Ok(())
    };
    for (path, source) in projects {
        check_path(world, &path)?;
        let id = world.next_id("project");
        let mirror = git::mirror_path(scratch, id);
        let default_branch = git::copy(&source, &mirror).await?;
        add(world, id, path, default_branch, Some(mirror), Some(source))?;
    }
    let id = world.next_id("project");
    add(world, id, RAW_PROJECT.to_owned(), "main".to_owned(), None, None)
}

/// Adds the group of this path and those it is in, unless they are there, and gives its number.
fn add_groups(world: &mut World, path: &str) -> Result<u64, Error> {
    let mut parent = None;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let path = &path[..end];
        let id = match world.group_by_path(path) {
            Some(group) => group.id,
            None => {
                let id = FIRST_GROUP + world.next_id("group");
                let runners_token = token::random("GR1348941")?;
                let group = Group { id, path: path.to_owned(), parent, runners_token, created_at: world.now() };
                world.groups.insert(id, group);
                id
            }
        };
        parent = Some(id);
    }
    Ok(parent.unwrap_or_default())
}

/// Writes the certificate where clients can be pointed at it.
fn keep_certificate(scratch: &Path, pem: &str) -> Result<PathBuf, Error> {
    let path = scratch.join("certificate.pem");
    match std::fs::write(&path, pem) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::File { action: "write", path, source }),
    }
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

//! A job and its runner's configuration to the objects that run it: one Pod and its Secrets. Pure: no I/O, no clock, no
//! randomness; the same input gives the same objects, which is how a create that was sent twice is recognised.
//!
//! Source: GitLab Runner's Kubernetes executor, "pod produced" and "configuration". What differs from it is ours: the helper
//! drives the job from inside, so neither container has a script, a log volume or a variable of the job in its manifest.

mod containers;
mod credentials;
mod environment;
mod images;
mod metadata;
mod network;
mod notes;
mod overwrites;
mod patch;
mod placement;
mod pull_policy;
mod quantity;
mod resources;
mod secrets;
mod security;
mod services;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use runner_core::config::{Kubernetes, Runner};
use runner_core::duration::GoDuration;
use runner_core::flags::Flags;
use runner_core::job::{JobLine, Payload};
use runner_core::variables::Variables;

use crate::cli::{Inject, PodArgs};
pub(crate) use containers::INSTALL;
use environment::EarlySecret;
pub(crate) use images::check_executor_options;
pub(crate) use metadata::is_of_runner;
pub(crate) use notes::Refusal;
use notes::{Note, lines};
use overwrites::Overwrites;
pub(crate) use pull_policy::{PullChoice, PullPolicies};
use resources::{Owner, Resources};
pub(crate) use services::ServicePlan;
use volumes::Volumes;

/// How much longer than its job a pod may live, in seconds.
///
/// The helper ends the job itself. The pod's own deadline is for a helper that does not: it must leave room for pulling the
/// images, which counts, and for the quarter of an hour in which a finished helper waits for its log to be fetched.
const BEYOND_TIMEOUT: u64 = 3600;

/// Where checkouts are, if the runner does not say.
pub(crate) const DEFAULT_BUILDS_DIR: &str = "/builds";

/// Everything the plan depends on.
pub(crate) struct PodInput<'a> {
    /// The job's line; goes into the Secret as it is.
    pub(crate) line: &'a JobLine,
    /// Its payload, read.
    pub(crate) payload: &'a Payload,
    /// Its runner's table, read.
    pub(crate) runner: &'a Runner,
    /// What names and settings may refer to.
    pub(crate) variables: &'a Variables,
    /// The job's feature flags, resolved.
    pub(crate) flags: &'a Flags,
    /// Value of the label that says whose pod it is: [`runner_core::control::LABEL_SYSTEM_ID`].
    pub(crate) owner: &'a str,
    /// 0 for the job's first pod; part of the name from the second on.
    pub(crate) attempt: u32,
    /// Tells the runs of one job line without a folder apart: part of the name, as nothing is adopted there.
    pub(crate) replay: Option<&'a str>,
    /// The pull policy to use for each container.
    pub(crate) policies: &'a PullChoice,
    /// The executor's host name, for the log.
    pub(crate) via: &'a str,
    /// What the command line says of every pod.
    pub(crate) args: &'a PodArgs,
    /// Contents of the files that line and configuration name.
    pub(crate) files: &'a Files,
}

/// Files the plan needs the contents of; whoever makes a plan reads them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// PEM of `tls.ca_file` of the job line.
    pub(crate) ca: Option<String>,
    /// Texts of the files under `pod_spec.patch_path`, by path. Those that are wanted: [`patch_paths`].
    pub(crate) patches: BTreeMap<String, String>,
}

/// The files whose text [`Files::patches`] must hold for a job of `runner`.
pub(crate) fn patch_paths<'a>(runner: &'a Runner, flags: &Flags) -> Vec<&'a str> {
    let patches = runner.kubernetes.as_ref().map(|config| config.pod_spec.as_slice()).unwrap_or_default();
    let wanted = patches.iter().filter(|patch| !patch.patch_path.is_empty() && patch::are_on(flags));
    wanted.map(|patch| patch.patch_path.as_str()).collect()
}

/// What to create.
#[derive(Debug)]
pub(crate) struct PodPlan {
    /// Where.
    pub(crate) namespace: String,
    /// The pod.
    pub(crate) pod: Pod,
    /// The job itself. Made after the pod, with the pod as its owner.
    pub(crate) secret: Secret,
    /// The rest of a job that one Secret cannot hold. Made before `secret`, otherwise like it.
    pub(crate) secret_parts: Vec<Secret>,
    /// What the containers need to start: made before the pod, given to it afterwards.
    pub(crate) early_secrets: Vec<Secret>,
    /// The policies of every container, to go on after a failed pull.
    pub(crate) policies: PullPolicies,
    /// The service containers.
    pub(crate) services: Vec<ServicePlan>,
    /// Lines for the log's section "Preparing the executor", with colours and line ends.
    pub(crate) notes: Vec<String>,
    /// The same for "Preparing environment".
    pub(crate) environment_notes: Vec<String>,
}

/// What the containers are made from.
struct Draft<'a> {
    input: &'a PodInput<'a>,
    config: &'a Kubernetes,
    builds_dir: String,
    cache_dir: String,
    volumes: Volumes,
    resources: Resources,
    pull: PullPolicies,
}

/// Plans the pod of a job.
pub(crate) fn plan(input: &PodInput<'_>) -> Result<PodPlan, Refusal> {
    let mut notes = Vec::new();
    let none = Kubernetes::default();
    let config = input.runner.kubernetes.as_ref().unwrap_or(&none);
    assemble(input, config, &mut notes).map_err(|refusal| Refusal { notes: lines(&notes), ..refusal })
}

fn assemble(input: &PodInput<'_>, config: &Kubernetes, notes: &mut Vec<Note>) -> Result<PodPlan, Refusal> {
    let name = metadata::pod_name(input);
    let overwrites = Overwrites::evaluate(input.payload.id, config, input.variables, notes)?;
    let resources = Resources::evaluate(config, input.variables, notes)?;
    let image = images::build_image(input, config, notes)?;
    let namespace = namespace(&overwrites, notes);
    notes.push(Note::Plain(format!("Using Kubernetes executor with image {image} ...")));
    let services = services::list(input, config, notes)?;
    let pull = pull_policies(input, config, &services)?;
    notes.extend(pull.lines().map(Note::Plain));

    let builds_dir = directory(input, "builds_dir", &input.runner.builds_dir, DEFAULT_BUILDS_DIR)?;
    let cache_dir = directory(input, "cache_dir", &input.runner.cache_dir, "/cache")?;
    let mut job_secrets = secrets::job_secrets(input, &namespace, &name)?;
    let secret_names: Vec<String> = job_secrets.iter().map(ResourceExt::name_any).collect();
    let volumes = Volumes::plan(&config.volumes, input.variables, &secret_names, &builds_dir, &cache_dir, notes)?;
    let draft = Draft { input, config, builds_dir, cache_dir, volumes, resources, pull };
    let mut early = EarlySecret { name: format!("{name}-early"), data: BTreeMap::new() };
    let mut containers = vec![
        containers::helper(&draft, images::helper_image(input, config), notes)?,
        containers::build(&draft, image, notes)?,
    ];
    for (index, service) in services.iter().enumerate() {
        containers.push(services::container(&draft, service, index, &mut early, notes)?);
    }

    let credentials = credentials::of_job(input, config, notes);
    let (deadline, environment_notes) = deadline(input);
    let init = match input.args.inject {
        Inject::Shell => None,
        Inject::InitContainer => Some(vec![containers::install(&draft, images::helper_image(input, config), notes)?]),
    };
    let spec = PodSpec {
        active_deadline_seconds: deadline,
        affinity: placement::affinity(&config.affinity),
        automount_service_account_token: config.automount_service_account_token,
        containers,
        init_containers: init,
        dns_config: config.dns_config.as_ref().map(network::dns_config),
        dns_policy: config.dns_policy.and_then(network::dns_policy),
        host_aliases: network::host_aliases(config, services::host_names(&services)?),
        image_pull_secrets: credentials::pull_secrets(config, credentials.is_some().then_some(&early.name)),
        node_selector: (!overwrites.node_selector.is_empty()).then(|| overwrites.node_selector.clone()),
        priority_class_name: set(&config.priority_class_name),
        resources: draft.resources.of(Owner::Pod),
        restart_policy: Some("Never".to_owned()),
        runtime_class_name: config.runtime_class_name.clone(),
        scheduler_name: set(&config.scheduler_name),
        security_context: security::pod_context(config)?,
        service_account_name: set(&overwrites.service_account),
        termination_grace_period_seconds: config.pod_termination_grace_period_seconds,
        tolerations: placement::tolerations(&overwrites.node_tolerations),
        volumes: Some(draft.volumes.into_list()),
        ..PodSpec::default()
    };
    let spec = patch::patched(spec, input, config, notes)?;
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(namespace.clone()),
        labels: Some(metadata::labels(input, config, &overwrites)),
        annotations: Some(metadata::annotations(input, config, &overwrites)),
        ..ObjectMeta::default()
    };
    Ok(PodPlan {
        pod: Pod { metadata, spec: Some(spec), status: None },
        secret: job_secrets.remove(0),
        secret_parts: job_secrets,
        early_secrets: secrets::early_secret(input, &namespace, early, credentials)?.into_iter().collect(),
        namespace,
        policies: draft.pull,
        services: services.iter().map(ServicePlan::from).collect(),
        notes: lines(notes),
        environment_notes: lines(&environment_notes),
    })
}

fn namespace(overwrites: &Overwrites, notes: &mut Vec<Note>) -> String {
    let mut namespace = overwrites.namespace.as_str();
    if namespace.is_empty() {
        notes.push(Note::Warning("Namespace is empty, therefore assuming 'default'.".to_owned()));
        namespace = "default";
    }
    notes.push(Note::Plain(format!("Using Kubernetes namespace: {namespace}")));
    namespace.to_owned()
}

/// Helper and build follow the policies of the job's image.
fn pull_policies(
    input: &PodInput<'_>,
    config: &Kubernetes,
    services: &[services::Service],
) -> Result<PullPolicies, Refusal> {
    let wanted = input.payload.image.as_ref().map(|image| image.pull_policy.as_slice()).unwrap_or_default();
    let mut pull = PullPolicies::default();
    pull.add(containers::HELPER, wanted, config)?;
    if input.args.inject == Inject::InitContainer {
        pull.add(containers::INSTALL, wanted, config)?;
    }
    pull.add(containers::BUILD, wanted, config)?;
    for service in services {
        pull.add(&service.name, &service.pull_policy, config)?;
    }
    Ok(pull)
}

/// A directory of the configuration, expanded.
fn directory(input: &PodInput<'_>, key: &str, configured: &str, default: &str) -> Result<String, Refusal> {
    let path = input.variables.expand(if configured.is_empty() { default } else { configured });
    if !path.starts_with('/') {
        return Err(Refusal::configuration(format!("the {key} is not configured: {path:?} is not an absolute path")));
    }
    Ok(path)
}

fn deadline(input: &PodInput<'_>) -> (Option<i64>, Vec<Note>) {
    if !input.flags.is_on("FF_USE_POD_ACTIVE_DEADLINE_SECONDS") {
        return (None, Vec::new());
    }
    let duration = |secs: u64| GoDuration::from_secs(i64::try_from(secs).unwrap_or(i64::MAX / 1_000_000_000));
    let timeout = input.payload.timeout_secs();
    let note = format!(
        "Using FF_USE_POD_ACTIVE_DEADLINE_SECONDS, the Pod activeDeadlineSeconds will be set to the job timeout: {} plus {}...",
        duration(timeout),
        duration(BEYOND_TIMEOUT)
    );
    // The API server takes 32 bits.
    let seconds = timeout.saturating_add(BEYOND_TIMEOUT).min(i32::MAX as u64);
    (i64::try_from(seconds).ok(), vec![Note::Plain(note)])
}

fn set(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

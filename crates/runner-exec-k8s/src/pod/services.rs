//! Service containers: which, under which names, with what in them.
//!
//! Source: GitLab Runner's Kubernetes executor, "service container naming" and "host alias names". They share the pod's
//! network, so every name of a service is an entry of `/etc/hosts` that points to the pod itself.

use k8s_openapi::api::core::v1::Container;
use runner_core::config::Kubernetes;
use runner_core::job::{Image, Variable};
use serde_json::Value;

use super::environment::{self, EarlySecret};
use super::images::{check_allowed, untagged};
use super::resources::Owner;
use super::volumes::Role;
use super::{Draft, Note, PodInput, Refusal, containers, security};

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    /// Name of the container.
    pub(super) name: String,
    /// Policies the job asks for.
    pub(super) pull_policy: Vec<String>,
    image: String,
    aliases: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    variables: Vec<Variable>,
    options: Value,
    ports: Vec<Value>,
    is_awaited: bool,
}

/// What the executor has to know of a service while the job runs.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    /// Name of its container.
    pub(crate) container: String,
    /// What its lines in the job's log begin with: image without tag, and aliases.
    pub(crate) label: String,
    /// The job waits until it listens.
    pub(crate) is_awaited: bool,
}

impl From<&Service> for ServicePlan {
    fn from(service: &Service) -> Self {
        let words = std::iter::once(untagged(&service.image).0).chain(service.aliases.iter().map(String::as_str));
        Self {
            container: service.name.clone(),
            label: words.collect::<Vec<_>>().join("-"),
            is_awaited: service.is_awaited,
        }
    }
}

/// The runner's services, then the job's; those without an image are left out.
pub(super) fn list(input: &PodInput<'_>, config: &Kubernetes, notes: &mut Vec<Note>) -> Result<Vec<Service>, Refusal> {
    let mut names = Names { taken: vec![containers::HELPER.to_owned(), containers::BUILD.to_owned()], unnamed: 0 };
    let mut services = Vec::new();
    let configured: Vec<_> = config.services.iter().map(Image::from).collect();
    for (place, wanted) in configured.iter().chain(&input.payload.services).enumerate() {
        let image = input.variables.expand(&wanted.name);
        if image.is_empty() {
            continue;
        }
        if place >= configured.len() {
            check_allowed(&image, "services", &config.allowed_services, &[], notes)?;
        }
        let alias = input.variables.expand(&wanted.alias);
        let aliases: Vec<_> = alias.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        services.push(Service {
            name: names.take(&aliases),
            pull_policy: wanted.pull_policy.clone(),
            image,
            aliases,
            entrypoint: wanted.entrypoint.clone(),
            command: wanted.command.clone(),
            variables: wanted.variables.clone(),
            options: wanted.executor_opts.clone(),
            ports: wanted.ports.clone(),
            is_awaited: wanted.health_check_port().is_some(),
        });
    }
    Ok(services)
}

/// Names of containers that are in use.
struct Names {
    taken: Vec<String>,
    unnamed: usize,
}

impl Names {
    /// The first alias that is free and a DNS label, else `svc-<n>`.
    fn take(&mut self, aliases: &[String]) -> String {
        let free = aliases.iter().find(|alias| is_label(alias) && !self.taken.contains(alias));
        let name = free.cloned().unwrap_or_else(|| {
            let name = (self.unnamed..).map(|n| format!("svc-{n}")).find(|name| !self.taken.contains(name));
            self.unnamed += 1;
            name.unwrap_or_default()
        });
        self.taken.push(name.clone());
        name
    }
}

/// The host names of all services: made from the image, then the declared ones. Services with ports have none.
pub(super) fn host_names(services: &[Service]) -> Result<Vec<String>, Refusal> {
    let mut names: Vec<String> = Vec::new();
    for service in services.iter().filter(|service| service.ports.is_empty()) {
        let path = without_port(untagged(&service.image).0);
        let made = [path.replace('/', "__"), path.replace('/', "-")];
        let declared = service.aliases.iter().map(|alias| match is_subdomain(alias) {
            true => Ok(alias.clone()),
            false => Err(Refusal::system(format!(
                "provided host alias {alias} for service {} is invalid DNS. a lowercase RFC 1123 subdomain must consist of lower \
                 case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
                service.image
            ))),
        });
        for name in made.into_iter().filter(|name| is_subdomain(name)).map(Ok).chain(declared) {
            let name = name?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// The container of service number `index`. What it must not carry itself goes into `secret`.
pub(super) fn container(
    draft: &Draft<'_>,
    service: &Service,
    index: usize,
    secret: &mut EarlySecret,
    notes: &mut Vec<Note>,
) -> Result<Container, Refusal> {
    let (config, variables) = (draft.config, draft.input.variables);
    let own = |key: &str| {
        let found = service.variables.iter().rev().find(|variable| variable.key == key);
        found.map(|variable| variable.value.expose().to_owned()).unwrap_or_default()
    };
    let resources = draft.resources.for_service(config, own, notes)?;
    let section = config.service_container_security_context.as_ref();
    let user = containers::job_user(draft, &service.options);
    let (command, args) = command(&service.entrypoint, &service.command);
    Ok(Container {
        command,
        args,
        env: Some(environment::service_environment(variables, &service.variables, index, secret)),
        ports: containers::ports(&service.ports),
        resources: resources.of(Owner::Service),
        security_context: Some(security::container_context(config, &service.name, section, &user, notes)?),
        ..containers::frame(draft, &service.name, service.image.clone(), Role::Service)
    })
}

/// A container's command and arguments. The entrypoint `[""]` is how jobs say "none"; Kubernetes would try to run it.
fn command(entrypoint: &[String], command: &[String]) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let set = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    match entrypoint {
        [only] if only.is_empty() => (set(command), None),
        _ => (set(entrypoint), set(command)),
    }
}

/// An image's path without the port of its registry.
fn without_port(image: &str) -> String {
    match image.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host.split_once(':').map_or(host, |(host, _)| host)),
        None => image.to_owned(),
    }
}

/// A DNS label, RFC 1123: 1 to 63 of `a-z0-9-`, no `-` at the ends.
fn is_label(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('-') && !name.ends_with('-')
}

/// A DNS subdomain, RFC 1123: labels without a length limit of their own, divided by dots, 253 characters in all.
fn is_subdomain(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(is_plain) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use runner_core::failure::FailureReason;
    use serde_json::json;

    use super::super::tests::Fixture;
    use super::*;

    fn names(services: Value) -> Vec<String> {
        let plan = Fixture::new(json!({"services": services}), json!({})).plan();
        plan.pod.spec.unwrap().containers[2..].iter().map(|container| container.name.clone()).collect()
    }

    #[test]
    fn containers_are_named_by_their_first_free_alias() {
        let service = |alias: &str| json!({"name": "alpine", "alias": alias});
        for (aliases, expected) in [
            (&[""][..], &["svc-0"][..]),
            (&["db"], &["db"]),
            (&["a b", "a,b"], &["a", "b"]),
            (&["db", "db", ""], &["db", "svc-0", "svc-1"]),
            (&["alpine,foo,bar"; 4], &["alpine", "foo", "bar", "svc-0"]),
            (&["svc-0", "", "build", "helper"], &["svc-0", "svc-1", "svc-2", "svc-3"]),
            (&["a.b"], &["svc-0"]),
        ] {
            let services: Vec<_> = aliases.iter().map(|alias| service(alias)).collect();
            assert_eq!(names(json!(services)), expected);
        }
    }

    #[test]
    fn services_of_the_runner_come_first_and_those_without_image_not_at_all() {
        let config =
            json!({"services": [{"name": "$DB:1", "alias": "db", "environment": ["A=b=c"]}, {"name": "$NONE"}]});
        let payload = json!({
            "variables": [{"key": "DB", "value": "postgres", "public": true}],
            "services": [{"name": "redis", "entrypoint": ["/run"], "command": ["x", "y"]}, {"name": "r", "entrypoint": [""], "command": ["z"]}],
        });
        let containers = json!(Fixture::new(payload, config).plan().pod.spec.unwrap().containers);
        assert_eq!(containers[2]["image"], "postgres:1");
        assert_eq!(containers[2]["env"], json!([{"name": "DB", "value": "postgres"}, {"name": "A", "value": "b=c"}]));
        assert_eq!((&containers[3]["command"], &containers[3]["args"]), (&json!(["/run"]), &json!(["x", "y"])));
        assert_eq!((&containers[4]["command"], &containers[4]["args"]), (&json!(["z"]), &json!(null)));
        assert_eq!(containers.as_array().unwrap().len(), 5);
    }

    #[test]
    fn hosts_are_named_after_image_and_aliases() {
        for (services, expected) in [
            (json!([{"name": "postgres:15"}]), json!(["postgres"])),
            (
                json!([{"name": "Registry.example.com:5000/group/img:tag"}, {"name": "registry.example.com:5000/group/img@sha256:00"}]),
                json!(["registry.example.com-group-img"]),
            ),
            (json!([{"name": "a/b", "alias": "db $X,db"}]), json!(["a-b", "db", "db.internal"])),
            (json!([{"name": "a", "ports": [{"number": 80}]}]), json!(null)),
        ] {
            let variables = json!([{"key": "X", "value": "db.internal"}]);
            let plan = Fixture::new(json!({"services": services, "variables": variables}), json!({})).plan();
            let aliases = json!(plan.pod.spec.unwrap().host_aliases);
            assert_eq!(aliases[0]["hostnames"], expected);
            assert!(expected.is_null() || aliases[0]["ip"] == "127.0.0.1");
        }
    }

    #[test]
    fn a_bad_alias_and_a_forbidden_image_are_refused() {
        let services = json!([{"name": "postgres:1", "alias": "my_db"}]);
        let refusal = Fixture::new(json!({"services": services}), json!({})).try_plan().unwrap_err();
        assert!(refusal.message.starts_with("provided host alias my_db for service postgres:1 is invalid DNS. "));
        assert_eq!(refusal.reason, FailureReason::RunnerSystemFailure);

        let config = json!({"allowed_services": ["redis:*"], "services": [{"name": "postgres:1"}]});
        let forbidden =
            Fixture::new(json!({"services": [{"name": "postgres:1"}]}), config.clone()).try_plan().unwrap_err();
        assert_eq!(forbidden.message, "disallowed image");
        Fixture::new(json!({"services": [{"name": "redis:1"}]}), config).plan();
    }

    #[test]
    fn a_service_has_its_own_resources_and_user() {
        let config = json!({
            "service_cpu_limit": "1", "service_memory_limit": "1Gi", "service_memory_limit_overwrite_max_allowed": "4Gi",
        });
        let services = json!([
            {"name": "a", "executor_opts": {"kubernetes": {"user": "70:71"}},
             "variables": [{"key": "KUBERNETES_SERVICE_MEMORY_LIMIT", "value": "2Gi"}]},
            {"name": "b"},
        ]);
        let containers = json!(Fixture::new(json!({"services": services}), config).plan().pod.spec.unwrap().containers);
        assert_eq!(containers[2]["resources"], json!({"limits": {"cpu": "1", "memory": "2Gi"}}));
        assert_eq!(containers[3]["resources"], json!({"limits": {"cpu": "1", "memory": "1Gi"}}));
        assert_eq!(containers[2]["securityContext"]["runAsUser"], 70);
        assert_eq!(containers[2]["securityContext"]["runAsGroup"], 71);
        let mounts = json!([{"name": "repo", "mountPath": "/builds"}]);
        assert_eq!(containers[2]["volumeMounts"], mounts, "nothing of ours is in a service");
    }
}

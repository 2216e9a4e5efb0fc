//! Requests and limits of the containers and of the pod: the runner's, and what jobs may put in their place.
//!
//! Source: GitLab Runner's Kubernetes executor, "resource keys". The rule for a job's variable: without a maximum it is not
//! looked at, above the maximum the job is refused.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use runner_core::config::Kubernetes;
use runner_core::variables::Variables;

use super::quantity::Amount;
use super::{Note, Refusal};

/// Whose resources a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Build,
    Helper,
    /// Each service, if it does not say otherwise itself.
    Service,
    Pod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Limit,
    Request,
}

/// One key of the configuration and the variable that may overwrite it.
struct Row {
    name: &'static str,
    variable: &'static str,
    owner: Owner,
    bound: Bound,
    resource: &'static str,
    value: fn(&Kubernetes) -> &String,
    max: fn(&Kubernetes) -> &String,
}

macro_rules! rows {
    ($($owner:ident $bound:ident $resource:literal $name:literal $variable:literal $key:ident $max:ident;)*) => {
        &[$(Row {
            name: $name,
            variable: $variable,
            owner: Owner::$owner,
            bound: Bound::$bound,
            resource: $resource,
            value: |config| &config.$key,
            max: |config| &config.$max,
        }),*]
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = rows![
    Build Limit "cpu" "CPULimit" "KUBERNETES_CPU_LIMIT" cpu_limit cpu_limit_overwrite_max_allowed;
    Build Request "cpu" "CPURequest" "KUBERNETES_CPU_REQUEST" cpu_request cpu_request_overwrite_max_allowed;
    Build Limit "memory" "MemoryLimit" "KUBERNETES_MEMORY_LIMIT" memory_limit memory_limit_overwrite_max_allowed;
    Build Request "memory" "MemoryRequest" "KUBERNETES_MEMORY_REQUEST" memory_request memory_request_overwrite_max_allowed;
    Build Limit "ephemeral-storage" "EphemeralStorageLimit" "KUBERNETES_EPHEMERAL_STORAGE_LIMIT" ephemeral_storage_limit ephemeral_storage_limit_overwrite_max_allowed;
    Build Request "ephemeral-storage" "EphemeralStorageRequest" "KUBERNETES_EPHEMERAL_STORAGE_REQUEST" ephemeral_storage_request ephemeral_storage_request_overwrite_max_allowed;
    Service Limit "cpu" "ServiceCPULimit" "KUBERNETES_SERVICE_CPU_LIMIT" service_cpu_limit service_cpu_limit_overwrite_max_allowed;
    Service Request "cpu" "ServiceCPURequest" "KUBERNETES_SERVICE_CPU_REQUEST" service_cpu_request service_cpu_request_overwrite_max_allowed;
    Service Limit "memory" "ServiceMemoryLimit" "KUBERNETES_SERVICE_MEMORY_LIMIT" service_memory_limit service_memory_limit_overwrite_max_allowed;
    Service Request "memory" "ServiceMemoryRequest" "KUBERNETES_SERVICE_MEMORY_REQUEST" service_memory_request service_memory_request_overwrite_max_allowed;
    Service Limit "ephemeral-storage" "ServiceEphemeralStorageLimit" "KUBERNETES_SERVICE_EPHEMERAL_STORAGE_LIMIT" service_ephemeral_storage_limit service_ephemeral_storage_limit_overwrite_max_allowed;
    Service Request "ephemeral-storage" "ServiceEphemeralStorageRequest" "KUBERNETES_SERVICE_EPHEMERAL_STORAGE_REQUEST" service_ephemeral_storage_request service_ephemeral_storage_request_overwrite_max_allowed;
    Helper Limit "cpu" "HelperCPULimit" "KUBERNETES_HELPER_CPU_LIMIT" helper_cpu_limit helper_cpu_limit_overwrite_max_allowed;
    Helper Request "cpu" "HelperCPURequest" "KUBERNETES_HELPER_CPU_REQUEST" helper_cpu_request helper_cpu_request_overwrite_max_allowed;
    Helper Limit "memory" "HelperMemoryLimit" "KUBERNETES_HELPER_MEMORY_LIMIT" helper_memory_limit helper_memory_limit_overwrite_max_allowed;
    Helper Request "memory" "HelperMemoryRequest" "KUBERNETES_HELPER_MEMORY_REQUEST" helper_memory_request helper_memory_request_overwrite_max_allowed;
    Helper Limit "ephemeral-storage" "HelperEphemeralStorageLimit" "KUBERNETES_HELPER_EPHEMERAL_STORAGE_LIMIT" helper_ephemeral_storage_limit helper_ephemeral_storage_limit_overwrite_max_allowed;
    Helper Request "ephemeral-storage" "HelperEphemeralStorageRequest" "KUBERNETES_HELPER_EPHEMERAL_STORAGE_REQUEST" helper_ephemeral_storage_request helper_ephemeral_storage_request_overwrite_max_allowed;
    Pod Limit "cpu" "PodCPULimit" "KUBERNETES_POD_CPU_LIMIT" pod_cpu_limit pod_cpu_limit_overwrite_max_allowed;
    Pod Request "cpu" "PodCPURequest" "KUBERNETES_POD_CPU_REQUEST" pod_cpu_request pod_cpu_request_overwrite_max_allowed;
    Pod Limit "memory" "PodMemoryLimit" "KUBERNETES_POD_MEMORY_LIMIT" pod_memory_limit pod_memory_limit_overwrite_max_allowed;
    Pod Request "memory" "PodMemoryRequest" "KUBERNETES_POD_MEMORY_REQUEST" pod_memory_request pod_memory_request_overwrite_max_allowed;
];

/// The resources of every owner after the job's overwrites.
#[derive(Debug)]
pub(super) struct Resources(Vec<String>);

impl Resources {
    /// Takes the runner's values and, where allowed, the job's.
    pub(super) fn evaluate(config: &Kubernetes, variables: &Variables, notes: &mut Vec<Note>) -> Result<Self, Refusal> {
        let values = ROWS.iter().map(|row| {
            let configured = (row.value)(config);
            match overwrite(row, config, &variables.value(row.variable), notes)? {
                Some(value) => Ok(value),
                None if configured.is_empty() => Ok(String::new()),
                None => checked(row, configured).map(|_| configured.clone()),
            }
        });
        Ok(Self(values.collect::<Result<_, _>>()?))
    }

    /// The same, but with the `KUBERNETES_SERVICE_…` variables of one service in force. `variable` looks one up among them.
    pub(super) fn for_service(
        &self,
        config: &Kubernetes,
        variable: impl Fn(&str) -> String,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Refusal> {
        let values = ROWS.iter().zip(&self.0).map(|(row, general)| match row.owner {
            Owner::Service => {
                let own = overwrite(row, config, &variable(row.variable), notes)?;
                Ok(own.unwrap_or_else(|| general.clone()))
            }
            _ => Ok(general.clone()),
        });
        Ok(Self(values.collect::<Result<_, _>>()?))
    }

    /// What goes into the manifest; `None` if nothing is set.
    pub(super) fn of(&self, owner: Owner) -> Option<ResourceRequirements> {
        let pick = |bound| {
            let rows = ROWS.iter().zip(&self.0);
            let set = rows.filter(|(row, value)| row.owner == owner && row.bound == bound && !value.is_empty());
            let map: BTreeMap<_, _> =
                set.map(|(row, value)| (row.resource.to_owned(), Quantity(value.clone()))).collect();
            (!map.is_empty()).then_some(map)
        };
        let (limits, requests) = (pick(Bound::Limit), pick(Bound::Request));
        let made = ResourceRequirements { limits, requests, claims: None };
        (made != ResourceRequirements::default()).then_some(made)
    }
}

/// The job's value, if it has one and may have one.
fn overwrite(row: &Row, config: &Kubernetes, value: &str, notes: &mut Vec<Note>) -> Result<Option<String>, Refusal> {
    let max = (row.max)(config);
    if max.is_empty() || value.is_empty() {
        return Ok(None);
    }
    if checked(row, value)? > checked(row, max)? {
        return Err(Refusal::configuration(format!(
            "the resource {:?} requested {value:?} is higher than limit allowed {max:?}",
            row.name
        )));
    }
    notes.push(Note::Plain(format!("{:?} overwritten with {value:?}", row.name)));
    Ok(Some(value.to_owned()))
}

fn checked(row: &Row, value: &str) -> Result<Amount, Refusal> {
    Amount::parse(value).map_err(|err| Refusal::configuration(format!("the resource {:?}: {err}", row.name)))
}

#[cfg(test)]
mod tests {
    use runner_core::job::Variable;
    use serde_json::json;

    use super::*;

    fn evaluate(config: &Kubernetes, job: &[(&str, &str)]) -> Result<(Resources, Vec<Note>), String> {
        let list = job.iter().map(|&(key, value)| Variable::public(key, value)).collect();
        let mut notes = Vec::new();
        let resources = Resources::evaluate(config, &Variables::new(list, ""), &mut notes);
        resources.map(|resources| (resources, notes)).map_err(|refusal| refusal.message)
    }

    fn config() -> Kubernetes {
        serde_json::from_value(json!({
            "cpu_limit": "1", "cpu_limit_overwrite_max_allowed": "4", "memory_request": "1Gi",
            "service_memory_limit": "1Gi", "service_memory_limit_overwrite_max_allowed": "2Gi", "pod_cpu_request": "3",
        }))
        .unwrap()
    }

    #[test]
    fn the_runners_values_hold_without_overwrites() {
        let (resources, notes) = evaluate(&config(), &[("KUBERNETES_MEMORY_REQUEST", "9Gi")]).unwrap();
        let shown = |owner| serde_json::to_value(resources.of(owner)).unwrap();
        assert_eq!(shown(Owner::Build), json!({"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}}));
        assert_eq!(shown(Owner::Helper), json!(null));
        assert_eq!(shown(Owner::Pod), json!({"requests": {"cpu": "3"}}));
        assert!(notes.is_empty(), "an overwrite without a maximum is not looked at");
    }

    #[test]
    fn a_job_may_ask_for_as_much_as_is_allowed() {
        let (resources, notes) = evaluate(&config(), &[("KUBERNETES_CPU_LIMIT", "4000m")]).unwrap();
        let limits = resources.of(Owner::Build).unwrap().limits.unwrap();
        assert_eq!(limits["cpu"].0, "4000m");
        assert_eq!(notes, [Note::Plain(r#""CPULimit" overwritten with "4000m""#.to_owned())]);
        for (value, message) in [
            ("5", r#"the resource "CPULimit" requested "5" is higher than limit allowed "4""#),
            ("lots", r#"the resource "CPULimit": `lots` is not a quantity like 500m, 2 or 1.5Gi"#),
        ] {
            assert_eq!(evaluate(&config(), &[("KUBERNETES_CPU_LIMIT", value)]).unwrap_err(), message);
        }
        let bad = Kubernetes { helper_cpu_limit: "x".into(), ..Kubernetes::default() };
        assert!(evaluate(&bad, &[]).unwrap_err().starts_with(r#"the resource "HelperCPULimit""#));
    }

    #[test]
    fn a_service_may_have_its_own() {
        let config = Kubernetes { service_cpu_limit: "2".into(), ..config() };
        let (general, mut notes) = evaluate(&config, &[]).unwrap();
        let own = |key: &str| if key == "KUBERNETES_SERVICE_MEMORY_LIMIT" { "2Gi".to_owned() } else { String::new() };
        let resources = general.for_service(&config, own, &mut notes).unwrap();
        let shown = serde_json::to_value(resources.of(Owner::Service)).unwrap();
        assert_eq!(shown, json!({"limits": {"memory": "2Gi", "cpu": "2"}}));
        let most = |_: &str| "3Gi".to_owned();
        assert!(general.for_service(&config, most, &mut notes).is_err());
    }

    #[test]
    fn every_key_of_the_configuration_has_its_row_and_variable() {
        let keys = serde_json::to_value(Kubernetes::default()).unwrap();
        let keys: Vec<_> = keys.as_object().unwrap().keys().filter(|key| key.ends_with("_max_allowed")).collect();
        assert_eq!(keys.len(), ROWS.len());
        for row in ROWS {
            let key = row.variable.strip_prefix("KUBERNETES_").unwrap().to_lowercase();
            assert!(keys.contains(&&format!("{key}_overwrite_max_allowed")), "{key}");
            let value = |text: &str| serde_json::from_value::<Kubernetes>(json!({ text: "7" })).unwrap();
            assert_eq!((row.value)(&value(&key)), "7", "{key}");
            assert_eq!((row.max)(&value(&format!("{key}_overwrite_max_allowed"))), "7", "{key}");
        }
    }
}

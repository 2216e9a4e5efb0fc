//! Names and addresses: the pod's hosts file and its resolver.

use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodDNSConfigOption};
use runner_core::config::Kubernetes;
use runner_core::config::kubernetes::{DnsConfig, DnsPolicy};

/// The names of services, which are in the same pod, then what is configured.
pub(super) fn host_aliases(config: &Kubernetes, services: Vec<String>) -> Option<Vec<HostAlias>> {
    let own = (!services.is_empty()).then(|| HostAlias { ip: "127.0.0.1".to_owned(), hostnames: Some(services) });
    let configured = config
        .host_aliases
        .iter()
        .map(|alias| HostAlias { ip: alias.ip.clone(), hostnames: Some(alias.hostnames.clone()) });
    let list: Vec<_> = own.into_iter().chain(configured).collect();
    (!list.is_empty()).then_some(list)
}

/// As Kubernetes spells it.
pub(super) fn dns_policy(policy: DnsPolicy) -> Option<String> {
    let name = match policy {
        DnsPolicy::Unset => return None,
        DnsPolicy::None => "None",
        DnsPolicy::Default => "Default",
        DnsPolicy::ClusterFirst => "ClusterFirst",
        DnsPolicy::ClusterFirstWithHostNet => "ClusterFirstWithHostNet",
    };
    Some(name.to_owned())
}

/// The resolver's settings.
pub(super) fn dns_config(wanted: &DnsConfig) -> PodDNSConfig {
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let options = wanted
        .options
        .iter()
        .map(|option| PodDNSConfigOption { name: Some(option.name.clone()), value: option.value.clone() });
    PodDNSConfig {
        nameservers: list(&wanted.nameservers),
        searches: list(&wanted.searches),
        options: (!wanted.options.is_empty()).then(|| options.collect()),
    }
}

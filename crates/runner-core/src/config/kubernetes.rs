//! `[runners.kubernetes]`: where and how a job's pod is made. Field names are the keys.
//!
//! Source: GitLab Runner's Kubernetes executor. An empty string, an empty list and 0 mean "not set" wherever the field is not an
//! `Option`. Quantities (`cpu_limit`, …) are Kubernetes quantity texts; regular expressions are unanchored.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values;
use crate::duration::GoDuration;
use crate::secret::Secret;

/// Keys of this table that are understood but change nothing here, with the reason.
///
/// The rest of the table is the executor's to use. Paths are relative to `[runners.kubernetes]`.
pub const NO_EFFECT: &[(&str, &str)] = &[
    ("autoscaler", "pods are kept warm by the executor's own settings"),
    ("cleanup_resources_timeout", "clean-up is repeated until it has succeeded"),
    ("helper_image_autoset_arch_and_os", "the helper image is the one that is set"),
    ("helper_image_flavor", "the helper is one static binary"),
    ("init_permissions_container_security_context", "no init container changes permissions"),
    ("logs_base_dir", "logs are not kept in files of the build container"),
    ("pod_disruption_budget", "disruption budgets are not made yet"),
    ("poll_interval", "pods are watched, not polled"),
    ("resource_availability_check_max_attempts", "what the pod lacks is seen in its events"),
    ("retry_backoff_max", "the executor has its own rules for repeating API calls"),
    ("retry_limit", "the executor has its own rules for repeating API calls"),
    ("retry_limits", "the executor has its own rules for repeating API calls"),
    ("scripts_base_dir", "scripts are not kept in files of the build container"),
    ("suspend_pvc_size", "environments cannot be suspended"),
    ("suspend_pvc_storage_class", "environments cannot be suspended"),
];

/// `[runners.kubernetes]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kubernetes {
    /// API server URL; if set, the connection comes from the keys below, not from the cluster or a kubeconfig.
    pub host: String,
    /// kubeconfig context, used outside a cluster if `host` is empty.
    pub context: String,
    /// Client certificate file.
    pub cert_file: String,
    /// File of its key.
    pub key_file: String,
    /// File of the API server's certificate authorities.
    pub ca_file: String,
    /// Bearer token.
    pub bearer_token: Secret,
    /// Whether the job variable `KUBERNETES_BEARER_TOKEN` may replace it.
    pub bearer_token_overwrite_allowed: bool,

    /// Image of jobs that name none.
    pub image: String,
    /// Namespace of the pods; see [`Kubernetes::namespace`].
    pub namespace: String,
    /// Regular expression for `KUBERNETES_NAMESPACE_OVERWRITE`; empty forbids it.
    pub namespace_overwrite_allowed: String,
    /// A namespace `ci-job-<id>` for each job.
    pub namespace_per_job: bool,

    /// All containers privileged, or not.
    pub privileged: Option<bool>,
    /// `allowPrivilegeEscalation` of all containers.
    pub allow_privilege_escalation: Option<bool>,
    /// Runtime class of the pod.
    pub runtime_class_name: Option<String>,

    /// Patterns of images a job may use; empty allows all.
    pub allowed_images: Vec<String>,
    /// Patterns of service images a job may use; empty allows all.
    pub allowed_services: Vec<String>,
    /// Pull policies a job may ask for; empty means those of `pull_policy`.
    #[serde(deserialize_with = "values::one_or_many")]
    pub allowed_pull_policies: Vec<PullPolicy>,
    /// User ids a job may ask for.
    pub allowed_users: Vec<String>,
    /// Group ids a job may ask for.
    pub allowed_groups: Vec<String>,
    /// Pull policies in the order to try. In the file a string or a list.
    #[serde(deserialize_with = "values::one_or_many")]
    pub pull_policy: Vec<PullPolicy>,

    /// Labels a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Regular expression for `key=value` of `KUBERNETES_NODE_SELECTOR_*`.
    pub node_selector_overwrite_allowed: String,
    /// Taints that are tolerated: `"key=value" = "Effect"`.
    pub node_tolerations: BTreeMap<String, String>,
    /// Regular expression for `KUBERNETES_NODE_TOLERATIONS_*`.
    pub node_tolerations_overwrite_allowed: String,
    /// Affinities.
    pub affinity: Affinity,

    /// Names of pull secrets.
    pub image_pull_secrets: Vec<String>,
    /// Leave pull secrets to the service account.
    pub use_service_account_image_pull_secrets: bool,
    /// Image of the helper container.
    pub helper_image: String,
    /// `alpine`, `ubuntu`, …
    pub helper_image_flavor: String,
    /// Choose the helper image by the node's platform.
    pub helper_image_autoset_arch_and_os: bool,

    /// The pod's `terminationGracePeriodSeconds`.
    pub pod_termination_grace_period_seconds: Option<i64>,
    /// Grace period in the delete calls, in seconds.
    pub cleanup_grace_period_seconds: Option<i64>,
    /// Time for all clean-up of one job; 5 minutes if not set.
    pub cleanup_resources_timeout: Option<GoDuration>,
    /// Seconds between looks at the pod.
    pub poll_interval: i64,
    /// Seconds the pod may take to start; see [`Kubernetes::start_timeout`].
    pub poll_timeout: i64,
    /// How often it is checked that service account and pull secrets exist.
    pub resource_availability_check_max_attempts: i64,
    /// Tries of each API call; see [`Kubernetes::attempts`].
    pub retry_limit: i64,
    /// Longest pause between them in milliseconds; see [`Kubernetes::longest_pause`].
    pub retry_backoff_max: i64,
    /// Tries for errors whose text contains the key.
    pub retry_limits: BTreeMap<String, i64>,

    /// Labels of the pod; values are expanded.
    pub pod_labels: BTreeMap<String, String>,
    /// Regular expression for `KUBERNETES_POD_LABELS_*`.
    pub pod_labels_overwrite_allowed: String,
    /// Annotations of the pod; values are expanded.
    pub pod_annotations: BTreeMap<String, String>,
    /// Regular expression for `KUBERNETES_POD_ANNOTATIONS_*`.
    pub pod_annotations_overwrite_allowed: String,
    /// Scheduler of the pod.
    pub scheduler_name: String,
    /// Service account of the pod.
    pub service_account: String,
    /// Regular expression for `KUBERNETES_SERVICE_ACCOUNT_OVERWRITE`.
    pub service_account_overwrite_allowed: String,
    /// Whether the service account's token is mounted.
    pub automount_service_account_token: Option<bool>,
    /// Priority class of the pod.
    pub priority_class_name: String,

    /// Security context of the pod.
    pub pod_security_context: Option<PodSecurityContext>,
    /// Security context of the init container.
    pub init_permissions_container_security_context: Option<ContainerSecurityContext>,
    /// Security context of the build container.
    pub build_container_security_context: Option<ContainerSecurityContext>,
    /// Security context of the helper container.
    pub helper_container_security_context: Option<ContainerSecurityContext>,
    /// Security context of the service containers.
    pub service_container_security_context: Option<ContainerSecurityContext>,
    /// Capabilities to add, without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, without `CAP_`.
    pub cap_drop: Vec<String>,

    /// Volumes, mounted in all containers.
    pub volumes: Volumes,
    /// Entries of `/etc/hosts`.
    pub host_aliases: Vec<HostAlias>,
    /// Services of every job; before the job's own.
    pub services: Vec<Service>,
    /// DNS policy of the pod.
    pub dns_policy: Option<DnsPolicy>,
    /// DNS settings of the pod.
    pub dns_config: Option<DnsConfig>,
    /// Hooks of build, helper and service containers.
    pub container_lifecycle: Option<ContainerLifecycle>,
    /// Patches of the pod's spec, in order.
    pub pod_spec: Vec<PodSpecPatch>,

    /// Folder before the logs' path.
    pub logs_base_dir: String,
    /// Folder before the scripts' path.
    pub scripts_base_dir: String,
    /// Print the pod's warning events into the job's log; on if not set.
    pub print_pod_warning_events: Option<bool>,
    /// A disruption budget for each pod.
    pub pod_disruption_budget: bool,
    /// Size of the volume of a suspended environment.
    pub suspend_pvc_size: String,
    /// Its storage class.
    pub suspend_pvc_storage_class: String,

    /// CPU limit of the build container.
    pub cpu_limit: String,
    /// Most a job may set `KUBERNETES_CPU_LIMIT` to; empty forbids it.
    pub cpu_limit_overwrite_max_allowed: String,
    /// CPU request of the build container.
    pub cpu_request: String,
    /// Most a job may set `KUBERNETES_CPU_REQUEST` to.
    pub cpu_request_overwrite_max_allowed: String,
    /// Memory limit of the build container.
    pub memory_limit: String,
    /// Most a job may set `KUBERNETES_MEMORY_LIMIT` to.
    pub memory_limit_overwrite_max_allowed: String,
    /// Memory request of the build container.
    pub memory_request: String,
    /// Most a job may set `KUBERNETES_MEMORY_REQUEST` to.
    pub memory_request_overwrite_max_allowed: String,
    /// Ephemeral storage limit of the build container.
    pub ephemeral_storage_limit: String,
    /// Most a job may set `KUBERNETES_EPHEMERAL_STORAGE_LIMIT` to.
    pub ephemeral_storage_limit_overwrite_max_allowed: String,
    /// Ephemeral storage request of the build container.
    pub ephemeral_storage_request: String,
    /// Most a job may set `KUBERNETES_EPHEMERAL_STORAGE_REQUEST` to.
    pub ephemeral_storage_request_overwrite_max_allowed: String,

    /// CPU limit of each service container.
    pub service_cpu_limit: String,
    /// Most a job may set `KUBERNETES_SERVICE_CPU_LIMIT` to.
    pub service_cpu_limit_overwrite_max_allowed: String,
    /// CPU request of each service container.
    pub service_cpu_request: String,
    /// Most a job may set `KUBERNETES_SERVICE_CPU_REQUEST` to.
    pub service_cpu_request_overwrite_max_allowed: String,
    /// Memory limit of each service container.
    pub service_memory_limit: String,
    /// Most a job may set `KUBERNETES_SERVICE_MEMORY_LIMIT` to.
    pub service_memory_limit_overwrite_max_allowed: String,
    /// Memory request of each service container.
    pub service_memory_request: String,
    /// Most a job may set `KUBERNETES_SERVICE_MEMORY_REQUEST` to.
    pub service_memory_request_overwrite_max_allowed: String,
    /// Ephemeral storage limit of each service container.
    pub service_ephemeral_storage_limit: String,
    /// Most a job may set `KUBERNETES_SERVICE_EPHEMERAL_STORAGE_LIMIT` to.
    pub service_ephemeral_storage_limit_overwrite_max_allowed: String,
    /// Ephemeral storage request of each service container.
    pub service_ephemeral_storage_request: String,
    /// Most a job may set `KUBERNETES_SERVICE_EPHEMERAL_STORAGE_REQUEST` to.
    pub service_ephemeral_storage_request_overwrite_max_allowed: String,

    /// CPU limit of the helper container.
    pub helper_cpu_limit: String,
    /// Most a job may set `KUBERNETES_HELPER_CPU_LIMIT` to.
    pub helper_cpu_limit_overwrite_max_allowed: String,
    /// CPU request of the helper container.
    pub helper_cpu_request: String,
    /// Most a job may set `KUBERNETES_HELPER_CPU_REQUEST` to.
    pub helper_cpu_request_overwrite_max_allowed: String,
    /// Memory limit of the helper container.
    pub helper_memory_limit: String,
    /// Most a job may set `KUBERNETES_HELPER_MEMORY_LIMIT` to.
    pub helper_memory_limit_overwrite_max_allowed: String,
    /// Memory request of the helper container.
    pub helper_memory_request: String,
    /// Most a job may set `KUBERNETES_HELPER_MEMORY_REQUEST` to.
    pub helper_memory_request_overwrite_max_allowed: String,
    /// Ephemeral storage limit of the helper container.
    pub helper_ephemeral_storage_limit: String,
    /// Most a job may set `KUBERNETES_HELPER_EPHEMERAL_STORAGE_LIMIT` to.
    pub helper_ephemeral_storage_limit_overwrite_max_allowed: String,
    /// Ephemeral storage request of the helper container.
    pub helper_ephemeral_storage_request: String,
    /// Most a job may set `KUBERNETES_HELPER_EPHEMERAL_STORAGE_REQUEST` to.
    pub helper_ephemeral_storage_request_overwrite_max_allowed: String,

    /// CPU limit of the pod as a whole.
    pub pod_cpu_limit: String,
    /// Most a job may set `KUBERNETES_POD_CPU_LIMIT` to.
    pub pod_cpu_limit_overwrite_max_allowed: String,
    /// CPU request of the pod as a whole.
    pub pod_cpu_request: String,
    /// Most a job may set `KUBERNETES_POD_CPU_REQUEST` to.
    pub pod_cpu_request_overwrite_max_allowed: String,
    /// Memory limit of the pod as a whole.
    pub pod_memory_limit: String,
    /// Most a job may set `KUBERNETES_POD_MEMORY_LIMIT` to.
    pub pod_memory_limit_overwrite_max_allowed: String,
    /// Memory request of the pod as a whole.
    pub pod_memory_request: String,
    /// Most a job may set `KUBERNETES_POD_MEMORY_REQUEST` to.
    pub pod_memory_request_overwrite_max_allowed: String,
}

impl Kubernetes {
    /// The namespace for pods: `default` if none is set.
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }

    /// How long a pod may take to start: `poll_timeout`, 180 s if not set.
    pub fn start_timeout(&self) -> Duration {
        Duration::from_secs(set_or(self.poll_timeout, 180))
    }

    /// Tries of each API call: `retry_limit`, 5 if not set.
    pub fn attempts(&self) -> u64 {
        set_or(self.retry_limit, 5)
    }

    /// Longest pause between two tries: `retry_backoff_max`, 2 s if not set, never below 0.5 s.
    pub fn longest_pause(&self) -> Duration {
        Duration::from_millis(set_or(self.retry_backoff_max, 2000).max(500))
    }
}

/// `value`, or `default` if it is 0 or negative, which in these keys means "not set".
fn set_or(value: i64, default: u64) -> u64 {
    u64::try_from(value).ok().filter(|&v| v > 0).unwrap_or(default)
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// The cluster decides; spelled as an empty string.
    #[serde(rename = "")]
    ClusterDefault,
    /// Before each start.
    Always,
    /// If the node does not have it.
    IfNotPresent,
    /// Not at all: the node must have it.
    Never,
}

/// DNS policy of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsPolicy {
    /// Spelled as an empty string: the cluster's default.
    #[serde(rename = "")]
    Unset,
    /// Only what `dns_config` says.
    None,
    /// The node's.
    Default,
    /// The cluster's first.
    ClusterFirst,
    /// The same for pods on the host's network.
    ClusterFirstWithHostNet,
}

/// `affinity`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Affinity {
    /// Nodes the pod wants.
    pub node_affinity: Option<NodeAffinity>,
    /// Pods it wants to be near.
    pub pod_affinity: Option<PodAffinity>,
    /// Pods it wants to be away from.
    pub pod_anti_affinity: Option<PodAffinity>,
}

/// `affinity.node_affinity`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAffinity {
    /// Must hold.
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    /// Should hold.
    pub preferred_during_scheduling_ignored_during_execution: Vec<PreferredSchedulingTerm>,
}

/// Terms of which one must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSelector {
    /// The terms.
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// A node term and its weight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreferredSchedulingTerm {
    /// 1 to 100.
    pub weight: i32,
    /// The term.
    pub preference: NodeSelectorTerm,
}

/// Requirements that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSelectorTerm {
    /// On labels.
    pub match_expressions: Vec<Requirement>,
    /// On fields.
    pub match_fields: Vec<Requirement>,
}

/// `key`, `operator`, `values`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// Label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    pub operator: String,
    /// Values to compare with.
    pub values: Vec<String>,
}

/// `affinity.pod_affinity` and `affinity.pod_anti_affinity`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodAffinity {
    /// Must hold.
    pub required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
    /// Should hold.
    pub preferred_during_scheduling_ignored_during_execution: Vec<WeightedPodAffinityTerm>,
}

/// A pod term and its weight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightedPodAffinityTerm {
    /// 1 to 100.
    pub weight: i32,
    /// The term.
    pub pod_affinity_term: PodAffinityTerm,
}

/// Which pods are meant, and near in which sense.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodAffinityTerm {
    /// Pods by label.
    pub label_selector: Option<LabelSelector>,
    /// Namespaces of the pods.
    pub namespaces: Vec<String>,
    /// Node label that makes two nodes the same place.
    pub topology_key: String,
    /// Namespaces by label.
    pub namespace_selector: Option<LabelSelector>,
    /// Label keys that must be equal.
    pub match_label_keys: Vec<String>,
    /// Label keys that must differ.
    pub mismatch_label_keys: Vec<String>,
}

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelSelector {
    /// Labels and their values.
    pub match_labels: BTreeMap<String, String>,
    /// Requirements.
    pub match_expressions: Vec<Requirement>,
}

/// `pod_security_context`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSecurityContext {
    /// Group of volumes.
    pub fs_group: Option<i64>,
    /// Group id.
    pub run_as_group: Option<i64>,
    /// Refuse to run as root.
    pub run_as_non_root: Option<bool>,
    /// User id.
    pub run_as_user: Option<i64>,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
    /// SELinux type.
    pub selinux_type: String,
    /// Seccomp profile.
    pub seccomp_profile: Option<SecurityProfile>,
    /// AppArmor profile.
    pub app_armor_profile: Option<SecurityProfile>,
}

/// `build_container_security_context` and its siblings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSecurityContext {
    /// Capabilities; each list that is set replaces the general one.
    pub capabilities: Option<Capabilities>,
    /// Privileged, or not.
    pub privileged: Option<bool>,
    /// User id.
    pub run_as_user: Option<i64>,
    /// Group id.
    pub run_as_group: Option<i64>,
    /// Refuse to run as root.
    pub run_as_non_root: Option<bool>,
    /// Root file system cannot be written.
    pub read_only_root_filesystem: Option<bool>,
    /// Processes may gain privileges.
    pub allow_privilege_escalation: Option<bool>,
    /// SELinux type.
    pub selinux_type: String,
    /// `default` or `unmasked`, in any case.
    pub proc_mount: String,
    /// Seccomp profile.
    pub seccomp_profile: Option<SecurityProfile>,
    /// AppArmor profile.
    pub app_armor_profile: Option<SecurityProfile>,
}

/// `capabilities`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// To add.
    pub add: Vec<String>,
    /// To drop.
    pub drop: Vec<String>,
}

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityProfile {
    /// `RuntimeDefault`, `Localhost` or `Unconfined`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The profile on the node, for `Localhost`.
    pub localhost_profile: String,
}

/// `volumes`, by kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volumes {
    /// Folders of the node.
    pub host_path: Vec<HostPathVolume>,
    /// Persistent volume claims.
    pub pvc: Vec<PvcVolume>,
    /// ConfigMaps.
    pub config_map: Vec<ItemsVolume>,
    /// Secrets.
    pub secret: Vec<ItemsVolume>,
    /// Empty folders.
    pub empty_dir: Vec<EmptyDirVolume>,
    /// Inline CSI volumes.
    pub csi: Vec<CsiVolume>,
    /// NFS exports.
    pub nfs: Vec<NfsVolume>,
}

/// `volumes.host_path`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPathVolume {
    /// Name of the volume.
    pub name: String,
    /// Where it is mounted; expanded.
    pub mount_path: String,
    /// Folder of the volume; expanded.
    pub sub_path: String,
    /// Folder of the node; `mount_path` as written if empty.
    pub host_path: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Mount propagation.
    pub mount_propagation: Option<String>,
}

/// `volumes.pvc`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PvcVolume {
    /// Name of volume and claim; expanded.
    pub name: String,
    /// Where it is mounted; expanded.
    pub mount_path: String,
    /// Folder of the volume; expanded.
    pub sub_path: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Mount propagation.
    pub mount_propagation: Option<String>,
}

/// `volumes.config_map` and `volumes.secret`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemsVolume {
    /// Name of the volume and of the object.
    pub name: String,
    /// Where it is mounted; expanded.
    pub mount_path: String,
    /// Folder of the volume; expanded.
    pub sub_path: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Keys of the object and their file names; empty means all.
    pub items: BTreeMap<String, String>,
}

/// `volumes.empty_dir`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmptyDirVolume {
    /// Name of the volume.
    pub name: String,
    /// Where it is mounted; expanded.
    pub mount_path: String,
    /// Folder of the volume; expanded.
    pub sub_path: String,
    /// `Memory`, or the node's disk if empty.
    pub medium: String,
    /// Quantity; a bad one is ignored with a warning.
    pub size_limit: String,
    /// Mount propagation.
    pub mount_propagation: Option<String>,
}

/// `volumes.csi`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CsiVolume {
    /// Name of the volume.
    pub name: String,
    /// Where it is mounted; expanded.
    pub mount_path: String,
    /// Folder of the volume; expanded.
    pub sub_path: String,
    /// CSI driver.
    pub driver: String,
    /// File system.
    pub fs_type: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Attributes for the driver.
    pub volume_attributes: BTreeMap<String, String>,
}

/// `volumes.nfs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NfsVolume {
    /// Name of the volume.
    pub name: String,
    /// Where it is mounted; expanded.
    pub mount_path: String,
    /// Folder of the volume; expanded.
    #[serde(default)]
    pub sub_path: String,
    /// Host of the export.
    pub server: String,
    /// Path of the export.
    pub path: String,
    /// Cannot be written.
    #[serde(default)]
    pub read_only: bool,
}

/// `host_aliases`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostAlias {
    /// Address.
    pub ip: String,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// `services`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Image; expanded.
    pub name: String,
    /// Host names, divided by blanks or commas; expanded.
    pub alias: String,
    /// Replaces the image's command.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint.
    pub entrypoint: Vec<String>,
    /// `KEY=value` for this container.
    pub environment: Vec<String>,
    /// Keep its data when the environment is suspended.
    pub suspend_data_path: String,
}

/// `dns_config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// Servers.
    pub nameservers: Vec<String>,
    /// Domains to search.
    pub searches: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<DnsOption>,
}

/// One of `dns_config.options`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsOption {
    /// Name, e.g. `ndots`.
    pub name: String,
    /// Value, if it takes one.
    pub value: Option<String>,
}

/// `container_lifecycle`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerLifecycle {
    /// After a container has started.
    pub post_start: Option<LifecycleHandler>,
    /// Before it is stopped.
    pub pre_stop: Option<LifecycleHandler>,
}

/// One of the three is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LifecycleHandler {
    /// Run a command.
    pub exec: Option<ExecAction>,
    /// Make a request.
    pub http_get: Option<HttpGetAction>,
    /// Open a connection.
    pub tcp_socket: Option<TcpSocketAction>,
}

/// `exec` of a lifecycle hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecAction {
    /// argv.
    pub command: Vec<String>,
}

/// `http_get` of a lifecycle hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpGetAction {
    /// Host; the pod's address if empty.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path.
    pub path: String,
    /// `HTTP` or `HTTPS`.
    pub scheme: String,
    /// Headers.
    pub http_headers: Vec<HttpHeader>,
}

/// One of `http_headers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// `tcp_socket` of a lifecycle hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpSocketAction {
    /// Host; the pod's address if empty.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// One of `pod_spec`. Exactly one of `patch` and `patch_path` is used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSpecPatch {
    /// Name, for messages.
    pub name: String,
    /// File with the patch, read for each job.
    pub patch_path: String,
    /// The patch: YAML or JSON.
    pub patch: String,
    /// How it is applied.
    pub patch_type: PatchType,
}

/// How a patch is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchType {
    /// Strategic merge patch.
    #[default]
    #[serde(alias = "")]
    Strategic,
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

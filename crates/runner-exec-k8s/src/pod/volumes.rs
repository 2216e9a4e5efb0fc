//! The pod's volumes and where they are mounted.
//!
//! Ours stay with helper and build; the checkout and what the runner's configuration adds are in all containers, so services
//! see them too. Source: GitLab Runner's Kubernetes executor, "volumes".

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource,
    HostPathVolumeSource, KeyToPath, NFSVolumeSource, ObjectFieldSelector, PersistentVolumeClaimVolumeSource,
    ProjectedVolumeSource, SecretProjection, SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use runner_core::config::kubernetes as config;
use runner_core::control;
use runner_core::variables::Variables;

use super::quantity::Amount;
use super::{Note, Refusal};

/// Where the Secret with the job is; helper only.
pub(super) const JOB: &str = "/runner-tools/job";
/// Where the pod's annotations are; helper only.
pub(super) const CONTROL: &str = "/runner-tools/control";
/// Where helper and build meet: the binary and its socket.
pub(super) const SHARE: &str = "/runner-tools/share";
/// Where the helper keeps the log it prints; helper only.
pub(super) const SPOOL: &str = "/runner-tools/spool";

/// Name of the volume for caches.
const CACHE: &str = "runner-tools-cache";

/// Which containers of a kind mount the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Helper,
    Build,
    Service,
    /// The init container that brings the helper's program.
    Install,
}

/// The volumes of one pod.
#[derive(Debug)]
pub(super) struct Volumes {
    list: Vec<Volume>,
    /// In all containers: the checkout, then what is configured.
    everywhere: Vec<VolumeMount>,
    /// In the helper alone: a place for caches, where none is configured. It ends with the pod.
    cache: Option<VolumeMount>,
}

impl Volumes {
    /// `secrets` are the names of the job's Secrets; the folders are expanded paths.
    pub(super) fn plan(
        wanted: &config::Volumes,
        variables: &Variables,
        secrets: &[String],
        builds_dir: &str,
        cache_dir: &str,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Refusal> {
        let mut configured = Configured { variables, found: Vec::new(), mounts: Vec::new() };
        configured.read(wanted, notes)?;
        let Configured { found, mut mounts, .. } = configured;
        let mut list = own_volumes(secrets);
        let has_cache = mounts.iter().any(|mount| Path::new(cache_dir).starts_with(&mount.mount_path));
        let cache = (!has_cache).then(|| mount(CACHE, cache_dir));
        list.extend(cache.is_some().then(|| empty_dir(CACHE)));
        if !mounts.iter().any(|mount| same_path(&mount.mount_path, builds_dir)) {
            mounts.insert(0, mount("repo", builds_dir));
            list.push(empty_dir("repo"));
        }
        for volume in found {
            match list.iter().find(|known| known.name == volume.name) {
                None => list.push(volume),
                Some(known) if *known == volume => {}
                Some(_) => {
                    return Err(Refusal::configuration(format!(
                        "volume {:?} is declared twice with different sources",
                        volume.name
                    )));
                }
            }
        }
        Ok(Self { list, everywhere: mounts, cache })
    }

    /// What a container of `role` mounts.
    pub(super) fn mounts(&self, role: Role) -> Vec<VolumeMount> {
        let own = match role {
            Role::Helper => vec![
                VolumeMount { read_only: Some(true), ..mount("runner-tools-job", JOB) },
                VolumeMount { read_only: Some(true), ..mount("runner-tools-control", CONTROL) },
                mount("runner-tools-share", SHARE),
                mount("runner-tools-spool", SPOOL),
            ],
            Role::Build | Role::Install => vec![mount("runner-tools-share", SHARE)],
            Role::Service => vec![],
        };
        let cache = self.cache.iter().filter(|_| role == Role::Helper);
        own.into_iter().chain(self.everywhere.iter().chain(cache).cloned()).collect()
    }

    /// For the pod's specification.
    pub(super) fn into_list(self) -> Vec<Volume> {
        self.list
    }
}

/// The volume with the job, from one Secret or from several.
///
/// The pod is made before its Secrets, so they are optional. Readable by all, because the helper need not be root; the volume is
/// in no other container.
fn job_volume(secrets: &[String]) -> Volume {
    const MODE: Option<i32> = Some(0o444);
    if let [secret] = secrets {
        let source = SecretVolumeSource {
            secret_name: Some(secret.clone()),
            optional: Some(true),
            default_mode: MODE,
            ..SecretVolumeSource::default()
        };
        return Volume { secret: Some(source), ..named("runner-tools-job") };
    }
    let part = |name: &String| VolumeProjection {
        secret: Some(SecretProjection { name: name.clone(), optional: Some(true), items: None }),
        ..VolumeProjection::default()
    };
    let sources = Some(secrets.iter().map(part).collect());
    let source = ProjectedVolumeSource { default_mode: MODE, sources, ..ProjectedVolumeSource::default() };
    Volume { projected: Some(source), ..named("runner-tools-job") }
}

fn own_volumes(secrets: &[String]) -> Vec<Volume> {
    let annotations = DownwardAPIVolumeFile {
        path: control::ANNOTATIONS_FILE.to_owned(),
        field_ref: Some(ObjectFieldSelector { field_path: "metadata.annotations".to_owned(), api_version: None }),
        ..DownwardAPIVolumeFile::default()
    };
    let control = DownwardAPIVolumeSource { items: Some(vec![annotations]), ..DownwardAPIVolumeSource::default() };
    vec![
        job_volume(secrets),
        Volume { downward_api: Some(control), ..named("runner-tools-control") },
        empty_dir("runner-tools-share"),
        empty_dir("runner-tools-spool"),
    ]
}

/// Collects what the configuration asks for.
struct Configured<'a> {
    variables: &'a Variables,
    found: Vec<Volume>,
    mounts: Vec<VolumeMount>,
}

impl Configured<'_> {
    fn read(&mut self, wanted: &config::Volumes, notes: &mut Vec<Note>) -> Result<(), Refusal> {
        for v in &wanted.host_path {
            let path = if v.host_path.is_empty() { &v.mount_path } else { &v.host_path };
            let source = HostPathVolumeSource { path: path.clone(), type_: None };
            self.add(
                Volume { host_path: Some(source), ..named(&v.name) },
                At(&v.mount_path, &v.sub_path, v.read_only, v.mount_propagation.as_deref()),
            )?;
        }
        for v in &wanted.pvc {
            let name = self.variables.expand(&v.name);
            let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: None };
            self.add(
                Volume { persistent_volume_claim: Some(source), ..named(&name) },
                At(&v.mount_path, &v.sub_path, v.read_only, v.mount_propagation.as_deref()),
            )?;
        }
        for v in &wanted.config_map {
            let source = ConfigMapVolumeSource { name: v.name.clone(), items: items(v), ..Default::default() };
            self.add(
                Volume { config_map: Some(source), ..named(&v.name) },
                At(&v.mount_path, &v.sub_path, v.read_only, None),
            )?;
        }
        for v in &wanted.secret {
            let source =
                SecretVolumeSource { secret_name: Some(v.name.clone()), items: items(v), ..Default::default() };
            self.add(
                Volume { secret: Some(source), ..named(&v.name) },
                At(&v.mount_path, &v.sub_path, v.read_only, None),
            )?;
        }
        for v in &wanted.empty_dir {
            let medium = (!v.medium.is_empty()).then(|| v.medium.clone());
            let source = EmptyDirVolumeSource { medium, size_limit: size_limit(v, notes), mode: None };
            self.add(
                Volume { empty_dir: Some(source), ..named(&v.name) },
                At(&v.mount_path, &v.sub_path, false, v.mount_propagation.as_deref()),
            )?;
        }
        for v in &wanted.csi {
            let source = CSIVolumeSource {
                driver: v.driver.clone(),
                fs_type: (!v.fs_type.is_empty()).then(|| v.fs_type.clone()),
                read_only: v.read_only.then_some(true),
                volume_attributes: (!v.volume_attributes.is_empty()).then(|| v.volume_attributes.clone()),
                node_publish_secret_ref: None,
            };
            self.add(
                Volume { csi: Some(source), ..named(&v.name) },
                At(&v.mount_path, &v.sub_path, v.read_only, None),
            )?;
        }
        for v in &wanted.nfs {
            let read_only = v.read_only.then_some(true);
            let source = NFSVolumeSource { path: v.path.clone(), server: v.server.clone(), read_only };
            self.add(
                Volume { nfs: Some(source), ..named(&v.name) },
                At(&v.mount_path, &v.sub_path, v.read_only, None),
            )?;
        }
        Ok(())
    }

    fn add(&mut self, volume: Volume, at: At<'_>) -> Result<(), Refusal> {
        let At(path, sub_path, read_only, propagation) = at;
        let mount_path = self.variables.expand(path);
        let sub_path = self.variables.expand(sub_path);
        if !mount_path.starts_with('/') {
            let message = format!("volume {:?}: mount_path {mount_path:?} is not an absolute path", volume.name);
            return Err(Refusal::configuration(message));
        }
        self.mounts.push(VolumeMount {
            name: volume.name.clone(),
            mount_path,
            sub_path: (!sub_path.is_empty()).then_some(sub_path),
            read_only: read_only.then_some(true),
            mount_propagation: propagation.filter(|text| !text.is_empty()).map(str::to_owned),
            ..VolumeMount::default()
        });
        self.found.push(volume);
        Ok(())
    }
}

/// Mount path, sub path, read only, mount propagation.
struct At<'a>(&'a str, &'a str, bool, Option<&'a str>);

fn items(volume: &config::ItemsVolume) -> Option<Vec<KeyToPath>> {
    let map: &BTreeMap<String, String> = &volume.items;
    let item =
        |(key, path): (&String, &String)| KeyToPath { key: key.clone(), path: path.clone(), ..KeyToPath::default() };
    (!map.is_empty()).then(|| map.iter().map(item).collect())
}

fn size_limit(volume: &config::EmptyDirVolume, notes: &mut Vec<Note>) -> Option<Quantity> {
    let text = volume.size_limit.trim();
    if text.is_empty() {
        return None;
    }
    match Amount::parse(text) {
        Ok(_) => Some(Quantity(text.to_owned())),
        Err(err) => {
            notes.push(Note::Warning(format!(
                "invalid limit quantity of empty dir volume {:?}: {err}; it has no limit",
                volume.name
            )));
            None
        }
    }
}

fn named(name: &str) -> Volume {
    Volume { name: name.to_owned(), ..Volume::default() }
}

fn empty_dir(name: &str) -> Volume {
    Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..named(name) }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(volumes: serde_json::Value) -> (Result<Volumes, String>, Vec<Note>) {
        let wanted = serde_json::from_value(volumes).unwrap();
        let list = vec![runner_core::job::Variable::public("DIR", "/builds")];
        let mut notes = Vec::new();
        let volumes =
            Volumes::plan(&wanted, &Variables::new(list, ""), &["pod".to_owned()], "/builds", "/cache", &mut notes);
        (volumes.map_err(|refusal| refusal.message), notes)
    }

    #[test]
    fn every_kind_of_volume_is_mounted_in_all_containers() {
        let (volumes, notes) = plan(json!({
            "host_path": [{"name": "h", "mount_path": "/h", "sub_path": "$DIR", "read_only": true, "mount_propagation": "HostToContainer"}],
            "pvc": [{"name": "p", "mount_path": "/p1"}, {"name": "p", "mount_path": "/p2", "sub_path": "x"}],
            "config_map": [{"name": "c", "mount_path": "/c", "items": {"key": "path"}}],
            "secret": [{"name": "s", "mount_path": "/s", "read_only": true}],
            "empty_dir": [{"name": "e", "mount_path": "/e", "medium": "Memory", "size_limit": "1G"}],
            "csi": [{"name": "i", "mount_path": "/i", "driver": "d.io", "fs_type": "ext4", "volume_attributes": {"a": "b"}}],
            "nfs": [{"name": "n", "mount_path": "/n", "server": "srv", "path": "/export"}],
        }));
        let volumes = volumes.unwrap();
        assert!(notes.is_empty());
        let service = json!(volumes.mounts(Role::Service));
        assert_eq!(
            service,
            json!([
                {"name": "repo", "mountPath": "/builds"},
                {"name": "h", "mountPath": "/h", "subPath": "/builds", "readOnly": true, "mountPropagation": "HostToContainer"},
                {"name": "p", "mountPath": "/p1"}, {"name": "p", "mountPath": "/p2", "subPath": "x"},
                {"name": "c", "mountPath": "/c"}, {"name": "s", "mountPath": "/s", "readOnly": true},
                {"name": "e", "mountPath": "/e"}, {"name": "i", "mountPath": "/i"}, {"name": "n", "mountPath": "/n"},
            ])
        );
        let build = volumes.mounts(Role::Build);
        assert_eq!(json!(build[1..]), service);
        assert_eq!(build[0].mount_path, SHARE);
        let helper = volumes.mounts(Role::Helper);
        assert_eq!(json!(helper[4..helper.len() - 1]), service);
        assert_eq!(helper[helper.len() - 1].mount_path, "/cache");
        assert_eq!(
            json!(volumes.into_list()[5..]),
            json!([
                {"name": "repo", "emptyDir": {}},
                {"name": "h", "hostPath": {"path": "/h"}},
                {"name": "p", "persistentVolumeClaim": {"claimName": "p"}},
                {"name": "c", "configMap": {"name": "c", "items": [{"key": "key", "path": "path"}]}},
                {"name": "s", "secret": {"secretName": "s"}},
                {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1G"}},
                {"name": "i", "csi": {"driver": "d.io", "fsType": "ext4", "volumeAttributes": {"a": "b"}}},
                {"name": "n", "nfs": {"server": "srv", "path": "/export"}},
            ])
        );
    }

    #[test]
    fn a_volume_at_the_builds_directory_takes_the_place_of_ours() {
        for volumes in [
            json!({"host_path": [{"name": "b", "mount_path": "$DIR/", "host_path": "/data"}]}),
            json!({"empty_dir": [{"name": "repo", "mount_path": "/builds", "medium": "Memory"}]}),
        ] {
            let volumes = plan(volumes).0.unwrap();
            assert_eq!(volumes.mounts(Role::Service).len(), 1);
            assert_eq!(volumes.into_list().len(), 6);
        }
        let below = json!({"host_path": [{"name": "b", "mount_path": "/builds/x"}]});
        assert_eq!(plan(below).0.unwrap().mounts(Role::Service).len(), 2);
    }

    #[test]
    fn a_volume_at_or_above_the_cache_directory_takes_the_place_of_ours() {
        for (path, own) in [("/cache", false), ("/cache/", false), ("/cache/x", true), ("/c", true)] {
            let volumes = plan(json!({"host_path": [{"name": "b", "mount_path": path}]})).0.unwrap();
            let helper = volumes.mounts(Role::Helper);
            assert_eq!(helper.iter().any(|mount| mount.name == CACHE), own, "{path}");
        }
    }

    #[test]
    fn a_bad_size_limit_is_ignored_with_a_warning() {
        for (limit, warned) in [("", false), ("  ", false), ("1G", false), ("lots", true)] {
            let (volumes, notes) = plan(json!({"empty_dir": [{"name": "e", "mount_path": "/e", "size_limit": limit}]}));
            volumes.unwrap();
            let shown: Vec<_> = notes.iter().map(Note::text).collect();
            assert_eq!(shown.iter().any(|text| text.contains("invalid limit quantity")), warned, "{limit}");
        }
    }

    #[test]
    fn volumes_that_cannot_be_are_refused() {
        for (volumes, message) in [
            (
                json!({"empty_dir": [{"name": "x", "mount_path": "/a"}], "secret": [{"name": "x", "mount_path": "/b"}]}),
                "volume \"x\" is declared twice with different sources",
            ),
            (
                json!({"empty_dir": [{"name": "repo", "mount_path": "/a", "medium": "Memory"}]}),
                "volume \"repo\" is declared twice",
            ),
            (
                json!({"empty_dir": [{"name": "x", "mount_path": "$NONE"}]}),
                "volume \"x\": mount_path \"\" is not an absolute path",
            ),
        ] {
            let refusal = plan(volumes).0.unwrap_err();
            assert!(refusal.starts_with(message), "{refusal}");
        }
    }
}

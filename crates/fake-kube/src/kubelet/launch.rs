//! From a container's spec to a program: command, environment, folders.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::expand::expand;
use super::process::Program;
use super::rewrite::Mounts;
use super::sources::{self, Data};
use super::volumes::Volumes;
use crate::config::Config;
use crate::json::{flag, list, text};
use crate::resource::{CONFIGMAPS, Resource, SECRETS};
use crate::store::Store;

/// Why a container cannot be created now: the reason and message it waits with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Where one container keeps its own things.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    folder: PathBuf,
}

impl Home {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file that stands for `terminationMessagePath`.
    pub(crate) fn termination_message(&self) -> PathBuf {
        self.folder.join("termination-log")
    }

    fn make(&self, name: &str) -> Result<PathBuf, Refusal> {
        let folder = self.folder.join(name.trim_start_matches('/'));
        fs::create_dir_all(&folder).map_err(|error| Refusal {
            reason: "CreateContainerError",
            message: format!("{}: {error}", folder.display()),
        })?;
        Ok(folder)
    }
}

/// Everything known when a container is started.
pub(crate) struct Launch<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: &'a Store,
    pub(crate) pod: &'a Value,
    pub(crate) container: &'a Value,
    pub(crate) volumes: &'a Volumes,
    pub(crate) home: &'a Home,
    /// The pod's folder.
    pub(crate) folder: &'a Path,
}

impl Launch<'_> {
    /// Makes the container's folders and says what to run.
    pub(crate) fn program(&self) -> Result<Program, Refusal> {
        let mounts = self.mounts()?;
        let env = self.declared_env()?;
        let lookup = |name: &str| {
            let found = env.iter().rev().find(|(n, _)| n == name);
            found.map(|(_, value)| value.clone())
        };
        let argv = self.argv();
        let argv = argv.iter().map(|word| mounts.rewrite(&expand(word, lookup))).collect();
        let work = self.home.make("work")?;
        let cwd = match text(self.container, "/workingDir") {
            "" => work,
            path => {
                let folder = mounts.rewrite(path);
                if folder == path {
                    self.home.make(&format!("root{path}"))?
                } else {
                    let _ = fs::create_dir_all(&folder); // if it cannot be, the start says so
                    folder.into()
                }
            }
        };
        let env = self.environment(&env, &mounts)?;
        Ok(Program { argv, env, cwd, mounts, folder: self.folder.to_owned() })
    }

    fn mounts(&self) -> Result<Mounts, Refusal> {
        self.home.make("")?;
        let message = self.home.termination_message();
        let _ = fs::write(&message, ""); // a container that cannot write it has no message
        let pairs = self.volumes.mounts(self.pod, self.container);
        let mut pairs = pairs.map_err(|error| Refusal {
            reason: "CreateContainerConfigError",
            message: format!("failed to prepare subPath for volumeMount: {error}"),
        })?;
        pairs.push((text(self.container, "/terminationMessagePath").to_owned(), message));
        let utf8 = |path: PathBuf| path.to_string_lossy().into_owned();
        Ok(Mounts::new(pairs.into_iter().map(|(path, folder)| (path, utf8(folder)))))
    }

    /// `command` replaces the image's entrypoint; without both, args are the command.
    fn argv(&self) -> Vec<String> {
        let words = |pointer| {
            let words = list(self.container, pointer).iter().filter_map(Value::as_str);
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut argv = words("/command");
        if argv.is_empty() {
            argv = self.config.image_command(text(self.container, "/image"));
        }
        argv.extend(words("/args"));
        if argv.is_empty() {
            argv.push("sh".to_owned());
        }
        argv
    }

    /// The container's own variables, before mount paths are replaced.
    fn declared_env(&self) -> Result<Vec<(String, String)>, Refusal> {
        let mut env = self.imported_env()?;
        for entry in list(self.container, "/env") {
            let value = if let Some(source) = entry.get("valueFrom") {
                match self.value_from(source)? {
                    Some(value) => value,
                    None => continue,
                }
            } else {
                expand(text(entry, "/value"), |name| env.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
            };
            env.push((text(entry, "/name").to_owned(), value));
        }
        Ok(env)
    }

    fn imported_env(&self) -> Result<Vec<(String, String)>, Refusal> {
        let mut env = Vec::new();
        for source in list(self.container, "/envFrom") {
            let prefix = text(source, "/prefix");
            for (kind, resource) in [("secretRef", &SECRETS), ("configMapRef", &CONFIGMAPS)] {
                let Some(reference) = source.get(kind) else {
                    continue;
                };
                let data = self.data(resource, reference)?.unwrap_or_default();
                let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
                // Binary entries of a config map are for volumes only.
                let data = data.into_iter().filter(|(_, value)| !value.contains(&0));
                env.extend(data.map(|(k, v)| (format!("{prefix}{k}"), text(v))));
            }
        }
        Ok(env)
    }

    fn value_from(&self, source: &Value) -> Result<Option<String>, Refusal> {
        if let Some(path) = source.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
            return Ok(sources::field(self.pod, path));
        }
        if let Some(name) = source.pointer("/resourceFieldRef/resource").and_then(Value::as_str) {
            return Ok(Some(sources::resource_field(name).to_owned()));
        }
        for (kind, resource) in [("secretKeyRef", &SECRETS), ("configMapKeyRef", &CONFIGMAPS)] {
            let Some(reference) = source.get(kind) else {
                continue;
            };
            let Some(data) = self.data(resource, reference)? else {
                return Ok(None);
            };
            let key = text(reference, "/key");
            if let Some((_, value)) = data.into_iter().find(|(name, _)| name == key) {
                return Ok(Some(String::from_utf8_lossy(&value).into_owned()));
            }
            if !flag(reference, "/optional") {
                let (namespace, name) = (text(self.pod, "/metadata/namespace"), text(reference, "/name"));
                return Err(config_error(format!("couldn't find key {key} in {} {namespace}/{name}", resource.kind)));
            }
        }
        Ok(None)
    }

    fn data(&self, resource: &'static Resource, reference: &Value) -> Result<Option<Data>, Refusal> {
        let (namespace, name) = (text(self.pod, "/metadata/namespace"), text(reference, "/name"));
        let data = sources::data(self.store, resource, namespace, name);
        if data.is_none() && !flag(reference, "/optional") {
            let kind = resource.kind.to_lowercase();
            return Err(config_error(format!("{kind} \"{name}\" not found")));
        }
        Ok(data)
    }

    /// What the process gets: a home of its own, the server's `PATH` behind the configured folders,
    /// nothing else of the server's environment, and what the container declares.
    fn environment(&self, declared: &[(String, String)], mounts: &Mounts) -> Result<Vec<(String, String)>, Refusal> {
        let utf8 = |path: &Path| path.to_string_lossy().into_owned();
        let mut env = vec![
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
            ("HOSTNAME".to_owned(), text(self.pod, "/metadata/name").to_owned()),
            ("HOME".to_owned(), utf8(&self.home.make("home")?)),
            ("TMPDIR".to_owned(), utf8(&self.home.make("tmp")?)),
        ];
        for (name, value) in declared {
            env.retain(|(n, _)| n != name);
            env.push((name.clone(), mounts.rewrite(value)));
        }
        for (_, path) in env.iter_mut().filter(|(name, _)| name == "PATH") {
            let dirs = self.config.bin_dirs.iter().map(|dir| utf8(dir));
            *path = dirs.chain([path.clone()]).collect::<Vec<_>>().join(":");
        }
        Ok(env)
    }
}

fn config_error(message: String) -> Refusal {
    Refusal { reason: "CreateContainerConfigError", message }
}

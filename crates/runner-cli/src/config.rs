//! `config.toml` on the disk: where it lies, reading it, saying which of its keys have no effect.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use runner_core::config::Config;

use crate::exit::{Exit, Fail};

/// Flag of the tools that use `config.toml`.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// Configuration [default: /etc/gitlab-runner/config.toml for root, else ~/.gitlab-runner/config.toml]
    #[arg(short = 'c', long = "config", global = true, env = "CONFIG_FILE", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// The path that was given, or GitLab Runner's default.
    pub fn path(&self) -> PathBuf {
        if let Some(path) = self.config.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            return path.clone();
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        match home {
            Some(home) if !rustix::process::geteuid().is_root() => home.join(".gitlab-runner/config.toml"),
            _ => PathBuf::from("/etc/gitlab-runner/config.toml"),
        }
    }
}

/// Reads and parses the file. Errors name the file; they make the tool exit with [`Exit::Config`].
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string()).exit(Exit::Config)?;
    parse(path, &text)
}

/// Parses `text`, the content of `path`; logs the keys that have no effect.
pub fn parse(path: &Path, text: &str) -> anyhow::Result<Config> {
    let parsed = Config::parse(text, |name| std::env::var(name).ok());
    let (config, unused) = parsed.with_context(|| path.display().to_string()).exit(Exit::Config)?;
    for key in unused {
        match key.reason {
            Some(reason) => tracing::warn!("{}: `{}` has no effect: {reason}", path.display(), key.path),
            None => tracing::debug!("{}: `{}` is not known", path.display(), key.path),
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let load = || load(&path).map_err(|err| (format!("{err:#}"), Exit::of(&err)));
        let name = path.display();
        assert_eq!(load().unwrap_err(), (format!("{name}: No such file or directory (os error 2)"), Exit::Config));
        std::fs::write(&path, "concurrent = 2\n[[runners]]\ntoken = glrt-SECRET\n").unwrap();
        let (text, exit) = load().unwrap_err();
        assert!(text.starts_with(&format!("{name}: line 3, column 9: ")) && !text.contains("SECRET"), "{text}");
        assert_eq!(exit, Exit::Config);
        std::fs::write(&path, "concurrent = 2\n").unwrap();
        assert_eq!(load().unwrap().concurrent, 2);
    }
}

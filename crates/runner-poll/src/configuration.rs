//! The configuration in use: read at the start, and again when its file has changed or on HUP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use runner_cli::exit::{Exit, Fail, failure};
use runner_cli::watch::{Watch, Watcher};
use runner_core::config::{Config, ConfigError};

use crate::source::Source;

/// What the loop needs of `config.toml`.
pub(crate) struct Configuration {
    path: PathBuf,
    text: String,
    /// Jobs at one time.
    pub(crate) concurrent: usize,
    /// Time between two requests of a runner that gets nothing.
    pub(crate) check_interval: Duration,
    /// Where the metrics are served, as it was at the start.
    pub(crate) listen_address: String,
    /// The runners that can be asked, in the order of the file.
    pub(crate) sources: Vec<Arc<Source>>,
    watches: Vec<Watch>,
}

/// What came of reading the file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reread {
    /// It says what it said before.
    Same,
    /// There is something new, and it was taken over.
    New,
    /// It cannot be used.
    Unusable,
}

impl Configuration {
    /// Reads the file for the first time: nothing to run is an error.
    pub(crate) fn load(path: PathBuf, watcher: &Watcher) -> anyhow::Result<Self> {
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(named).exit(Exit::Config)?;
        let config = runner_cli::config::parse(&path, &text)?;
        let sources = sources(&path, &config, &[]).with_context(named).exit(Exit::Config)?;
        if sources.is_empty() {
            return Err(failure(Exit::Config, anyhow::anyhow!("{}: no runner can be used", named())));
        }
        let watches = watches(&path, watcher);
        Ok(Self {
            text,
            concurrent: config.concurrent as usize,
            check_interval: config.check_interval(),
            listen_address: config.listen_address,
            sources,
            watches,
            path,
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when something has changed in the folder of the file.
    pub(crate) async fn changed(&self) {
        let mut waits: Vec<_> = self.watches.iter().map(|watch| Box::pin(watch.changed())).collect();
        std::future::poll_fn(|cx| match waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    }

    /// Reads the file again if its text is new, or if `forced`. A file that cannot be used leaves everything as it is.
    pub(crate) fn reload(&mut self, forced: bool) -> Reread {
        self.read_again(forced).unwrap_or_else(|err| {
            tracing::error!("{err:#}; going on with the configuration from before");
            Reread::Unusable
        })
    }

    fn read_again(&mut self, forced: bool) -> anyhow::Result<Reread> {
        let named = || self.path.display().to_string();
        let text = std::fs::read_to_string(&self.path).with_context(named)?;
        if text == self.text && !forced {
            return Ok(Reread::Same);
        }
        self.text = text;
        let config = runner_cli::config::parse(&self.path, &self.text)?;
        self.sources = match sources(&self.path, &config, &self.sources) {
            // Taking all runners out of the file is a way to stop the asking.
            Err(err @ (ConfigError::NoRunners | ConfigError::NoneRunnable(_))) => {
                tracing::warn!("{}: {err}", named());
                Vec::new()
            }
            sources => sources.with_context(named)?,
        };
        self.concurrent = config.concurrent as usize;
        self.check_interval = config.check_interval();
        if config.listen_address != self.listen_address {
            tracing::warn!("{}: a new `listen_address` takes effect at the next start", named());
        }
        tracing::info!("{}: configuration read again, {} runners", named(), self.sources.len());
        Ok(Reread::New)
    }
}

/// The runners that can be asked. One that is in `known` unchanged keeps its connections.
fn sources(path: &Path, config: &Config, known: &[Arc<Source>]) -> Result<Vec<Arc<Source>>, ConfigError> {
    let runnable = config.runnable()?;
    for skipped in &runnable.skipped {
        tracing::warn!("{}: {skipped}; it is skipped", path.display());
    }
    let mut sources = Vec::new();
    for runner in runnable.runners {
        match Source::new(runner, &config.labels, known) {
            Ok(source) => sources.push(Arc::new(source)),
            Err(err) => tracing::error!("{}: runner `{}`: {err}; it is skipped", path.display(), runner.name),
        }
    }
    Ok(sources)
}

/// Watches the folder of the file and, if that is a symbolic link, the folder it leads to.
fn watches(path: &Path, watcher: &Watcher) -> Vec<Watch> {
    let parent = |path: &Path| path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    let by_name =
        path.parent().and_then(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }.canonicalize().ok());
    let mut dirs: Vec<PathBuf> = by_name.into_iter().chain(parent(path)).collect();
    dirs.dedup();
    let unnoticed = |err: &dyn std::fmt::Display| {
        tracing::warn!("{}: changes are not noticed, send HUP: {err}", path.display());
    };
    dirs.iter().filter_map(|dir| watcher.watch(dir).inspect_err(|err| unnoticed(err)).ok()).collect()
}

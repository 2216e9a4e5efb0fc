//! The world of one trial: two servers behind wires, and a folder for everything else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use fake_gitlab::FakeGitlab;
use fake_kube::FakeKube;

use crate::processes;
use crate::schedule::Side;
use crate::shape::SERVICE_IMAGE;
use crate::wire::Wire;

/// Namespace of the pods.
pub(crate) const NAMESPACE: &str = "ci";

/// A GitLab and a cluster.
pub(crate) struct World {
    pub(crate) gitlab: FakeGitlab,
    pub(crate) kube: FakeKube,
    pub(crate) places: Places,
    gitlab_wire: Wire,
    kube_wire: Wire,
}

/// Files of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    folder: PathBuf,
}

impl World {
    /// Starts the servers and writes the files into `folder`.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let places = Places { folder: folder.to_owned() };
        for folder in [places.logs(), places.runs()] {
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let (gitlab_wire, kube_wire) = (Wire::new().await?, Wire::new().await?);
        let url = format!("http://{}", gitlab_wire.address());
        let bin_dir = processes::program("runner-helper")?.parent().unwrap_or(Path::new("/")).to_owned();
        let gitlab = FakeGitlab::builder()
            .external_url(&url)
            .trace_interval(1)
            .long_poll(Duration::from_secs(2))
            // A job that was handed out to a runner that dies at this moment is handed out again.
            .settings(|settings| settings.two_phase_commit = true)
            .start();
        let kube = FakeKube::builder()
            .bin_dir(bin_dir)
            .image_command(SERVICE_IMAGE, ["sleep", "600"])
            // Small enough that a large log is rotated while it is read.
            .log_max_size(2 * 1024 * 1024)
            .start();
        let (gitlab, kube) = (gitlab.await?, kube.await?);
        gitlab_wire.lead_to(address(gitlab.url())?);
        kube_wire.lead_to(address(&kube.url())?);
        kube.write_kubeconfig(places.kubeconfig())?;
        let kubeconfig = std::fs::read_to_string(places.kubeconfig())?;
        std::fs::write(
            places.kubeconfig(),
            kubeconfig.replace(&kube.url(), &format!("http://{}", kube_wire.address())),
        )?;
        std::fs::write(
            places.config(),
            format!(
                "concurrent = 20\ncheck_interval = 1\n[[runners]]\nname = \"crash\"\nurl = \"{url}\"\ntoken = \"{}\"\n\
                 executor = \"kubernetes\"\noutput_limit = 20480\nrequest_concurrency = 3\n\
                 [runners.kubernetes]\nnamespace = \"{NAMESPACE}\"\nimage = \"build:1\"\n",
                gitlab.runner_token()
            ),
        )?;
        Ok(Self { gitlab, kube, places, gitlab_wire, kube_wire })
    }

    /// The wire to a server.
    pub(crate) fn wire(&self, side: Side) -> &Wire {
        match side {
            Side::Gitlab => &self.gitlab_wire,
            Side::Kube => &self.kube_wire,
        }
    }
}

impl Places {
    /// The trial's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Each job's script adds a line to the file of its name here, each time it is begun.
    pub(crate) fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }

    /// What the programs print.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// A file for what a program prints in one run of the pipe.
    pub(crate) fn log(&self, run: usize, name: &str) -> PathBuf {
        self.logs().join(format!("{run:03}-{name}"))
    }

    /// The journals of the jobs that are not finished.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let jobs = std::fs::read_dir(self.state().join("jobs")).into_iter().flatten().flatten();
        jobs.map(|job| job.path().join("events.ndjson")).filter(|path| path.exists()).collect()
    }
}

fn address(url: &str) -> anyhow::Result<SocketAddr> {
    url.trim_start_matches("http://").parse().with_context(|| url.to_owned())
}

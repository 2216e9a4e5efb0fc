//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use fake_kube::{Builder, FakeKube, ImageFault};

/// A Kubernetes API server and kubelet for tests: pods are folders, containers are processes.
///
/// Prints its URL as the first line of stdout, and serves until SIGINT or SIGTERM; then it kills all
/// containers and removes their folders.
#[derive(Debug, Parser)]
#[command(name = "fake-kube", version)]
pub(crate) struct Cli {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// Write a kubeconfig for the server to this file, mode 0600.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The bearer token clients must send; made up if not given.
    #[arg(long, value_name = "TOKEN", env = "FAKE_KUBE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Put in front of every container's PATH: the programs that images carry. Repeatable.
    #[arg(long, value_name = "DIR")]
    bin_dir: Vec<PathBuf>,
    /// Where pods' folders live, in a new folder; default: the system's temporary folder.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// What an image runs when a container has no command, as words. Repeatable.
    #[arg(long, value_name = "IMAGE=WORDS", value_parser = pair)]
    image_command: Vec<(String, String)>,
    /// An image that cannot be had: ErrImagePull, ErrImageNeverPull, InvalidImageName,
    /// RegistryUnavailable, or any other waiting reason. Repeatable.
    #[arg(long, value_name = "IMAGE=REASON[:MESSAGE]", value_parser = pair)]
    image_error: Vec<(String, String)>,
    /// How often the kubelet looks at its containers, in milliseconds; a real one: 1000.
    #[arg(long, value_name = "MS", default_value_t = 50)]
    status_lag: u64,
    /// The first pause before a pull or a restart is tried again, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    back_off: u64,
    /// Rotate a container's log beyond this many bytes; a real kubelet: 10485760.
    #[arg(long, value_name = "BYTES")]
    log_max_size: Option<u64>,
    /// Only these namespaces exist; without it each exists once it is used. Repeatable.
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// No pod finds a node; the scheduler gives this message.
    #[arg(long, value_name = "MESSAGE")]
    unschedulable: Option<String>,
}

impl Cli {
    /// The server this command line describes, and the faults it begins with.
    pub(crate) fn into_builder(self) -> (Builder, Vec<ImageFault>) {
        let mut builder = FakeKube::builder()
            .listen(self.listen)
            .status_lag(Duration::from_millis(self.status_lag))
            .back_off(Duration::from_millis(self.back_off));
        for folder in self.bin_dir {
            builder = builder.bin_dir(folder);
        }
        for (image, words) in self.image_command {
            builder = builder.image_command(image, words.split_whitespace());
        }
        for name in self.namespace {
            builder = builder.namespace(name);
        }
        if let Some(token) = self.token {
            builder = builder.token(token);
        }
        if let Some(root) = self.root {
            builder = builder.root(root);
        }
        if let Some(bytes) = self.log_max_size {
            builder = builder.log_max_size(bytes);
        }
        if let Some(message) = self.unschedulable {
            builder = builder.unschedulable(message);
        }
        let faults = self.image_error.into_iter().map(|(image, rest)| {
            let (reason, message) = rest.split_once(':').unwrap_or((&rest, ""));
            ImageFault { image, reason: reason.to_owned(), message: message.trim().to_owned(), times: None }
        });
        (builder, faults.collect())
    }
}

/// `left=right`; an image has no `=` in its name.
fn pair(text: &str) -> Result<(String, String), String> {
    let (left, right) = text.split_once('=').ok_or("expected IMAGE=VALUE")?;
    if left.is_empty() || right.is_empty() {
        return Err("neither side of `=` may be empty".to_owned());
    }
    Ok((left.to_owned(), right.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn image_options_need_both_sides() {
        for wrong in ["image", "=x", "image="] {
            assert!(Cli::try_parse_from(["fake-kube", "--image-error", wrong]).is_err(), "{wrong}");
        }
        let cli = Cli::try_parse_from(["fake-kube", "--image-error", "a:1=ErrImagePull: no such tag"]).unwrap();
        let (_, faults) = cli.into_builder();
        assert_eq!((faults[0].image.as_str(), faults[0].message.as_str()), ("a:1", "no such tag"));
    }
}

//! The file by which clients find the server.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use crate::error::Error;

/// Writes a kubeconfig with mode 0600, because of the token in it. JSON is YAML, too.
pub(crate) fn write(path: &Path, url: &str, token: &str) -> Result<(), Error> {
    let name = "fake-kube";
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    });
    let write = || {
        // A file that is there may have a wider mode, so it is replaced.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut new = tempfile::Builder::new()
            .prefix(".kubeconfig")
            .make_in(folder, |new| OpenOptions::new().write(true).create_new(true).mode(0o600).open(new))?;
        writeln!(new, "{config:#}")?;
        new.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(|source| Error::Kubeconfig { path: path.to_owned(), source })
}

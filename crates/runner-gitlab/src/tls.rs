//! Whom to trust: the system's authorities and the configured files, or only what is given.

use reqwest::{Certificate, ClientBuilder, Identity};
use runner_core::job::Tls;

use crate::error::Error;

/// Which certificate authorities to trust, and which client certificate to show.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The system's authorities and those of `ca_file`; the client certificate of `cert_file` and `key_file` if both are set.
    System(&'a Tls),
    /// Only these; for a machine without a store of its own, e.g. a container image.
    Only {
        /// DER certificates, e.g. of the `webpki-root-certs` crate.
        roots: &'a [&'a [u8]],
        /// PEM certificates to trust besides, e.g. GitLab's own authority; may be empty.
        pem: &'a [u8],
    },
}

impl Trust<'_> {
    /// Configures `builder` for a server at an `https` (`secure`) or `http` address.
    pub fn apply(self, builder: ClientBuilder, secure: bool) -> Result<ClientBuilder, Error> {
        match self {
            // a plain address needs no authorities, and a machine may have none
            Self::System(_) if !secure => Ok(builder.tls_certs_only([])),
            Self::System(tls) => {
                let builder = match &tls.ca_file {
                    Some(path) => builder.tls_certs_merge(certificates(path, &read(path)?)?),
                    None => builder,
                };
                Ok(match (&tls.cert_file, &tls.key_file) {
                    (Some(cert), Some(key)) => builder.identity(identity(cert, key)?),
                    _ => builder,
                })
            }
            Self::Only { roots, pem } => {
                let mut trusted = certificates("GitLab's certificate authorities", pem)?;
                for der in roots {
                    trusted.push(Certificate::from_der(der).map_err(|err| tls_error("root certificates", err))?);
                }
                Ok(builder.tls_certs_only(trusted))
            }
        }
    }
}

fn certificates(path: &str, pem: &[u8]) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::from_pem_bundle(pem).map_err(|err| tls_error(path, err))?;
    if found.is_empty() && !pem.is_empty() {
        return Err(tls_error(path, "no certificate in it"));
    }
    Ok(found)
}

fn identity(cert: &str, key: &str) -> Result<Identity, Error> {
    let mut pem = read(key)?;
    pem.push(b'\n');
    pem.extend(read(cert)?);
    Identity::from_pem(&pem).map_err(|err| tls_error(&format!("{cert}` and `{key}"), err))
}

fn read(path: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|err| tls_error(path, err))
}

fn tls_error(path: &str, why: impl std::fmt::Display) -> Error {
    Error::TlsFile { path: path.to_owned(), why: why.to_string() }
}

//! Certificates that clients should refuse, made at the start.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;

/// What is wrong with the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// Nobody has signed it but itself. Who is given it as an authority trusts the server.
    SelfSigned,
    /// It is signed by itself too, and for another host, so that nobody can trust the server.
    WrongHost,
}

/// A host that the server never is.
const OTHER_HOST: &str = "another-host.invalid";

/// Makes a certificate for the server at `ip`; gives what accepts connections, and the certificate
/// as PEM.
pub(crate) fn acceptor(tls: Tls, ip: IpAddr) -> Result<(TlsAcceptor, String), Error> {
    let names = match tls {
        Tls::SelfSigned => vec!["localhost".to_owned(), ip.to_string()],
        Tls::WrongHost => vec![OTHER_HOST.to_owned()],
    };
    let failed = |problem: &dyn std::fmt::Display| Error::Certificate(problem.to_string());
    let made = rcgen::generate_simple_self_signed(names).map_err(|problem| failed(&problem))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
        .map_err(|problem| failed(&problem))?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}

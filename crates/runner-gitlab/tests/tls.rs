//! Whom the client trusts, and how it shows itself, over real TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use runner_core::job::Tls;
use runner_core::secret::Secret;
use runner_gitlab::{Client, Error, Trust};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A certificate authority that exists for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A certificate for `name` and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// Serves 204 to every request at a certificate for `name`; with `clients`, only to those that show one of that authority.
    async fn serve(&self, name: &str, clients: Option<&Self>) -> String {
        let (cert, key) = self.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(clients) => ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(clients.roots())).build().unwrap()),
        };
        let config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut request = [0; 4096];
                // a client that does not accept us says nothing
                if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                }
            }
        });
        url
    }
}

async fn call(url: &str, trust: Trust<'_>) -> Result<(), Error> {
    Client::new(url, trust)?.unregister(&Secret::new("glrt-hidden"), "s_1").await
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> Option<String> {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    Some(path.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_authority_of_the_configuration_is_trusted() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let url = authority.serve("127.0.0.1", None).await;
    let tls = Tls { ca_file: file(&dir, "ca.pem", &authority.pem()), ..Tls::default() };
    call(&url, Trust::System(&tls)).await.unwrap();
    call(&url, Trust::Only { roots: &[], pem: authority.pem().as_bytes() }).await.unwrap();
    call(&url, Trust::Only { roots: &[authority.0.der()], pem: b"" }).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_nobody_we_know_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let url = authority.serve("127.0.0.1", None).await;
    let err = call(&url, Trust::Only { roots: &[], pem: stranger.pem().as_bytes() }).await.unwrap_err();
    let text = err.to_string();
    assert!(
        matches!(err, Error::Transport { .. }) && text.contains("certificate") && !text.contains("hidden"),
        "{text}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let authority = Authority::new();
    let url = authority.serve("gitlab.example.com", None).await;
    let err = call(&url, Trust::Only { roots: &[], pem: authority.pem().as_bytes() }).await.unwrap_err();
    assert!(err.to_string().contains("not valid for name"), "{err}");
}

#[tokio::test]
async fn the_client_certificate_of_the_configuration_is_shown() {
    let (authority, clients, dir) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let url = authority.serve("127.0.0.1", Some(&clients)).await;
    let (cert, key) = clients.issue("runner", ExtendedKeyUsagePurpose::ClientAuth);
    let with = Tls {
        ca_file: file(&dir, "ca.pem", &authority.pem()),
        cert_file: file(&dir, "cert.pem", &cert.pem()),
        key_file: file(&dir, "key.pem", &key.serialize_pem()),
    };
    call(&url, Trust::System(&with)).await.unwrap();
    let without = Tls { cert_file: None, key_file: None, ..with };
    assert!(matches!(call(&url, Trust::System(&without)).await, Err(Error::Transport { .. })));
}

#[test]
fn a_key_that_is_none_is_named() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let tls = Tls {
        cert_file: file(&dir, "cert.pem", &authority.pem()),
        key_file: file(&dir, "key.pem", "no key"),
        ..Tls::default()
    };
    let err = Client::new("https://gitlab.example.com", Trust::System(&tls)).unwrap_err();
    assert!(err.is_configuration() && err.to_string().contains("key.pem"), "{err}");
}

//! Certificates, and clients that trust one.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::{Folder, exchange, last_request, socket};

/// A self-made certificate and its key for localhost, in the folder's `chain.pem` and `key.pem`; returns the certificate.
pub(crate) fn renew(folder: &Folder) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    folder.write("chain.pem", made.cert.pem());
    folder.write("key.pem", made.signing_key.serialize_pem());
    made.cert.der().clone()
}

/// Asks for `/healthz` over TLS; fails unless the certificate is this one.
pub(crate) fn get_over_tls(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    exchange(rustls::StreamOwned::new(session, socket(address)), last_request("/healthz").as_bytes())
}

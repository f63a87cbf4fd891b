//! A host's certificate in files, and clients that trust it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waterspout::{CertificateFiles, Certificates};

use crate::certificates::Authority;
use crate::within;

/// A certificate for some names with its key, in files, of an authority of its own. Gone with the value.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
    authority: Authority,
}

impl Identity {
    /// For these DNS names or IP addresses.
    pub fn new(names: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waterspout-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for files that go");
        let mut identity = Self { folder, authority: Authority::new("test") };
        identity.renew(names);
        identity
    }

    /// Another certificate, another key and another authority in the same files.
    pub fn renew(&mut self, names: &[&str]) {
        self.authority = Authority::new("test");
        let issued = self.authority.issue(names);
        let CertificateFiles { certificate, key } = self.files();
        std::fs::write(certificate, issued.certificate).expect("written");
        std::fs::write(key, issued.key).expect("written");
        std::fs::write(self.authority_file(), self.authority.pem()).expect("written");
    }

    /// The files, in PEM.
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.folder.join("chain.pem"), key: self.folder.join("key.pem") }
    }

    /// The certificate of the authority that clients must trust, in PEM.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// What a host serves.
    pub fn certificates(&self) -> Certificates {
        Certificates::load([self.files()]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A client that trusts this certificate's authority alone; it asks for `name` and offers these protocols (ALPN).
    ///
    /// # Errors
    /// The handshake fails: the certificate is another one, or not for this name.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = within("a TCP connection", TcpStream::connect(address)).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        within("a TLS handshake", self.connector(protocols).connect(name, socket)).await
    }

    fn connector(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("a certificate");
        roots.add(root).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().into()).collect();
        Arc::new(config).into()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

//! Whom a client trusts: the certificates of authorities, of the system's or of a file's.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// Certificates of the authorities that a client trusts. Cheap to clone.
#[derive(Clone)]
pub struct Roots {
    /// Ready for a handshake; sessions of servers that were talked to are resumed.
    config: Arc<ClientConfig>,
    certificates: usize,
}

impl fmt::Debug for Roots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Roots").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// Why certificates cannot be trusted as roots. Correct them.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// No PEM block of that kind.
    #[error("no `-----BEGIN CERTIFICATE-----` in it")]
    Empty,
    /// Not PEM, or not a certificate in it.
    #[error("certificate {number} in it cannot be read: {why}")]
    Invalid {
        /// Its place, from 1.
        number: usize,
        /// For a person.
        why: String,
    },
    /// The system has none.
    #[error(
        "this system has no certificates to trust: install them (Debian's package is ca-certificates), or name them{why}"
    )]
    System {
        /// What went wrong, for a person; perhaps empty.
        why: String,
    },
}

impl Roots {
    /// The certificates of a PEM bundle, and no others.
    ///
    /// # Errors
    /// See [`RootsError`].
    pub fn from_pem(bundle: &[u8]) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(bundle).enumerate() {
            let invalid = |why: String| RootsError::Invalid { number: index + 1, why };
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            store.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(RootsError::Empty);
        }
        Ok(Self::new(store))
    }

    /// What this system trusts; read once in a process, when the first connection needs it. On Linux it is the distribution's bundle, or
    /// what `SSL_CERT_FILE` and `SSL_CERT_DIR` name; on macOS the keychain's.
    ///
    /// # Errors
    /// See [`RootsError`]. The next call tries again.
    pub async fn system() -> Result<Self, RootsError> {
        static SYSTEM: OnceCell<Roots> = OnceCell::const_new();
        SYSTEM
            .get_or_try_init(|| async {
                // It reads some hundred files on some systems.
                tokio::task::spawn_blocking(Self::load)
                    .await
                    .unwrap_or_else(|error| Err(RootsError::System { why: format!(": {error}") }))
            })
            .await
            .cloned()
    }

    fn load() -> Result<Self, RootsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Systems have some that are older than today's rules.
        let (_, ignored) = store.add_parsable_certificates(found.certs);
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificates cannot be read");
        }
        tracing::debug!(certificates = store.len(), ignored, "the system's certificates");
        if store.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(RootsError::System { why });
        }
        Ok(Self::new(store))
    }

    fn new(store: RootCertStore) -> Self {
        let certificates = store.len();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { config: Arc::new(config), certificates }
    }

    /// What a handshake is made with.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_told_apart_from_one_that_is_broken() {
        assert!(matches!(Roots::from_pem(b"hello"), Err(RootsError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(matches!(Roots::from_pem(broken), Err(RootsError::Invalid { number: 1, .. })));
        let cut = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n";
        assert!(matches!(Roots::from_pem(cut), Err(RootsError::Invalid { number: 1, .. })));
    }
}

//! TLS of listeners: certificates with their keys, chosen by the name that a client asks for, and replaced while connections go on.
//!
//! A client that names no server, or one that no certificate is for, gets the first certificate: it may know it by other means
//! (an IP address, a health check), and the names that are answered are the routes' `hosts`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;

use crate::regular_file::{self, MAX_TEXT_BYTES};

/// A certificate's two files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's certificate, then those that lead to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used. Correct the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate at all.
    #[error("TLS needs a certificate: add `[[certificate]]` with `certificate` and `key`")]
    None,
    /// A file could not be read.
    #[error("{}: cannot be read: {error}", .file.display())]
    Read {
        /// Certificate or key.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file has nothing of what it is for.
    #[error("{}: {what}", .file.display())]
    Wrong {
        /// Certificate or key.
        file: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// They are not of one pair.
    #[error(
        "{}: is not the key of the certificate {}: give the files that were made together",
        .0.key.display(), .0.certificate.display()
    )]
    Mismatch(CertificateFiles),
}

/// The certificates of a server. Clones share them; what is [reloaded](Self::reload) holds for the next handshake.
#[derive(Clone)]
pub struct Certificates {
    files: Arc<[CertificateFiles]>,
    provider: Arc<CryptoProvider>,
    /// What is served until the next reload.
    table: Arc<RwLock<Arc<Table>>>,
    acceptor: TlsAcceptor,
}

struct Table {
    fingerprint: Fingerprint,
    /// Lower-case; `*.example.com` as it stands in the certificate.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

/// Of what all files hold: changed files are found by content, because tools that renew certificates rename files, swap links and
/// keep times.
type Fingerprint = blake3::Hash;

/// How often files are looked at. What is found is taken when it has stayed the same from one look to the next, so that a
/// certificate and its key are not read between their changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads certificates and keys; the first is the default.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(files: impl IntoIterator<Item = CertificateFiles>) -> Result<Self, CertificateError> {
        let files: Arc<[CertificateFiles]> = files.into_iter().collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let table = Arc::new(RwLock::new(Arc::new(Table::read(&files, &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has a cipher suite for each version")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(table.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files, provider, table, acceptor: Arc::new(config).into() })
    }

    /// Whether this is a clone of the other, or the other of this.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }

    /// Reads the files again; open connections keep what they have. Returns whether anything had changed.
    ///
    /// # Errors
    /// See [`CertificateError`]; then what was served before goes on being served.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        let table = Table::read(&self.files, &self.provider)?;
        let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.fingerprint != table.fingerprint;
        *current = Arc::new(table);
        Ok(changed)
    }

    /// Reloads whenever the files change, for ever. Files that are wrong are told once, and looked at again when they change.
    pub(crate) async fn watch(self) {
        let served = self.table.read().unwrap_or_else(PoisonError::into_inner).fingerprint;
        let mut watch = Watch { served, taken: served, seen: served };
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || {
                this.look(&mut watch);
                watch
            });
            match looked.await {
                Ok(after) => watch = after,
                // The runtime ends.
                Err(_) => return,
            }
        }
    }

    fn look(&self, watch: &mut Watch) {
        let found = fingerprint(&self.files);
        let served = self.table.read().unwrap_or_else(PoisonError::into_inner).fingerprint;
        if watch.is_due(found, served) {
            match self.reload() {
                Ok(true) => tracing::info!("the certificates have changed and are taken"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the certificates have changed and are not taken"),
            }
        }
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

/// What a look at the files has found.
struct Watch {
    served: Fingerprint,
    /// When they were last read to be served, well or not.
    taken: Fingerprint,
    seen: Fingerprint,
}

impl Watch {
    /// Whether what is found is new, and has stayed so since the last look.
    fn is_due(&mut self, found: Fingerprint, served: Fingerprint) -> bool {
        if self.served != served {
            // Somebody else has reloaded them.
            (self.served, self.taken) = (served, served);
        }
        let due = found == self.seen && found != self.taken;
        self.seen = found;
        if due {
            self.taken = found;
        }
        due
    }
}

/// Chooses from the table of the moment.
struct Resolver(Arc<RwLock<Arc<Table>>>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Some(table.choose(hello.server_name()).clone())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    regular_file::read(file, MAX_TEXT_BYTES)
        .map_err(|error| CertificateError::Read { file: file.into(), error })
}

fn fingerprint(files: &[CertificateFiles]) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for file in files.iter().flat_map(|files| [&files.certificate, &files.key]) {
        // A file that is missing is a content, too.
        let hash = regular_file::read(file, MAX_TEXT_BYTES)
            .map_or([0; 32], |content| *blake3::hash(&content).as_bytes());
        hasher.update(&hash);
    }
    hasher.finalize()
}

impl Table {
    fn read(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        // Before the files are read: what changes in between is found at the next look.
        let fingerprint = fingerprint(files);
        let mut by_name = HashMap::new();
        let mut first = None;
        for files in files {
            let certified = Arc::new(certified_key(files, provider)?);
            for name in names(&files.certificate, &certified)? {
                by_name.entry(name).or_insert_with(|| certified.clone());
            }
            first.get_or_insert(certified);
        }
        Ok(Self { fingerprint, by_name, first: first.ok_or(CertificateError::None)? })
    }

    fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let named = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            self.by_name.get(&name).or_else(|| {
                // A wildcard stands for one label (RFC 6125 section 6.4.3).
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        });
        named.unwrap_or(&self.first)
    }
}

fn certified_key(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let wrong = |file: &Path, what: String| CertificateError::Wrong { file: file.into(), what };
    let CertificateFiles { certificate, key } = files;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        let what = "holds no certificate: it must be PEM, with `-----BEGIN CERTIFICATE-----`";
        return Err(wrong(certificate, what.into()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| {
        wrong(
            key,
            format!("holds no private key: it must be PEM, with `-----BEGIN PRIVATE KEY-----` ({error})"),
        )
    })?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch(files.clone()),
        rustls::Error::InvalidCertificate(error) => {
            wrong(certificate, format!("holds a certificate that cannot be read: {error:?}"))
        }
        error => wrong(key, format!("holds a private key that cannot be used: {error}")),
    })
}

/// The host names that a certificate is for. Warns of one that no client takes, because its time is over or has not begun.
fn names(file: &Path, certified: &CertifiedKey) -> Result<Vec<String>, CertificateError> {
    let unreadable = |error: webpki::Error| CertificateError::Wrong {
        file: file.into(),
        what: format!("holds a certificate that cannot be read: {error}"),
    };
    let Some(own) = certified.cert.first() else { return Ok(Vec::new()) };
    let own = webpki::EndEntityCert::try_from(own).map_err(unreadable)?;
    // Without a root that is trusted nothing is verified, but validity is what is looked at first.
    let usage = webpki::KeyUsage::server_auth();
    match own.verify_for_usage(&[], &[], &[], UnixTime::now(), usage, None, None).err() {
        Some(webpki::Error::CertExpired { .. }) => {
            tracing::warn!(file = %file.display(), "the certificate has expired: renew it");
        }
        Some(webpki::Error::CertNotValidYet { .. }) => {
            tracing::warn!(file = %file.display(), "the certificate is not valid yet: is the clock right?");
        }
        _ => {}
    }
    Ok(own.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> Fingerprint {
        blake3::hash(text.as_bytes())
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let error = read(Path::new("/dev/zero")).expect_err("it has no end").to_string();
        assert!(error.contains("/dev/zero") && error.contains("no plain file"), "{error}");
    }

    #[test]
    fn files_that_still_change_are_left_until_they_stay() {
        let old = hash("old");
        let mut watch = Watch { served: old, taken: old, seen: old };
        let mut is_due = |found: &str| watch.is_due(hash(found), old);
        assert!(!is_due("old"));
        assert!(!is_due("half"), "just changed");
        assert!(!is_due("new"), "changed again");
        assert!(is_due("new"));
        assert!(!is_due("new"), "told once");
        assert!(!is_due("old") && is_due("old"), "back again");
    }

    #[test]
    fn files_that_are_put_back_after_a_hangup_has_reloaded_them_are_taken() {
        let (old, new) = (hash("old"), hash("new"));
        let mut watch = Watch { served: old, taken: old, seen: old };
        // Between two looks the new ones were taken, and the old ones came back.
        assert!(watch.is_due(old, new));
        assert!(!watch.is_due(old, old), "told once");
    }

    #[test]
    fn files_that_are_missing_or_empty_are_named() {
        let error = Certificates::load([]).expect_err("none").to_string();
        assert!(error.contains("[[certificate]]"), "{error}");
        let missing =
            CertificateFiles { certificate: "no-such-chain.pem".into(), key: "no-such-key.pem".into() };
        let error = Certificates::load([missing]).expect_err("missing").to_string();
        assert!(error.starts_with("no-such-chain.pem: cannot be read"), "{error}");
    }
}

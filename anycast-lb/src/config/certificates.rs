//! The certificates of `control.tls`: by them the hosts of a fleet know each other.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore};

use super::secret::{SecretError, read_private};
use crate::model::Tls;

/// Longest file that is read: hundreds of certificates.
const LONGEST: u64 = 1 << 20;

/// What `control.tls` names, read and found fit for use.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Whom to believe.
    pub roots: Arc<RootCertStore>,
    /// This node's certificate with its key.
    pub own: Arc<CertifiedKey>,
}

/// Which of the three files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The authorities.
    Ca,
    /// The node's certificate.
    Cert,
    /// Its key.
    Key,
}

/// Why the files of `control.tls` cannot be used. No message contains any of the key.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct CertificateError {
    /// Which file it is about.
    pub part: Part,
    /// Its path.
    pub file: PathBuf,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a file of `control.tls`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is no PEM, or holds something else.
    #[error("{} holds no {what} in PEM form: {detail}", .file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What should be in there.
        what: &'static str,
        /// What was found.
        detail: String,
    },
    /// The certificate itself is of a kind that is not supported, or damaged.
    #[error("the certificate does not serve: {0}")]
    Certificate(rustls::Error),
    /// Certificate and key are not a pair, or of a kind that is not supported.
    #[error("the key does not serve: {0}")]
    Pair(rustls::Error),
}

impl CertificateError {
    /// What mends it.
    pub fn hint(&self) -> String {
        match &self.reason {
            Reason::Secret(SecretError::Read { .. }) | Reason::Read { .. } => {
                "put the file there, readable for the daemon's user".to_owned()
            }
            Reason::Secret(error) => error.hint(),
            Reason::Content { what, .. } => {
                format!("the file begins with -----BEGIN …-----; it holds a {what}")
            }
            Reason::Certificate(_) => {
                "an X.509 certificate of version 3, as openssl makes it with -extfile".to_owned()
            }
            Reason::Pair(_) => {
                "cert and key are made together; an ECDSA (P-256, P-384), Ed25519 or RSA key".to_owned()
            }
        }
    }
}

/// Reads the three files.
///
/// # Errors
/// All that is wrong with them, a mistake a file at most.
pub fn read(tls: &Tls) -> Result<Certificates, Vec<CertificateError>> {
    let (roots, chain, key) = (roots(&tls.ca), chain(&tls.cert), key(&tls.key));
    let (roots, chain, key) = match (roots, chain, key) {
        (Ok(roots), Ok(chain), Ok(key)) => (roots, chain, key),
        (roots, chain, key) => {
            let part = |part, file: &Path, reason| CertificateError { part, file: file.to_owned(), reason };
            let errors = [
                roots.err().map(|e| part(Part::Ca, &tls.ca, e)),
                chain.err().map(|e| part(Part::Cert, &tls.cert, e)),
                key.err().map(|e| part(Part::Key, &tls.key, e)),
            ];
            return Err(errors.into_iter().flatten().collect());
        }
    };
    let own = CertifiedKey::from_der(chain, key, &provider()).map_err(|e| {
        let (part, file, reason) = match e {
            rustls::Error::InvalidCertificate(_) => (Part::Cert, &tls.cert, Reason::Certificate(e)),
            _ => (Part::Key, &tls.key, Reason::Pair(e)),
        };
        vec![CertificateError { part, file: file.clone(), reason }]
    })?;
    Ok(Certificates { roots: Arc::new(roots), own: Arc::new(own) })
}

impl Certificates {
    /// Why other nodes that believe the same authorities refuse this node's certificate now: it
    /// has expired, or somebody else signed it.
    pub fn refused_because(&self) -> Option<String> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider()).build();
        let verifier = match verifier {
            Ok(verifier) => verifier,
            Err(error) => return Some(error.to_string()),
        };
        let (own, between) = self.own.cert.split_first()?;
        verifier.verify_client_cert(own, between, UnixTime::now()).err().map(|e| e.to_string())
    }
}

/// The cryptography that all TLS here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(file: &Path) -> Result<RootCertStore, Reason> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|e| content(file, "certificate of an authority", e.to_string()))?;
    }
    Ok(roots)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Reason> {
    certificates(file)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Reason> {
    let failed = |source| Reason::Read { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(file).map_err(failed)?.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(content(file, "certificate", "nothing of the kind".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(content(file, "certificate", error.to_string())),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, Reason> {
    let bytes = read_private(file, LONGEST)?;
    // The error is not repeated: it may hold what stands in the file.
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| content(file, "private key", "nothing of the kind".to_owned()))
}

fn content(file: &Path, what: &'static str, detail: String) -> Reason {
    Reason::Content { file: file.to_owned(), what, detail }
}

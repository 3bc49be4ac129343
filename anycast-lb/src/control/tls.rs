//! Mutual TLS between the hosts of a fleet: both sides show a certificate that the authority of
//! `control.tls` signed. A server's certificate names the IP address by which it is asked.

use std::sync::{Arc, RwLock};

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};

use crate::config::certificates::{self, CertificateError, Certificates, provider};
use crate::model::Tls;

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file does not serve.
    #[error("{0}")]
    Certificate(CertificateError),
    /// The authority does not serve.
    #[error("control.tls.ca: {0}")]
    Authority(#[from] VerifierBuilderError),
    /// The library refused.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// Both sides' settings, of one reading of the files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For who asks.
    pub client: Arc<ClientConfig>,
    /// For who is asked.
    pub server: Arc<ServerConfig>,
}

impl Settings {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read(tls: &Tls) -> Result<Self, TlsError> {
        match certificates::read(tls) {
            Ok(certificates) => Settings::of(&certificates),
            Err(errors) => Err(errors.into_iter().next().map_or_else(
                || TlsError::Library(rustls::Error::General("no certificates".to_owned())),
                TlsError::Certificate,
            )),
        }
    }

    /// Around certificates that have been read.
    ///
    /// # Errors
    /// The library refuses them.
    pub fn of(certificates: &Certificates) -> Result<Self, TlsError> {
        let roots = || Arc::clone(&certificates.roots);
        let own = || Arc::new(SingleCertAndKey::from(Arc::clone(&certificates.own)));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(), provider()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(own());
        // Every connection shows its certificate: one that expired or was replaced opens no more.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots())
            .with_client_cert_resolver(own());
        client.resumption = Resumption::disabled();
        Ok(Settings { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// The settings in force, shared by all who ask and all who are asked; a reload replaces them.
#[derive(Clone, Debug, Default)]
pub struct Credentials(Arc<RwLock<Option<Settings>>>);

impl Credentials {
    /// The settings now; none = TLS is off.
    pub fn get(&self) -> Option<Settings> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// From now on, connections are made and taken with these.
    pub fn set(&self, settings: Option<Settings>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = settings;
    }

    /// Reads the files anew. Where they do not serve, what was in force stays.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn reload(&self, tls: Option<&Tls>) -> Result<(), TlsError> {
        self.set(tls.map(Settings::read).transpose()?);
        Ok(())
    }
}

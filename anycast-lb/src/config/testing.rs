//! Certificates for tests.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd,
};

use crate::model::Tls;

/// An authority made for one test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Founds one, which nobody else believes.
    pub fn found() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate in PEM form.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key in PEM form, for a host with these addresses.
    pub fn issue(&self, addresses: &[IpAddr]) -> (String, String) {
        self.issue_with(addresses, CertificateParams::default())
    }

    /// The same, but that the certificate has long expired.
    pub fn issue_expired(&self, addresses: &[IpAddr]) -> (String, String) {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.issue_with(addresses, params)
    }

    fn issue_with(&self, addresses: &[IpAddr], mut params: CertificateParams) -> (String, String) {
        params.distinguished_name.push(DnType::CommonName, "test node");
        params.subject_alt_names = addresses.iter().map(|a| SanType::IpAddress(*a)).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` of a host with these addresses.
    pub fn write(&self, directory: &Path, addresses: &[IpAddr]) -> Tls {
        let (cert, key) = self.issue(addresses);
        let put = |name: &str, text: &str, mode| {
            let path = directory.join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode set");
            path
        };
        Tls {
            ca: put("ca.pem", &self.pem(), 0o644),
            cert: put("cert.pem", &cert, 0o644),
            key: put("key.pem", &key, 0o600),
        }
    }
}

use std::io::Write;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::http::check;
use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn file(issuer: &Issuer) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(issuer.pem().as_bytes()).unwrap();
    file
}

/// A server whose certificate is for `name` and was issued by `issuer`, `valid` or expired.
async fn https(issuer: &Issuer, name: &str, valid: bool) -> SocketAddr {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if !valid {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

async fn ask(verify: Verify, host: Option<&str>, address: SocketAddr) -> Result<(), String> {
    let check = HttpCheck { tls: Some(verify), host: host.map(str::to_owned), ..check() };
    probe(&Check::Http(check), &Target::direct(address), LONG).await
}

#[tokio::test]
async fn certificates_are_checked_unless_they_are_not_to_be() {
    let (ours, foreign) = (authority(), authority());
    let trusted = file(&ours);
    let ca = || Verify::Ca(trusted.path().to_owned());
    let www = Some("www.example");

    let good = https(&ours, "www.example", true).await;
    assert_eq!(ask(ca(), www, good).await, Ok(()));
    assert_eq!(ask(ca(), Some("www.example:443"), good).await, Ok(()), "the port is not part of the name");
    let by_address = https(&ours, "127.0.0.1", true).await;
    assert_eq!(ask(ca(), None, by_address).await, Ok(()));

    let broken = [
        ("another name", https(&ours, "other.example", true).await),
        ("expired", https(&ours, "www.example", false).await),
        ("of a foreign authority", https(&foreign, "www.example", true).await),
    ];
    for (what, address) in broken {
        let failure = ask(ca(), www, address).await.unwrap_err();
        assert!(failure.contains("certificate"), "{what}: {failure}");
        assert_eq!(ask(Verify::Nothing, www, address).await, Ok(()), "{what}, and nobody asks");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_fails() {
    let plain = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1000]).await;
    })
    .await;
    let failure = ask(Verify::Nothing, None, plain).await.unwrap_err();
    assert!(failure.starts_with("TLS with 127.0.0.1"), "{failure}");
    let mute = server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let https = Check::Http(HttpCheck { tls: Some(Verify::Nothing), ..check() });
    assert!(probe(&https, &Target::direct(mute), SHORT).await.is_err());
}

#[test]
fn files_without_authorities_are_refused() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (path, problem) in [(empty.path(), "holds no certificate"), ("/nonexistent".as_ref(), "No such file")]
    {
        let check = HttpCheck { tls: Some(Verify::Ca(path.to_owned())), ..check() };
        let error = Prepared::new(&Check::Http(check)).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

//! An HTTP request is answered as expected.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::stream::Bounded;
use super::{PrepareError, Target, Verify, socket, tls};
use crate::Reason;

/// Most bytes of a body: an answer to a health check that is longer is none.
pub const LONGEST_BODY: usize = 64 * 1024;
/// Most bytes of an answer's head.
const LONGEST_HEAD: usize = 16 * 1024;
/// Most lines of an answer's head.
const MOST_HEADERS: usize = 100;
/// Most bytes that are taken from a connection: body, head, and the largest TLS handshake that makes sense.
const MOST_BYTES: usize = LONGEST_BODY + LONGEST_HEAD + 128 * 1024;

/// An HTTP request and the answer that is expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpCheck {
    /// `GET` or another.
    pub method: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// `Host`, and the name asked of the certificate; none = the address that is connected to.
    pub host: Option<String>,
    /// Statuses that are a success.
    pub expect: Vec<u16>,
    /// What the body must contain; none = it does not matter.
    pub body: Option<String>,
    /// Whether TLS is spoken, and whom to believe.
    pub tls: Option<Verify>,
}

/// Whether it can be the method of a request.
pub fn is_method(text: &str) -> bool {
    Method::from_bytes(text.as_bytes()).is_ok_and(|m| m != Method::CONNECT)
}

/// Whether it can be the path of a request.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.parse::<Uri>().is_ok()
}

/// Whether it can be a `Host`.
pub fn is_host(text: &str) -> bool {
    text.parse::<hyper::http::uri::Authority>().is_ok_and(|a| !a.as_str().contains('@'))
}

#[derive(Clone)]
pub(super) struct Driver {
    check: Arc<HttpCheck>,
    method: Method,
    uri: Uri,
    tls: Option<Arc<ClientConfig>>,
}

// A `ClientConfig` prints all its roots.
impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("check", &self.check).finish_non_exhaustive()
    }
}

impl Driver {
    pub fn new(check: &HttpCheck) -> Result<Self, PrepareError> {
        let refused = |e: hyper::http::Error| PrepareError::Http(e.to_string());
        let method = Method::from_bytes(check.method.as_bytes()).map_err(|e| refused(e.into()))?;
        let uri: Uri = check.path.parse().map_err(|e: hyper::http::uri::InvalidUri| refused(e.into()))?;
        let tls = check.tls.as_ref().map(tls::config).transpose()?;
        if let Some(host) = check.host.as_deref().filter(|host| !is_host(host)) {
            return Err(PrepareError::Http(format!("`{host}` is no host")));
        }
        Ok(Driver { check: Arc::new(check.clone()), method, uri, tls })
    }

    pub async fn run(&self, target: &Target) -> Result<(), Reason> {
        let stream = socket::connect_tcp(target).await?;
        let stream = Bounded::new(stream, MOST_BYTES);
        let Some(config) = &self.tls else { return self.exchange(stream, target).await };
        let name = self.server_name(target)?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|e| Reason::new(format_args!("TLS with {}: {e}", target.address)))?;
        self.exchange(stream, target).await
    }

    /// The name that the certificate must bear.
    fn server_name(&self, target: &Target) -> Result<ServerName<'static>, Reason> {
        let Some(host) = &self.check.host else {
            return Ok(ServerName::IpAddress(target.address.ip().into()));
        };
        let name = match host.parse::<hyper::http::uri::Authority>() {
            Ok(authority) => authority.host().trim_matches(['[', ']']).to_owned(),
            Err(_) => host.clone(),
        };
        ServerName::try_from(name)
            .map_err(|_| Reason::new(format_args!("`{host}` is no name that a certificate can bear")))
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        target: &Target,
    ) -> Result<(), Reason> {
        let failed =
            |e: hyper::Error| Reason::new(format_args!("HTTP with {}: {}", target.address, whole(&e)));
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(MOST_HEADERS)
            .max_buf_size(LONGEST_HEAD)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let request = Request::builder()
            .method(self.method.clone())
            .uri(self.uri.clone())
            .header(HOST, self.check.host.clone().unwrap_or_else(|| target.address.to_string()))
            .header(USER_AGENT, concat!("anycast-lb/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|e| Reason::new(format_args!("the request cannot be made: {e}")))?;
        let answer = async { self.judge(sender.send_request(request).await.map_err(failed)?, target).await };
        // The connection makes no progress by itself; when it ends first, the answer says why.
        tokio::pin!(answer);
        tokio::select! {
            result = &mut answer => return result,
            ended = connection => if let Err(e) = ended { return Err(failed(e)) },
        }
        answer.await
    }

    async fn judge(&self, response: Response<hyper::body::Incoming>, target: &Target) -> Result<(), Reason> {
        let status = response.status().as_u16();
        if !self.check.expect.contains(&status) {
            return Err(Reason::new(format_args!("status {status}, expected {:?}", self.check.expect)));
        }
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame
                .map_err(|e| Reason::new(format_args!("HTTP with {}: {}", target.address, whole(&e))))?;
            let Some(data) = frame.data_ref() else { continue };
            if body.len() + data.len() > LONGEST_BODY {
                return Err(Reason::new(format_args!("the body is longer than {LONGEST_BODY} bytes")));
            }
            body.extend_from_slice(data);
        }
        match &self.check.body {
            Some(text) if !contains(&body, text.as_bytes()) => {
                Err(Reason::new(format_args!("the body ({} bytes) does not contain {text:?}", body.len())))
            }
            _ => Ok(()),
        }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// An error with what caused it: hyper's own words leave that out.
fn whole(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

//! Asking other hosts over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::api::ErrorBody;
use super::client::{ClientError, read_answer, request};
use super::tls::Credentials;

/// By when an answer is there, connecting and handshake included.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// Bytes of an answer: hundreds of pools with their backends.
const ANSWER_BYTES: usize = 4 << 20;

/// Why another host gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There are no certificates.
    #[error("this node has no control.tls")]
    NoTls,
    /// It did not connect, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// It takes too long.
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
    /// It refused, or is of another release.
    #[error("{0}")]
    Answer(#[from] ClientError),
}

impl RemoteError {
    /// As the object that programs read, said of `node`.
    pub fn body(&self, node: &str) -> ErrorBody {
        match self {
            RemoteError::Answer(error) => error.body(),
            RemoteError::NoTls => ErrorBody {
                code: "unreachable".to_owned(),
                message: self.to_string(),
                hint: Some(
                    "nodes are asked over mutual TLS: write control.tls, then: anycast-lb reload".to_owned(),
                ),
            },
            _ => ErrorBody {
                code: "unreachable".to_owned(),
                message: format!("node {node} gives no answer: {self}"),
                hint: Some("anycast-lb peer list shows who is reachable".to_owned()),
            },
        }
    }
}

/// Asks the host at `address`, which must show a certificate for that IP address. The answer is as
/// the host sent it.
///
/// # Errors
/// No TLS, no connection, no trust, no answer in time, or a refusal.
pub async fn ask<B: Serialize>(
    credentials: &Credentials,
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<String, RemoteError> {
    ask_within(ANSWER_TIME, credentials, address, method, path, body).await
}

/// As [`ask`], where an answer takes its time. To connect may not.
///
/// # Errors
/// As [`ask`].
pub async fn ask_within<B: Serialize>(
    time: Duration,
    credentials: &Credentials,
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<String, RemoteError> {
    let exchange = async {
        let (response, driver) = send(credentials, address, method, path, body).await?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|e| RemoteError::Connection(e.to_string()))?
            .to_bytes();
        drop(driver);
        Ok(read_answer(status, &bytes)?)
    };
    tokio::time::timeout(time, exchange).await.unwrap_or(Err(RemoteError::Timeout(time)))
}

/// Asks the host at `address` for an answer without end. Its beginning must come as soon as any answer; what
/// follows is read as it comes.
///
/// # Errors
/// As [`ask`].
pub async fn stream<B: Serialize>(
    credentials: &Credentials,
    address: SocketAddr,
    path: &str,
    body: &B,
) -> Result<Body, RemoteError> {
    let begin = async {
        let (response, driver) = send(credentials, address, Method::POST, path, Some(body)).await?;
        let status = response.status();
        if status.is_success() {
            // The connection is driven for as long as somebody reads.
            let driven = response.into_body().map_frame(move |frame| {
                let _driver = &driver;
                frame
            });
            return Ok(Body::new(driven));
        }
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let bytes = bytes.map_err(|e| RemoteError::Connection(e.to_string()))?.to_bytes();
        read_answer(status, &bytes)?;
        Err(RemoteError::Connection("a refusal without a reason".to_owned()))
    };
    tokio::time::timeout(ANSWER_TIME, begin).await.unwrap_or(Err(RemoteError::Timeout(ANSWER_TIME)))
}

/// Connects and sends the question; the head of the answer, and what drives the connection. To connect may not
/// take longer than any answer.
async fn send<B: Serialize>(
    credentials: &Credentials,
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<(Response<Incoming>, AbortOnDrop<hyper::Result<()>>), RemoteError> {
    let settings = credentials.get().ok_or(RemoteError::NoTls)?;
    let request = request(method, path, body)?;
    let failed =
        |what: &'static str| move |e: &dyn std::fmt::Display| RemoteError::Connection(format!("{what}{e}"));
    let connect = async {
        let stream = TcpStream::connect(address).await.map_err(|e| failed("")(&e))?;
        TlsConnector::from(settings.client)
            .connect(ServerName::from(address.ip()), stream)
            .await
            .map_err(|e| failed("TLS: ")(&e))
    };
    let late = |_| RemoteError::Timeout(ANSWER_TIME);
    let stream = tokio::time::timeout(ANSWER_TIME, connect).await.map_err(late)??;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed("")(&e))?;
    // Ends with the exchange; its error is the exchange's error too.
    let driver = AbortOnDrop(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(|e| failed("")(&e))?;
    Ok((response, driver))
}

/// A task that does not outlive its use.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

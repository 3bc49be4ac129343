//! The command line's end of the API.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::{Answer, ErrorAnswer, ErrorBody, SCHEMA};
use super::lines::Lines;

/// How long an answer may take: a change waits for those before it and for new neighbours, and a
/// thousand backends take their time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {}: is `anycast-lb run` running? (--socket / ANYCAST_LB_SOCKET)", .0.display())]
    NoDaemon(PathBuf),
    /// The socket is for others.
    #[error("{}: permission denied: the socket is for root and the group in control.group", .0.display())]
    Forbidden(PathBuf),
    /// No socket can have this path.
    #[error("{}: {cause}", .0.display(), cause = .1)]
    Unusable(PathBuf, String),
    /// It runs and says nothing.
    #[error("the daemon at {} has not answered for {} s", .0.display(), .1.as_secs())]
    Silent(PathBuf, Duration),
    /// The connection broke.
    #[error("the daemon at {} closed the connection: {cause}", .0.display(), cause = .1)]
    Broken(PathBuf, String),
    /// Not what we speak.
    #[error("the answer is not understood: {0}")]
    Answer(String),
    /// The daemon refused.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
}

impl ClientError {
    /// As the object that programs read.
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            ClientError::Refused(body) => return body.clone(),
            ClientError::NoDaemon(_) => "no_daemon",
            ClientError::Forbidden(_) => "forbidden",
            ClientError::Unusable(..) => "unusable_socket",
            ClientError::Silent(..) => "timeout",
            ClientError::Broken(..) => "connection",
            ClientError::Answer(_) => "protocol",
        };
        let hint = match self {
            ClientError::NoDaemon(_) => Some("start it: anycast-lb run --config FILE"),
            ClientError::Forbidden(_) => Some("use sudo, or add yourself to that group"),
            ClientError::Unusable(..) => {
                Some("name the daemon's socket (control.socket in its configuration)")
            }
            ClientError::Silent(..) => Some("it may be stopped, still starting, or busy: look into its log"),
            ClientError::Broken(..) => Some("look into the daemon's log"),
            _ => Some("client and daemon may be of different releases"),
        };
        ErrorBody { code: code.to_owned(), message: self.to_string(), hint: hint.map(str::to_owned) }
    }
}

/// Asks the daemon behind a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the daemon at `socket`; connects for each question.
    pub fn new(socket: &Path) -> Self {
        Client::with_patience(socket, PATIENCE)
    }

    /// As [`Client::new`], with another limit to how long an answer may take.
    pub fn with_patience(socket: &Path, patience: Duration) -> Self {
        Client { socket: socket.to_owned(), patience }
    }

    /// Where it connects to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and returns the answer as the daemon sent it.
    ///
    /// # Errors
    /// No daemon, no permission, or the daemon refused.
    pub async fn ask<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<String, ClientError> {
        let silent = |_| ClientError::Silent(self.socket.clone(), self.patience);
        tokio::time::timeout(self.patience, self.exchange(method, path, body)).await.map_err(silent)?
    }

    async fn exchange<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<String, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.connect_error(&e))?;
        let broken = |e: hyper::Error| ClientError::Broken(self.socket.clone(), e.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the exchange; its error is the exchange's error too.
        let driver = tokio::spawn(connection);
        let request = request(method, path, body)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        drop(sender);
        driver.abort();
        read_answer(status, &bytes)
    }

    /// Reads with GET.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn get(&self, path: &str) -> Result<String, ClientError> {
        self.ask::<()>(Method::GET, path, None).await
    }

    /// Asks for an answer that goes on: lines, as they come.
    ///
    /// # Errors
    /// As [`Self::ask`]; the beginning must come in time, the rest may take as long as it takes.
    pub async fn stream<B: Serialize>(&self, path: &str, body: &B) -> Result<Lines, ClientError> {
        let silent = |_| ClientError::Silent(self.socket.clone(), self.patience);
        tokio::time::timeout(self.patience, self.begin(path, body)).await.map_err(silent)?
    }

    async fn begin<B: Serialize>(&self, path: &str, body: &B) -> Result<Lines, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.connect_error(&e))?;
        let broken = |e: hyper::Error| ClientError::Broken(self.socket.clone(), e.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request(Method::POST, path, Some(body))?).await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
            driver.abort();
            read_answer(status, &bytes)?;
            return Err(ClientError::Answer(format!("{status} without a reason")));
        }
        Ok(Lines::new(&self.socket, response.into_body(), (sender, driver)))
    }

    fn connect_error(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoDaemon(self.socket.clone())
            }
            io::ErrorKind::InvalidInput => ClientError::Unusable(self.socket.clone(), error.to_string()),
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(self.socket.clone()),
            _ => ClientError::Broken(self.socket.clone(), error.to_string()),
        }
    }
}

/// Turns an answer into its type.
///
/// # Errors
/// It has another form.
pub fn typed<T: DeserializeOwned>(answer: &str) -> Result<T, ClientError> {
    let answer: Answer<T> = serde_json::from_str(answer).map_err(|e| ClientError::Answer(e.to_string()))?;
    if answer.schema != SCHEMA {
        return Err(ClientError::Answer(format!("schema {}, not {SCHEMA}", answer.schema)));
    }
    Ok(answer.body)
}

/// A path segment or a query value with everything quoted that has a meaning in a URL (RFC 3986 §2.3).
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn request<B: Serialize>(
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let builder = Request::builder().method(method).uri(path).header(header::HOST, "anycast-lb");
    let request = match body {
        Some(body) => {
            let json = serde_json::to_vec(body).map_err(|e| ClientError::Answer(e.to_string()))?;
            builder.header(header::CONTENT_TYPE, "application/json").body(Full::from(json))
        }
        None => builder.body(Full::default()),
    };
    request.map_err(|e| ClientError::Answer(e.to_string()))
}

pub(super) fn read_answer(status: StatusCode, bytes: &[u8]) -> Result<String, ClientError> {
    let text = std::str::from_utf8(bytes).map_err(|e| ClientError::Answer(e.to_string()))?;
    if status.is_success() {
        return Ok(text.to_owned());
    }
    Err(ClientError::Refused(typed::<ErrorAnswer>(text)?.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_leaves_nothing_that_a_url_would_read() {
        assert_eq!(quote("203.0.113.1:443/tcp"), "203.0.113.1%3A443%2Ftcp");
        assert_eq!(quote("[2001:db8::1]:*/udp"), "%5B2001%3Adb8%3A%3A1%5D%3A%2A%2Fudp");
        assert_eq!(quote("a&b=c d%"), "a%26b%3Dc%20d%25");
    }

    #[tokio::test]
    async fn a_missing_daemon_is_said_with_the_way_out() {
        let error = Client::new(Path::new("/nonexistent/control.sock")).get("/v1/status").await;
        let error = error.expect_err("nobody is there");
        assert_eq!(
            error.to_string(),
            "no daemon answers at /nonexistent/control.sock: is `anycast-lb run` running? \
             (--socket / ANYCAST_LB_SOCKET)"
        );
        assert_eq!(error.body().code, "no_daemon");
    }
}

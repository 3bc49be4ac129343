//! An answer that goes on, line by line.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;

use super::client::ClientError;

/// Longest line: a packet of two times [`MAX_SNAP`](anycast_lb_common::abi::MAX_SNAP) bytes, and then some.
const LONGEST_LINE: usize = 64 * 1024;

/// Lines as they come; the connection ends with this.
pub struct Lines {
    socket: PathBuf,
    body: Incoming,
    buffer: Vec<u8>,
    /// Of the buffer, what was read.
    read: usize,
    _sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Lines {
    pub(super) fn new(
        socket: &Path,
        body: Incoming,
        (sender, driver): (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>),
    ) -> Self {
        Lines { socket: socket.to_owned(), body, buffer: Vec::new(), read: 0, _sender: sender, driver }
    }

    /// The next line without its end; none at the end. Nothing is lost if this is not waited for.
    ///
    /// # Errors
    /// The connection broke, or what comes is no line.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(line) = self.buffered()? {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(ClientError::Broken(self.socket.clone(), error.to_string()));
                }
                Some(Ok(frame)) => {
                    self.buffer.drain(..self.read);
                    self.read = 0;
                    self.buffer.extend(frame.into_data().unwrap_or_default());
                }
            }
        }
    }

    /// Whether a whole line is here already.
    pub fn has_next(&self) -> bool {
        self.buffer[self.read..].contains(&b'\n')
    }

    fn buffered(&mut self) -> Result<Option<String>, ClientError> {
        let left = &self.buffer[self.read..];
        let Some(end) = left.iter().position(|byte| *byte == b'\n') else {
            return match left.len() {
                ..LONGEST_LINE => Ok(None),
                _ => Err(ClientError::Answer("a line without an end".to_owned())),
            };
        };
        let line =
            std::str::from_utf8(&left[..end]).map_err(|e| ClientError::Answer(e.to_string()))?.to_owned();
        self.read += end + 1;
        Ok(Some(line))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

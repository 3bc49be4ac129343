//! Connections to what the daemon serves: how many at once, and how long each may take.
//!
//! Who may connect may also reconfigure, so this is no wall against enemies: it keeps clients that hang
//! from using up the daemon's file descriptors, without which it could not even write its files.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::lease::Lease;

/// Before the next attempt when a caller could not be accepted (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What callers may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once; further callers wait in the kernel's queue.
    pub connections: usize,
    /// For a request's head to arrive, from the moment it is waited for.
    pub head: Duration,
    /// For a whole connection, requests and answers; one who watches packets may take longer.
    pub lifetime: Duration,
    /// Whether a connection may ask more than once.
    pub keep_alive: bool,
}

impl Default for Limits {
    /// Far more than people and their scripts need, far less than a process's 1024 descriptors.
    fn default() -> Self {
        Limits {
            connections: 128,
            head: Duration::from_secs(10),
            lifetime: Duration::from_secs(300),
            keep_alive: true,
        }
    }
}

/// Where callers come in.
pub trait Listener: Send {
    /// A caller's connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next caller.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves `router` to who connects to `listener`; never ends.
pub async fn serve(listener: impl Listener, router: Router, limits: Limits) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let stream = match listener.next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a caller cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let lease = Lease::new(limits.lifetime);
        let router = router.clone().layer(Extension(lease.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .keep_alive(limits.keep_alive)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::spawn(async move {
            // How it ends is the caller's affair; that it ends is ours.
            tokio::select! {
                _ = connection => {}
                () = lease.over() => {}
            }
            drop(permit);
        });
    }
}

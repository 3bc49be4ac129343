//! Takes connections, within limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::guard::guard;

/// Connections at once; further ones are closed.
const MOST_CONNECTIONS: usize = 64;
/// By when the head of a request is there.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// A connection's whole life: one question, one answer.
const CONNECTION_TIME: Duration = Duration::from_secs(20);
/// Bytes of a request's head.
const HEADER_BYTES: usize = 16 * 1024;
/// How long nobody is taken after the kernel has refused a connection (no file descriptor is free).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers `router` to who connects to `listener`; never ends. Connections end with it.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Those that have ended are taken off.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => match (Arc::clone(&permits).try_acquire_owned(), stream.local_addr()) {
                (Ok(permit), Ok(local)) => {
                    connections.spawn(connection(stream, local.ip(), router.clone(), permit));
                }
                _ => tracing::debug!(%from, "too many connections to the status page"),
            },
            Err(error) => {
                tracing::warn!(%error, "the status page cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, local: IpAddr, router: Router, permit: OwnedSemaphorePermit) {
    let router = router.layer(from_fn_with_state(local, guard));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        // A browser that asks every second would keep its place for good.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How it ends is the reader's affair; that it ends is ours.
    let _ = tokio::time::timeout(CONNECTION_TIME, served).await;
    drop(permit);
}

//! The API on TCP, for other hosts: TLS, bounds on what a stranger may cost, and the routes that
//! change nothing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::lease::Lease;
use super::tls::Credentials;

/// Connections at once.
const MOST_CONNECTIONS: usize = 256;
/// Connections at once from one address: one host cannot keep the others out.
const MOST_FROM_ONE: usize = 16;
/// By when a caller has shown its certificate.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// By when the head of a request is there.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// A connection's whole life: a caller asks and leaves, unless it watches packets.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEADER_BYTES: usize = 16 * 1024;
/// How long nobody is taken after the kernel has refused a connection (no file descriptor is free).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers `router` to who has a certificate of the authority, until the listener's runtime ends.
pub async fn serve(listener: TcpListener, credentials: Credentials, router: Router) {
    let guests = Guests::default();
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API on TCP cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(guest) = guests.admit(from.ip()) else {
            tracing::debug!(%from, "too many connections to the API");
            continue;
        };
        let (credentials, router) = (credentials.clone(), router.clone());
        tokio::spawn(async move {
            let lease = Lease::new(CONNECTION_TIME);
            let router = router.layer(Extension(lease.clone()));
            tokio::select! {
                () = connection(stream, from, &credentials, router) => {}
                () = lease.over() => {
                    tracing::debug!(%from, "a connection to the API was kept open for too long");
                }
            }
            drop(guest);
        });
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, credentials: &Credentials, router: Router) {
    let Some(settings) = credentials.get() else { return };
    let handshake = TlsAcceptor::from(settings.server).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%from, %error, "a caller of the API was refused");
            return;
        }
        Err(_) => {
            tracing::debug!(%from, "a caller of the API said nothing");
            return;
        }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%from, %error, "a connection to the API broke");
    }
}

/// Who is connected.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place among the connections, given back when dropped.
struct Guest {
    guests: Guests,
    address: IpAddr,
}

impl Guests {
    fn admit(&self, address: IpAddr) -> Option<Guest> {
        let mut here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if here.values().sum::<usize>() >= MOST_CONNECTIONS {
            return None;
        }
        let from_one = here.entry(address).or_default();
        if *from_one >= MOST_FROM_ONE {
            return None;
        }
        *from_one += 1;
        Some(Guest { guests: self.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut here = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from_one) = here.get_mut(&self.address) {
            *from_one -= 1;
            if *from_one == 0 {
                here.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_one_and_for_all_and_given_back() {
        let guests = Guests::default();
        let host = |n: usize| IpAddr::from([10, 0, 0, n as u8]);
        let mut here: Vec<_> = (0..MOST_FROM_ONE).map(|_| guests.admit(host(1)).expect("room")).collect();
        assert!(guests.admit(host(1)).is_none());
        here.pop();
        here.push(guests.admit(host(1)).expect("given back"));
        let all = MOST_CONNECTIONS / MOST_FROM_ONE;
        for n in 2..=all {
            here.extend((0..MOST_FROM_ONE).map(|_| guests.admit(host(n)).expect("room")));
        }
        assert!(guests.admit(host(all + 1)).is_none());
        here.clear();
        assert!(guests.0.lock().expect("nobody panics").is_empty());
    }
}

//! The UDP echo service with a connected socket for each client, as servers with sessions have it: the
//! kernel then knows which flows are this host's.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use tokio::net::UdpSocket;

use super::services::{ECHO_BUFFER, MAX_DATAGRAM, UdpEcho};

/// One address of the service.
struct Service {
    name: String,
    address: SocketAddr,
    /// A socket for each client that has ever asked.
    clients: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
}

/// Runs the service for ever.
pub(super) fn run(arguments: &UdpEcho) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut listeners = tokio::task::JoinSet::new();
        for &address in &arguments.listen {
            let clients = Mutex::default();
            let service = Arc::new(Service { name: arguments.name.clone(), address, clients });
            let socket = bound(address).with_context(|| format!("cannot bind {address}/udp"))?;
            setsockopt(&socket, sockopt::RcvBufForce, &ECHO_BUFFER).context("a larger receive buffer")?;
            listeners.spawn(serve(service, Arc::new(socket)));
        }
        listeners.join_all().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// A socket that shares its address with those of the clients.
fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    UdpSocket::from_std(socket.into())
}

/// Answers what a socket receives. Between its birth and its connection a client's socket may have
/// taken datagrams of others: whom one is from is asked of each.
async fn serve(service: Arc<Service>, socket: Arc<UdpSocket>) {
    let prefix = service.name.len() + 1;
    let mut buffer = vec![0; prefix + MAX_DATAGRAM];
    buffer[..prefix].copy_from_slice(format!("{} ", service.name).as_bytes());
    loop {
        // An error is an ICMP message about a client that is gone: the next one counts.
        let Ok((length, client)) = socket.recv_from(&mut buffer[prefix..]).await else { continue };
        if let Ok(own) = service.socket(client) {
            let _ = own.send(&buffer[..prefix + length]).await;
        }
    }
}

impl Service {
    /// The socket of a client; made, connected and served if there is none.
    fn socket(self: &Arc<Self>, client: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = clients.get(&client) {
            return Ok(Arc::clone(socket));
        }
        let socket = bound(self.address)?;
        nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(client))?;
        let socket = Arc::new(socket);
        clients.insert(client, Arc::clone(&socket));
        tokio::spawn(serve_boxed(Arc::clone(self), Arc::clone(&socket)));
        Ok(socket)
    }
}

/// [`serve`] starts itself for others: its future must have a size.
fn serve_boxed(
    service: Arc<Service>,
    socket: Arc<UdpSocket>,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(serve(service, socket))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_client_has_a_socket_of_its_own() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = bound(([127, 0, 0, 1], 0).into())?;
            let address = socket.local_addr()?;
            let service = Service { name: "be0".into(), address, clients: Mutex::default() };
            let service = Arc::new(service);
            tokio::spawn(serve(Arc::clone(&service), Arc::new(socket)));
            let clients = [UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?];
            for round in 0..3 {
                for (number, client) in clients.iter().enumerate() {
                    let text = format!("{round} {number}");
                    client.send_to(text.as_bytes(), address).await?;
                    let mut buffer = [0; 64];
                    let (length, from) =
                        tokio::time::timeout(Duration::from_secs(30), client.recv_from(&mut buffer))
                            .await??;
                    assert_eq!((&buffer[..length], from), (format!("be0 {text}").as_bytes(), address));
                }
            }
            let known = service.clients.lock().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(known.len(), 2);
            for client in &clients {
                let peer = known.get(&client.local_addr()?).map(|own| own.peer_addr());
                assert_eq!(peer.transpose()?, Some(client.local_addr()?));
            }
            Ok(())
        })
    }
}

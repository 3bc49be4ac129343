//! Sockets as probes need them: marked, bound, and leaving nothing behind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::Target;
use crate::Reason;

/// Connects by TCP.
///
/// The connection is reset when it is dropped. Probes of all backends by way of one VIP differ in nothing
/// but their local port, and each that was closed in order would keep its port for a minute (TIME_WAIT):
/// 500 probes a second would use up all of them.
pub(super) async fn connect_tcp(target: &Target) -> Result<TcpStream, Reason> {
    let prepare = || {
        let socket = match target.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_zero_linger()?;
        socket.set_nodelay(true)?;
        mark(&socket, target)?;
        if let Some(source) = target.source {
            // The port is chosen by connect(2), which knows which ones are free towards this target.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddr::new(source, 0))?;
        }
        Ok(socket)
    };
    let socket = prepare().map_err(no_socket)?;
    socket.connect(target.address).await.map_err(|e| not_reached("connect", target, &e))
}

/// A UDP socket connected to the target, so that nobody else's datagrams arrive and refusals do.
pub(super) async fn connect_udp(target: &Target) -> Result<UdpSocket, Reason> {
    let unspecified: IpAddr = match target.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = SocketAddr::new(target.source.unwrap_or(unspecified), 0);
    let socket = UdpSocket::bind(local).await.map_err(no_socket)?;
    mark(&socket, target).map_err(no_socket)?;
    socket.connect(target.address).await.map_err(|e| not_reached("connect", target, &e))?;
    Ok(socket)
}

/// Marks the packets of a socket where the target asks for it.
pub(super) fn mark(socket: &impl AsFd, target: &Target) -> io::Result<()> {
    match target.mark {
        Some(mark) => Ok(setsockopt(&socket, sockopt::Mark, &mark)?),
        None => Ok(()),
    }
}

/// A failure that is not the backend's.
pub(super) fn no_socket(error: io::Error) -> Reason {
    Reason::new(format_args!("this node cannot make the probe's socket: {error}"))
}

/// A failure on the way.
pub(super) fn not_reached(what: &str, target: &Target, error: &io::Error) -> Reason {
    Reason::new(format_args!("{what} to {}: {error}", target.address))
}

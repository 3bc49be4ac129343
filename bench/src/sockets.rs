//! Live sockets for the backend's program to find.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use crate::addresses::{BACKEND_VIP, CLIENT, CLIENT_PORT, PORT};
use crate::place;

/// A service, and one connection to it.
pub struct Sockets {
    _listener: TcpListener,
    _server: TcpStream,
    _client: OwnedFd,
}

impl Sockets {
    /// Opens them, on the loopback interface of this namespace.
    ///
    /// # Errors
    ///
    /// When the kernel refuses an address or the connection.
    pub fn open() -> Result<Self> {
        for address in [BACKEND_VIP, CLIENT] {
            place::add_address(&format!("{address}/32"))?;
        }
        let listener = TcpListener::bind((BACKEND_VIP, PORT)).context("the backend's service")?;
        let client = connect_from(CLIENT).context("a connection to the backend's service")?;
        let (server, _) = listener.accept()?;
        Ok(Sockets { _listener: listener, _server: server, _client: client })
    }
}

fn connect_from(client: Ipv4Addr) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(client, CLIENT_PORT)))?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(BACKEND_VIP, PORT)))?;
    Ok(fd)
}

//! Raw sockets: packets that carry their own IP header, from an address that need not be this host's.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};

/// A socket for each family, opened when it is first needed.
#[derive(Default)]
pub(crate) struct Sender {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Sender {
    /// Sends a packet by the kernel's route to `destination`; waits for nothing.
    ///
    /// # Errors
    /// No such socket may be had (CAP_NET_RAW), there is no route, or the queue of the NIC is full.
    pub fn send(&mut self, destination: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let sent = match destination.ip() {
            IpAddr::V4(address) => {
                let socket = open(&mut self.v4, AddressFamily::Inet)?;
                let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
                sendto(socket.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?
            }
            IpAddr::V6(address) => {
                let socket = open(&mut self.v6, AddressFamily::Inet6)?;
                let to = SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, 0));
                sendto(socket.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?
            }
        };
        match sent == packet.len() {
            true => Ok(()),
            false => Err(io::Error::other("sent in part")),
        }
    }
}

/// With IPPROTO_RAW the header is the sender's in both families (raw(7), RFC 3542 leaves it to the kernel),
/// and nothing is ever received.
fn open(slot: &mut Option<OwnedFd>, family: AddressFamily) -> io::Result<&OwnedFd> {
    let opened = match slot.take() {
        Some(open) => open,
        None => {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            socket(family, SockType::Raw, flags, SockProtocol::Raw)?
        }
    };
    Ok(slot.insert(opened))
}

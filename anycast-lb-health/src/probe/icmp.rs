//! An echo request is answered (RFC 792, RFC 4443 §4).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, recv, send,
    socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Target;
use super::socket::{mark, no_socket, not_reached};
use crate::Reason;

/// What the request carries beside its header, and what comes back.
const TOKEN: usize = 16;
const HEADER: usize = 8;
const LONGEST: usize = 1500;

/// How the kernel hands echo over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A socket for echo alone: the kernel chooses the identifier and keeps the rest away.
    Echo,
    /// All ICMP of the host, with the IP header before it in IPv4.
    Raw,
}

pub(super) async fn run(target: &Target) -> Result<(), Reason> {
    let (socket, kind) = open(target).map_err(no_socket)?;
    let mut token = [0; TOKEN];
    getrandom::fill(&mut token).map_err(|e| Reason::new(format_args!("no random numbers: {e}")))?;
    let v6 = target.address.is_ipv6();
    let request = request(v6, &token);
    // SAFETY: the socket is owned by what it is given to, stays open with it, and is always the same.
    let socket = unsafe { AsyncFd::register(socket) }.map_err(|e| no_socket(e.into()))?;
    let failed = |e: io::Error| not_reached("echo request", target, &e);
    socket
        .async_io(Interest::WRITABLE, |fd| Ok(send(fd.as_raw_fd(), &request, MsgFlags::empty())?))
        .await
        .map_err(failed)?;
    loop {
        let mut buffer = [0; LONGEST];
        let length = socket
            .async_io(Interest::READABLE, |fd| Ok(recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?))
            .await
            .map_err(failed)?;
        if is_reply(v6, kind, &buffer[..length], &token) {
            return Ok(());
        }
    }
}

fn open(target: &Target) -> io::Result<(OwnedFd, Kind)> {
    let (family, protocol) = match target.address {
        SocketAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        SocketAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let open = |kind| socket(family, kind, flags, protocol);
    let (socket, kind) = match open(SockType::Datagram) {
        // Whose group is outside of net.ipv4.ping_group_range.
        Err(Errno::EACCES | Errno::EPERM) => (open(SockType::Raw)?, Kind::Raw),
        other => (other?, Kind::Echo),
    };
    mark(&socket, target)?;
    if let Some(source) = target.source {
        bind(socket.as_raw_fd(), &address(source))?;
    }
    connect(socket.as_raw_fd(), &address(target.address.ip()))?;
    if kind == Kind::Raw {
        discard_queue(&socket);
    }
    Ok((socket, kind))
}

fn address(ip: IpAddr) -> SockaddrStorage {
    SockaddrStorage::from(SocketAddr::new(ip, 0))
}

/// A raw socket has heard everybody's ICMP until it was connected.
fn discard_queue(socket: &OwnedFd) {
    let mut byte = [0];
    while recv(socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT).is_ok() {}
}

fn request(v6: bool, token: &[u8; TOKEN]) -> [u8; HEADER + TOKEN] {
    let mut message = [0; HEADER + TOKEN];
    message[0] = if v6 { 128 } else { 8 };
    // Identifier and sequence number; an echo socket puts its own identifier in.
    message[4..6].copy_from_slice(&token[..2]);
    message[7] = 1;
    message[HEADER..].copy_from_slice(token);
    if !v6 {
        // Of ICMPv6 the kernel computes it, which knows the source address.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

fn is_reply(v6: bool, kind: Kind, packet: &[u8], token: &[u8; TOKEN]) -> bool {
    let message = match (kind, v6) {
        (Kind::Raw, false) => {
            let header = packet.first().map_or(0, |b| usize::from(b & 0xf) * 4);
            packet.get(header..).unwrap_or_default()
        }
        _ => packet,
    };
    let echo_reply = if v6 { 129 } else { 0 };
    message.first() == Some(&echo_reply) && message.get(HEADER..).is_some_and(|data| data == token)
}

/// The Internet checksum (RFC 1071).
fn checksum(message: &[u8]) -> u16 {
    let mut sum: u32 =
        message.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_request_is_one() {
        let token = [9; TOKEN];
        let mut reply = request(false, &token).to_vec();
        assert_eq!(checksum(&reply), 0, "the checksum is in it");
        assert!(!is_reply(false, Kind::Echo, &reply, &token), "the request itself");
        reply[0] = 0;
        assert!(is_reply(false, Kind::Echo, &reply, &token));
        assert!(!is_reply(false, Kind::Echo, &reply, &[8; TOKEN]));
        assert!(!is_reply(true, Kind::Echo, &reply, &token));
        let mut raw = vec![0; 24];
        raw[0] = 0x46;
        raw.extend(&reply);
        assert!(is_reply(false, Kind::Raw, &raw, &token), "behind an IP header with options");
        for length in 0..raw.len() {
            assert!(!is_reply(false, Kind::Raw, &raw[..length], &token));
        }
    }
}

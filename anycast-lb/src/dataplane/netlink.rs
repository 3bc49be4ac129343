//! Two questions to rtnetlink: which interfaces are there, and which XDP program is on one.

use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::Mode;

/// Larger than any link message.
const REPLY_SIZE: usize = 64 * 1024;

/// The XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpStatus {
    /// Its id.
    pub program_id: u32,
    /// How it is attached; offloaded counts as native.
    pub mode: Mode,
}

/// The XDP program on the interface `ifindex` of this network namespace.
pub(super) fn xdp_status(ifindex: u32) -> io::Result<Option<XdpStatus>> {
    let mut program_id = None;
    let mut mode = None;
    for attribute in link(ifindex)?.attributes {
        let LinkAttribute::Xdp(xdp) = attribute else { continue };
        for item in xdp {
            match item {
                LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(Mode::Generic),
                LinkXdp::Attached(XdpAttached::None) => {}
                LinkXdp::Attached(_) => mode = Some(Mode::Native),
                LinkXdp::ProgId(id)
                | LinkXdp::DrvProgId(id)
                | LinkXdp::SkbProgId(id)
                | LinkXdp::HwProgId(id) => {
                    program_id = program_id.or(Some(id));
                }
                _ => {}
            }
        }
    }
    Ok(program_id.zip(mode).map(|(program_id, mode)| XdpStatus { program_id, mode }))
}

/// Name of the interface that leads back to the host, in every network namespace.
const LOOPBACK: &str = "lo";

/// Index of the interface called `name`.
pub(super) fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// Names of all interfaces, for people.
pub(super) fn existing() -> String {
    let names = nix::net::if_::if_nameindex().map(|all| {
        all.iter().map(|i| i.name().to_string_lossy().into_owned()).collect::<Vec<_>>().join(", ")
    });
    names.unwrap_or_else(|e| format!("(cannot list them: {e})"))
}

/// Names and indices of all interfaces but those that only lead back to this host.
pub(super) fn interfaces() -> Vec<(String, u32)> {
    let Ok(all) = nix::net::if_::if_nameindex() else { return Vec::new() };
    let named = all.iter().map(|i| (i.name().to_string_lossy().into_owned(), i.index()));
    named.filter(|(name, _)| name != LOOPBACK).collect()
}

fn link(ifindex: u32) -> io::Result<LinkMessage> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(request));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;

    let mut reply = vec![0; REPLY_SIZE];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    let reply =
        NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply[..length]).map_err(io::Error::other)?;
    match reply.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(e) => Err(e.to_io()),
        other => Err(io::Error::other(format!("unexpected answer to RTM_GETLINK: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_exists_and_has_no_program() {
        let lo = index_of("lo").expect("lo");
        assert_eq!(xdp_status(lo).expect("netlink"), None);
        assert!(existing().split(", ").any(|name| name == "lo"));
        assert_eq!(index_of("no-such-nic"), None);
    }

    #[test]
    fn a_missing_index_is_an_error_of_the_kernel() {
        assert_eq!(xdp_status(u32::MAX >> 1).expect_err("gone").raw_os_error(), Some(libc::ENODEV));
    }
}

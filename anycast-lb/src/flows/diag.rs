//! The kernel's list of sockets: `sock_diag(7)`, the question that `ss` asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use bytemuck::{Pod, Zeroable};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Larger than what the kernel puts into one message of a dump (32 KiB).
const REPLY_SIZE: usize = 64 * 1024;
/// The kernel answers in milliseconds; more than this is no answer.
const REPLY_SECONDS: i64 = 5;

/// `SOCK_DIAG_BY_FAMILY`
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// States of `include/net/tcp_states.h`; UDP uses the first alone.
const ESTABLISHED: u32 = 1 << 1;
/// With it the kernel means NEW_SYN_RECV, too.
const SYN_RECV: u32 = 1 << 3;
const FIN_WAIT1: u32 = 1 << 4;
const FIN_WAIT2: u32 = 1 << 5;
const CLOSE_WAIT: u32 = 1 << 8;
const LAST_ACK: u32 = 1 << 9;
const CLOSING: u32 = 1 << 11;

/// Which sockets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// TCP, neither listening nor in TIME_WAIT.
    OpenTcp,
    /// UDP, connected.
    ConnectedUdp,
}

impl Kind {
    const fn protocol(self) -> u8 {
        match self {
            Kind::OpenTcp => libc::IPPROTO_TCP as u8,
            Kind::ConnectedUdp => libc::IPPROTO_UDP as u8,
        }
    }

    const fn states(self) -> u32 {
        match self {
            Kind::OpenTcp => ESTABLISHED | SYN_RECV | FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT | LAST_ACK | CLOSING,
            Kind::ConnectedUdp => ESTABLISHED,
        }
    }
}

/// `struct nlmsghdr`
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct inet_diag_sockid`; ports and addresses in network order.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SocketId {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    source: [u8; 16],
    destination: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`, after its header.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Question {
    header: Header,
    family: u8,
    protocol: u8,
    /// No attributes wanted: the answers are as short as they can be.
    extensions: u8,
    pad: u8,
    states: u32,
    id: SocketId,
}

/// The beginning of `struct inet_diag_msg`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Answer {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    id: SocketId,
}

/// Hands the local end of every such socket of this network namespace to `each`.
pub(super) fn for_each(kind: Kind, mut each: impl FnMut(SocketAddr)) -> io::Result<()> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(family as u8, kind, &mut each)?;
    }
    Ok(())
}

fn dump(family: u8, kind: Kind, each: &mut impl FnMut(SocketAddr)) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(REPLY_SECONDS))?;
    let question = Question {
        header: Header {
            length: size_of::<Question>() as u32,
            kind: SOCK_DIAG_BY_FAMILY,
            flags: (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16,
            sequence: 1,
            port: 0,
        },
        family,
        protocol: kind.protocol(),
        extensions: 0,
        pad: 0,
        states: kind.states(),
        id: SocketId::zeroed(),
    };
    send(socket.as_raw_fd(), bytemuck::bytes_of(&question), MsgFlags::empty())?;
    let mut buffer = vec![0; REPLY_SIZE];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read(&buffer[..length], each)? {
            return Ok(());
        }
    }
}

/// Reads the messages of one datagram; true if the last of the dump was among them.
fn read(mut bytes: &[u8], each: &mut impl FnMut(SocketAddr)) -> io::Result<bool> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a message of the kernel is cut off");
    while !bytes.is_empty() {
        let header: Header = prefix(bytes).ok_or_else(short)?;
        let message = bytes.get(size_of::<Header>()..header.length as usize).ok_or_else(short)?;
        match i32::from(header.kind) {
            libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                // Both begin with zero or an errno, negated.
                let error: i32 = prefix(message).ok_or_else(short)?;
                return if error == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-error)) };
            }
            _ if header.kind == SOCK_DIAG_BY_FAMILY => each(local(&prefix(message).ok_or_else(short)?)),
            _ => {}
        }
        // Messages begin at multiples of four.
        let next = (header.length as usize).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    Ok(false)
}

fn prefix<T: Pod>(bytes: &[u8]) -> Option<T> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

fn local(answer: &Answer) -> SocketAddr {
    let [a, b, c, d, ..] = answer.id.source;
    let address = if i32::from(answer.family) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(answer.id.source))
    };
    SocketAddr::new(address, u16::from_be_bytes(answer.id.source_port))
}

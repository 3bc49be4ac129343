//! Flows with sockets: those of the service on the backend that holds them, those of the client out
//! of the way.

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use xtask::lab::netns::Namespace;
use xtask::lab::{Family, Lab};

use super::packets::{self, Segment};
use super::{BACKENDS, DEADLINE, HOLDER, NOBODY, TCP_SERVICE, UDP_SERVICE, client, vip};

/// The client's port of the datagrams that a connected socket takes.
const KNOWN: u16 = 40_001;
/// Queues of a TCP socket under repair (`linux/tcp.h`).
const RECEIVE_QUEUE: libc::c_int = 1;
const SEND_QUEUE: libc::c_int = 2;

/// A connection between the client and the holder. The client's socket is under repair: it says
/// nothing by itself, and tells its numbers.
pub(super) struct Connection {
    _client: TcpStream,
    server: TcpStream,
    next: Segment,
    family: Family,
}

impl Connection {
    pub(super) fn open(lab: &mut Lab, family: Family) -> Result<Self> {
        let service = SocketAddr::new(vip(family), TCP_SERVICE);
        let listener = lab.backend(HOLDER).namespace().enter(|| TcpListener::bind(service))??;
        let client = lab.client(0).enter(|| TcpStream::connect_timeout(&service, DEADLINE))??;
        let (server, source) = listener.accept()?;
        server.set_read_timeout(Some(DEADLINE))?;
        set_option(&client, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1)?;
        let number = |queue| -> Result<u32> {
            set_option(&client, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, queue)?;
            Ok(option(&client, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ)?.cast_unsigned())
        };
        let (sequence, acknowledgement) = (number(SEND_QUEUE)?, number(RECEIVE_QUEUE)?);
        let data = Vec::new();
        let next = Segment { source: source.port(), sequence, acknowledgement, opens: false, data };
        let mut connection = Connection { _client: client, server, next, family };
        connection.fill();
        Ok(connection)
    }

    /// Other bytes than before.
    fn fill(&mut self) {
        self.next.data = format!("from {}; ", self.next.sequence).into_bytes();
    }

    /// The client's next segment.
    pub(super) fn next(&self) -> Segment {
        self.next.clone()
    }

    /// Fails unless the service has got that segment.
    pub(super) fn received(&mut self) -> Result<()> {
        let mut got = vec![0; self.next.data.len()];
        self.server.read_exact(&mut got)?;
        ensure!(got == self.next.data, "got {:?}", String::from_utf8_lossy(&got));
        self.next.sequence = self.next.sequence.wrapping_add(got.len() as u32);
        self.fill();
        Ok(())
    }

    /// The path's MTU as the service's socket knows it.
    pub(super) fn path_mtu(&self) -> Result<libc::c_int> {
        match self.family {
            Family::V4 => option(&self.server, libc::IPPROTO_IP, libc::IP_MTU),
            Family::V6 => option(&self.server, libc::IPPROTO_IPV6, libc::IPV6_MTU),
        }
    }
}

/// UDP sockets: on every backend one that takes what comes, on the holder one that is connected too.
pub(super) struct Datagrams {
    listening: Vec<UdpSocket>,
    connected: UdpSocket,
}

const KNOWN_DATA: &[u8] = b"of a flow that is known";
const UNKNOWN_DATA: &[u8] = b"of a flow that is not known";

impl Datagrams {
    pub(super) fn open(lab: &mut Lab, family: Family) -> Result<Self> {
        let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0_u16; 8].into() };
        let mut listening = Vec::new();
        for index in 0..BACKENDS {
            let socket = lab
                .backend(index)
                .namespace()
                .enter(|| bound(SocketAddr::new(any, UDP_SERVICE)))?
                .context("a listening socket")?;
            socket.set_read_timeout(Some(DEADLINE))?;
            listening.push(socket);
        }
        let connected = lab.backend(HOLDER).namespace().enter(|| -> Result<UdpSocket> {
            let socket = bound(SocketAddr::new(vip(family), UDP_SERVICE))?;
            socket.connect((client(family), KNOWN))?;
            Ok(socket)
        })??;
        connected.set_read_timeout(Some(DEADLINE))?;
        Ok(Datagrams { listening, connected })
    }

    pub(super) fn known(&self, family: Family) -> Result<Vec<u8>> {
        packets::datagram(family, KNOWN, KNOWN_DATA)
    }

    pub(super) fn unknown(&self, family: Family) -> Result<Vec<u8>> {
        packets::datagram(family, NOBODY, UNKNOWN_DATA)
    }

    pub(super) fn received_by_connected(&self) -> Result<()> {
        received(&self.connected, KNOWN_DATA)
    }

    pub(super) fn received_by_listening(&self, backend: usize) -> Result<()> {
        received(&self.listening[backend], UNKNOWN_DATA)
    }
}

/// A socket that shares its port.
fn bound(address: SocketAddr) -> Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(socket))
}

fn received(socket: &UdpSocket, expected: &[u8]) -> Result<()> {
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    ensure!(&buffer[..length] == expected, "got {:?}", String::from_utf8_lossy(&buffer[..length]));
    Ok(())
}

/// How many RSTs the kernel has sent in a namespace.
pub(super) fn resets(namespace: &Namespace) -> Result<u64> {
    const NAME: &str = "OutRsts";
    let text = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = lines.next().zip(lines.next()).context("no TCP statistics")?;
    let place = names.split_whitespace().position(|name| name == NAME);
    let value = place.and_then(|place| values.split_whitespace().nth(place));
    value.with_context(|| format!("no {NAME}"))?.parse().context("a count")
}

fn option(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to a live integer of that size.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    };
    ensure!(result == 0, "cannot read option {name}: {}", std::io::Error::last_os_error());
    Ok(value)
}

fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes from a live integer of that size.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    ensure!(result == 0, "cannot set option {name}: {}", std::io::Error::last_os_error());
    Ok(())
}

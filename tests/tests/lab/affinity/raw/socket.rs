//! Raw sockets, and an echo on every backend that says who it is.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{SockaddrStorage, bind};
use xtask::lab::{Families, Family, Lab};

use super::super::super::stand::DEADLINE;
use super::vip;

/// How often a server looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest packet.
const ROOM: usize = 4096;

/// A raw socket of a protocol, bound to an address. Its calls are those of any datagram socket, so the
/// standard library's type does; ports are 0.
pub(super) fn raw(address: IpAddr, protocol: u8) -> Result<UdpSocket> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a system call that takes numbers.
    let number = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into()) };
    if number < 0 {
        return Err(io::Error::last_os_error()).context("no raw socket");
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    bind(owned.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, 0)))?;
    let socket = UdpSocket::from(owned);
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    Ok(socket)
}

/// The next packet before the deadline: its source, and what it carries.
pub(super) fn receive(socket: &UdpSocket, family: Family) -> Result<Option<(IpAddr, Vec<u8>)>> {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Some(packet) = look(socket, family)? {
            return Ok(Some(packet));
        }
    }
    Ok(None)
}

/// A packet, if one comes soon.
fn look(socket: &UdpSocket, family: Family) -> Result<Option<(IpAddr, Vec<u8>)>> {
    let mut buffer = vec![0; ROOM];
    let (length, from) = match socket.recv_from(&mut buffer) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Ok(None);
        }
        other => other?,
    };
    ensure!(length < ROOM, "a packet of {length} bytes and more");
    buffer.truncate(length);
    // IPv4 sockets give the IP header too (raw(7)); its length is in words of 4 bytes.
    let header = match (family, buffer.first()) {
        (Family::V6, _) => 0,
        (Family::V4, Some(first)) => usize::from(first & 0xf) * 4,
        (Family::V4, None) => anyhow::bail!("an empty packet"),
    };
    Ok(Some((from.ip(), buffer.get(header..).context("a packet without its header")?.to_vec())))
}

/// Echoes on all backends, until they are dropped. An answer is the backend's number and the packet.
pub(super) struct Servers {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Servers {
    /// Opens sockets on the VIPs in every backend's namespace.
    pub(super) fn start(lab: &Lab, protocols: &[u8]) -> Result<Self> {
        let mut all = Self { stop: Arc::default(), taken: Arc::default(), threads: Vec::new() };
        for (index, backend) in lab.topology().backends.iter().enumerate() {
            let name = u8::try_from(index)?;
            for (family, &protocol) in
                Families::Both.all().flat_map(|f| protocols.iter().map(move |p| (f, p)))
            {
                let socket = backend.enter(|| raw(vip(family), protocol))??;
                let (stop, taken) = (Arc::clone(&all.stop), Arc::clone(&all.taken));
                all.threads.push(thread::spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        if let Some((from, packet)) = look(&socket, family)? {
                            taken.fetch_add(1, Ordering::AcqRel);
                            socket
                                .send_to(&[&[name], packet.as_slice()].concat(), SocketAddr::new(from, 0))?;
                        }
                    }
                    Ok(())
                }));
            }
        }
        Ok(all)
    }

    /// Packets that all of them have taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                // The test fails for want of an answer; this says why.
                Ok(Err(error)) => println!("a raw echo ended: {error:#}"),
                Err(_) => println!("a raw echo panicked"),
            }
        }
    }
}

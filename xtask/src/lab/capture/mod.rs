//! Packets as they are on a wire of the lab, and what is wrong with them.

mod census;
mod inject;
pub mod tunnel;
pub mod verify;
mod watch;

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{LinkAddr, recvfrom, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

pub use census::Census;
pub use inject::inject;
pub use tunnel::{Carrier, Tunnel, expect_clean};
pub use watch::{Checked, Watch};

use super::netns::Namespace;

/// Largest frame that is kept whole.
const SNAP_LENGTH: usize = 65536;
/// How often the capturing thread looks whether it is to stop, in milliseconds.
const LOOK_EVERY_MS: i64 = 20;
/// Room for packets that the thread has not taken yet, in bytes.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Which way a frame passed the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by it.
    In,
    /// Sent by it.
    Out,
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was taken, since 1970.
    pub time: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// All of it, from the Ethernet header. A VLAN tag that the kernel took off is not there.
    pub bytes: Vec<u8>,
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture(Tap<Vec<Frame>>);

impl Capture {
    /// Starts to capture on an interface, both ways; returns once nothing can be missed any more.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let tap = Tap::start(namespace, interface, |socket, stop| {
            let mut frames = Vec::new();
            receive(socket, stop, |direction, bytes| {
                let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                frames.push(Frame { time, direction, bytes: bytes.to_vec() });
            })?;
            let dropped = dropped(socket)?;
            ensure!(dropped == 0, "the kernel dropped {dropped} packets that were to be captured");
            Ok(frames)
        })?;
        Ok(Self(tap))
    }

    /// Stops, and returns everything that passed until now; an error if the kernel had to drop some.
    pub fn finish(self) -> Result<Vec<Frame>> {
        self.0.finish()
    }
}

/// A packet socket and the thread that reads it.
#[derive(Debug)]
struct Tap<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Tap<T> {
    /// Opens the socket, and reads it with `work` in a thread of its own.
    fn start(
        namespace: &Namespace,
        interface: &str,
        work: impl FnOnce(&OwnedFd, &AtomicBool) -> Result<T> + Send + 'static,
    ) -> Result<Self> {
        let socket = namespace
            .enter(|| open(interface))?
            .with_context(|| format!("cannot capture on {interface} of {}", namespace.name()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || work(&socket, &stopped));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Takes what passed until now, and ends.
    fn finish(mut self) -> Result<T> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("a capture is finished once")?;
        thread.join().map_err(|_| anyhow!("the capturing thread panicked"))?
    }
}

impl<T> Drop for Tap<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// A packet socket bound to the interface. It is made for no protocol at all, so that it does not
/// take packets of other interfaces before it is bound.
fn open(interface: &str) -> io::Result<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(interface)?;
    // SAFETY: a system call that takes numbers.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK_EVERY_MS))?;
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the address is a live sockaddr_ll of the length that is given.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Gives every frame to `take`, until `stop` is set and those that passed before that are taken.
fn receive(socket: &OwnedFd, stop: &AtomicBool, mut take: impl FnMut(Direction, &[u8])) -> Result<()> {
    let mut buffer = vec![0; SNAP_LENGTH];
    let mut stopping = false;
    loop {
        if !stopping && stop.load(Ordering::Acquire) {
            // Else a stream of packets would never let us come to an end.
            shut(socket).context("cannot end a capture")?;
            stopping = true;
        }
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                let outgoing = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
                take(if outgoing { Direction::Out } else { Direction::In }, &buffer[..length]);
            }
            Err(nix::Error::EAGAIN) if stopping => return Ok(()),
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => {}
            Err(error) => return Err(error).context("cannot read captured packets"),
        }
    }
}

/// Lets no more packets in; those that wait can still be read.
fn shut(socket: &OwnedFd) -> io::Result<()> {
    // One instruction of classic BPF: of each packet, keep no byte.
    let mut nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    // SAFETY: the program and its instruction outlive the call, which copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn dropped(socket: &OwnedFd) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to a live structure of that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(statistics.tp_drops) }
}

/// Writes frames to a pcap file.
pub fn write_pcap(path: &Path, frames: &[Frame]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let header =
        PcapHeader { datalink: DataLink::ETHERNET, snaplen: SNAP_LENGTH as u32, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(io::BufWriter::new(file), header)?;
    for frame in frames {
        let length = u32::try_from(frame.bytes.len())?;
        writer.write_packet(&PcapPacket::new(frame.time, length, &frame.bytes))?;
    }
    Ok(())
}

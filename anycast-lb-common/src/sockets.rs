//! What the backend asks its kernel: does this host hold the flow?

use bytemuck::Pod;

use crate::abi::{HopLimits, address_key};
use crate::packet::Packet;

/// States of a TCP socket that matter here (`enum` in the kernel's `tcp_states.h`).
pub mod state {
    /// Established; also a connected UDP socket.
    pub const ESTABLISHED: u32 = 1;
    /// Listening.
    pub const LISTEN: u32 = 10;
    /// A SYN was answered, the third packet of the handshake has not come.
    pub const NEW_SYN_RECV: u32 = 12;
}

/// A flow as the kernel's socket look-up takes it (`struct bpf_sock_tuple`): the addresses of
/// client and VIP, then their ports, as they lie in the packet.
///
/// `N` is 2 for IPv4 and 5 for IPv6. Words rather than fields: the verifier wants what is handed
/// over on the stack written in aligned words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<const N: usize> {
    words: [u64; N],
}

impl<const N: usize> Tuple<N> {
    /// Bytes of the kernel's structure: the last word is used by half.
    pub const LEN: usize = N * 8 - 4;

    /// The words.
    #[inline(always)]
    pub fn words(&self) -> &[u64; N] {
        &self.words
    }
}

impl Tuple<2> {
    /// The flow from `source` to `destination`; `ports` as [`ports`] gives them.
    #[inline(always)]
    pub fn v4(source: [u8; 4], destination: [u8; 4], ports: u64) -> Self {
        let [a, b, c, d] = source;
        let [e, f, g, h] = destination;
        Tuple { words: [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), ports] }
    }
}

impl Tuple<5> {
    /// The flow from `source` to `destination`; `ports` as [`ports`] gives them.
    #[inline(always)]
    pub fn v6(source: [u8; 16], destination: [u8; 16], ports: u64) -> Self {
        let [a, b] = address_key(source);
        let [c, d] = address_key(destination);
        Tuple { words: [a, b, c, d, ports] }
    }
}

/// Two ports, network order, as the last word of a tuple.
#[inline(always)]
pub fn ports(source: [u8; 2], destination: [u8; 2]) -> u64 {
    let [a, b] = source;
    let [c, d] = destination;
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

/// A TCP socket that a look-up found.
pub trait TcpSocket<P> {
    /// Its [`state`].
    fn state(&self) -> u32;

    /// The sequence number of our SYN-ACK, host order, if the socket is a request
    /// ([`state::NEW_SYN_RECV`]) and the kernel told us where to read it.
    fn request_isn(&self) -> Option<u32>;

    /// Whether the acknowledgement that the TCP segment at `tcp`, in the IP packet at `ip`, carries
    /// is a SYN cookie that this host gave out; the socket listens. `H` is the IP header.
    fn gave_cookie<H: Pod>(&self, packet: &P, ip: usize, tcp: usize) -> bool;
}

/// The sockets of this host.
pub trait Sockets: Packet + Sized {
    /// What [`Self::with_tcp`] finds.
    type Tcp: TcpSocket<Self>;

    /// Calls `ask` with the socket that would get a TCP segment of the flow, TIME_WAIT included.
    fn with_tcp<const N: usize>(&self, flow: &Tuple<N>, ask: impl FnOnce(&Self::Tcp) -> bool)
    -> Option<bool>;

    /// Whether a *connected* UDP socket would get a datagram of the flow.
    fn has_connected_udp<const N: usize>(&self, flow: &Tuple<N>) -> bool;

    /// Whether one more packet may be sent on to another backend now, of the clients whose limit is
    /// kept in `word` ([`rate::word_of`](crate::rate::word_of)). Counts it if so.
    fn admit_hop(&self, word: u32, limits: &HopLimits) -> bool;
}

//! What the backend asks its kernel: does this host hold the flow?

use bytemuck::Pod;

use crate::abi::{HopLimits, address_key};
use crate::packet::Packet;

/// States of a TCP socket that matter here (`enum` in the kernel's `tcp_states.h`).
pub mod state {
    /// Established; also a connected UDP socket.
    pub const ESTABLISHED: u32 = 1;
    /// Closed, by us first: what is left of the connection is remembered for a minute.
    pub const TIME_WAIT: u32 = 6;
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

/// The next sequence numbers of a connection that was closed, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What the client would send next.
    pub receive_next: u32,
    /// What we would send next.
    pub send_next: u32,
}

impl Remembered {
    /// How far from those numbers a segment of that connection may be, in bytes: any window that is
    /// in use, and less than what a client's clock adds to the initial sequence number (RFC 6528: a
    /// byte in 4 µs or faster; Linux: 64 ns) before it can use the port again in earnest.
    const WINDOW: u32 = 1 << 20;

    /// Whether a segment belongs to that connection, not to a later one of the same ports. One
    /// without an acknowledgement is told by its sequence number alone.
    #[inline(always)]
    pub fn has(&self, sequence: u32, acknowledgement: Option<u32>) -> bool {
        let near = |a: u32, b: u32| a.wrapping_sub(b).wrapping_add(Self::WINDOW) <= 2 * Self::WINDOW;
        near(sequence, self.receive_next) && acknowledgement.is_none_or(|a| near(a, self.send_next))
    }
}

/// A TCP socket that a look-up found.
pub trait TcpSocket<P> {
    /// Its [`state`].
    fn state(&self) -> u32;

    /// The sequence number of our SYN-ACK, host order, if the socket is a request
    /// ([`state::NEW_SYN_RECV`]) and the kernel told us where to read it.
    fn request_isn(&self) -> Option<u32>;

    /// Where the connection was when it was closed, if the socket is in [`state::TIME_WAIT`] and the
    /// kernel told us where to read it.
    fn remembered(&self) -> Option<Remembered>;

    /// Whether the acknowledgement that the TCP segment at `tcp`, in the IP packet at `ip`, carries
    /// is a SYN cookie that this host gave out; the socket listens. `H` is the IP header.
    fn gave_cookie<H: Pod>(&self, packet: &P, ip: usize, tcp: usize) -> bool;
}

/// The sockets of this host.
pub trait Sockets: Packet + Sized {
    /// What [`Self::tcp`] finds; let go of when it is dropped.
    type Tcp: TcpSocket<Self>;

    /// The socket that would get a TCP segment of the flow, TIME_WAIT included.
    fn tcp<const N: usize>(&self, flow: &Tuple<N>) -> Option<Self::Tcp>;

    /// Whether a *connected* UDP socket would get a datagram of the flow.
    fn has_connected_udp<const N: usize>(&self, flow: &Tuple<N>) -> bool;

    /// Whether one more packet may be sent on to another backend now, of the clients whose limit is
    /// kept in `word` ([`rate::word_of`](crate::rate::word_of)). Counts it if so.
    fn admit_hop(&self, word: u32, limits: &HopLimits) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_knows_its_own_segments() {
        let closed = Remembered { receive_next: 5, send_next: u32::MAX - 5 };
        // A retransmitted FIN, the last acknowledgement, an old duplicate; across the wrap.
        for (sequence, acknowledgement) in [(4, u32::MAX - 5), (5, u32::MAX - 5), (u32::MAX - 900, 3)] {
            assert!(closed.has(sequence, Some(acknowledgement)), "{sequence} {acknowledgement}");
        }
        assert!(closed.has(5, None));
        // A later connection: its client's numbers are ahead, the server's are anywhere.
        let later = 5 + 15_625_000;
        for (sequence, acknowledgement) in
            [(later, None), (later, Some(0)), (5, Some(1 << 31)), (1 << 31, Some(0))]
        {
            assert!(!closed.has(sequence, acknowledgement), "{sequence} {acknowledgement:?}");
        }
    }
}

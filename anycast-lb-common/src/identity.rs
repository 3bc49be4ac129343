//! A DNS question for the name of the server that answers (RFC 4892): the node answers it, as no backend knows
//! which node a client reached.
//!
//! The program only tells such questions from others and hands the frame to the daemon, which writes the answer.

use bytemuck::{Pod, Zeroable};

use crate::abi::{HopLimits, MAX_QUESTION, Verdict};
use crate::packet::Packet;
use crate::parse::{self, Datagram};
use crate::rate;
use crate::tables::{Tables, View};
use crate::wire::transport::UDP;
use crate::wire::{Ipv4, Ipv6, Ports, Udp, ethernet};

/// The header of a DNS message (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    id: [u8; 2],
    /// QR, opcode, AA, TC, RD.
    flags: u8,
    more_flags: u8,
    questions: [u8; 2],
    answers: [u8; 2],
    authorities: [u8; 2],
    additional: [u8; 2],
}

impl Header {
    /// QR, opcode and TC, which are zero in a whole query.
    const NOT_A_QUERY: u8 = 0b1111_1010;
}

/// A question whose name has `N` bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Asked<const N: usize> {
    name: [u8; N],
    kind: [u8; 2],
    class: [u8; 2],
}

// SAFETY: bytes only.
unsafe impl<const N: usize> Zeroable for Asked<N> {}
// SAFETY: bytes only: no padding, any value is valid.
unsafe impl<const N: usize> Pod for Asked<N> {}

const ID_SERVER: [u8; 11] = *b"\x02id\x06server\0";
const HOSTNAME_BIND: [u8; 15] = *b"\x08hostname\x04bind\0";
/// Type TXT.
const TXT: [u8; 2] = 16_u16.to_be_bytes();
/// Class CHAOS.
const CHAOS: [u8; 2] = 3_u16.to_be_bytes();
/// Ports below are those of services (RFC 6335 §6).
const FIRST_CLIENT_PORT: u16 = 1024;
/// Sets the classes of client prefixes apart from those of other limits.
const ASKING: u64 = 1 << 62;
/// What tells a capital letter from a small one.
const CASE: u8 = 0x20;

impl<const N: usize> Asked<N> {
    /// Whether it asks for `name` in class CHAOS. Letters count alike whatever their case (RFC 4343).
    #[inline(always)]
    fn is(&self, name: &[u8; N]) -> bool {
        let mut differ = 0;
        let mut i = 0;
        while i < N {
            let case = if name[i].is_ascii_lowercase() { CASE } else { 0 };
            differ |= (self.name[i] | case) ^ name[i];
            i += 1;
        }
        differ == 0
            && u16::from_ne_bytes(self.kind) == u16::from_ne_bytes(TXT)
            && u16::from_ne_bytes(self.class) == u16::from_ne_bytes(CHAOS)
    }
}

/// Whether the UDP packet `datagram`, to a VIP that has an identity, asks for it.
#[inline(always)]
pub(crate) fn is_question<P: Packet>(packet: &P, datagram: &Datagram) -> bool {
    const HEADERS: usize = Udp::LEN + size_of::<Header>();
    if datagram.protocol() != UDP || datagram.is_fragment() || packet.reaches(MAX_QUESTION + 1) {
        return false;
    }
    let at = datagram.transport + Udp::LEN;
    // Whom the daemon would not answer: a port that services have (their answers could meet), and a packet with
    // extension headers.
    let is_plain = datagram.transport <= datagram.start + Ipv6::LEN;
    let is_client = packet
        .view::<Ports>(datagram.transport)
        .is_some_and(|ports| u16::from_be_bytes(ports.source) >= FIRST_CLIENT_PORT);
    if !is_plain || !is_client {
        return false;
    }
    let Some(header) = packet.view::<Header>(at) else { return false };
    if header.flags & Header::NOT_A_QUERY != 0
        || u16::from_ne_bytes(header.questions) != 1_u16.to_be()
        || header.answers[0] | header.answers[1] | header.authorities[0] | header.authorities[1] != 0
        || u16::from_be_bytes(header.additional) > 1
    {
        return false;
    }
    let at = datagram.transport + HEADERS;
    asks(packet, datagram, at, &ID_SERVER) || asks(packet, datagram, at, &HOSTNAME_BIND)
}

#[inline(always)]
fn asks<P: Packet, const N: usize>(packet: &P, datagram: &Datagram, at: usize, name: &[u8; N]) -> bool {
    at + size_of::<Asked<N>>() <= datagram.end()
        && packet.view::<Asked<N>>(at).is_some_and(|asked| asked.is(name))
}

/// Hands the frame to the daemon, within limits. As when a packet turns out to be too big, the frame is read once
/// more, so that others carry nothing for it.
#[inline(always)]
pub(crate) fn hand_over<P: Packet, T: Tables>(packet: &P, tables: &T) -> Verdict {
    let Some(prefix) = source_prefix(packet) else { return Verdict::IdentityLimited };
    let Some(view) = View::new(tables) else { return Verdict::BadTable };
    let word = rate::word_of(prefix | ASKING, &view.header.keys);
    let limits = &view.header.question_limits;
    let is_admitted =
        limits.total_interval != HopLimits::NEVER && tables.admit(word, rate::QUESTIONS, limits);
    if is_admitted && packet.hand_over() { Verdict::Identity } else { Verdict::IdentityLimited }
}

#[inline(always)]
fn source_prefix<P: Packet>(packet: &P) -> Option<u64> {
    let link = parse::link(packet)?;
    Some(if link.ether_type() == ethernet::IPV4 {
        rate::prefix_v4(packet.view::<Ipv4>(link.len)?.source)
    } else {
        rate::prefix_v6(packet.view::<Ipv6>(link.len)?.source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Frame;
    use std::vec::Vec;

    /// A DNS query over UDP and IPv4, for a name as it lies in the message.
    fn query(flags: u8, name: &[u8], kind: u16, class: u16, tail: &[u8]) -> Vec<u8> {
        let mut dns = Vec::from([0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        dns.extend_from_slice(name);
        dns.extend_from_slice(&kind.to_be_bytes());
        dns.extend_from_slice(&class.to_be_bytes());
        dns.extend_from_slice(tail);
        let mut frame = Vec::from([2; 12]);
        frame.extend_from_slice(&[8, 0, 0x45, 0]);
        frame.extend_from_slice(&((Ipv4::LEN + Udp::LEN + dns.len()) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 0, 64, UDP, 0, 0, 192, 0, 2, 7, 203, 0, 113, 53]);
        frame.extend_from_slice(&[0xc0, 0, 0, 53]);
        frame.extend_from_slice(&((Udp::LEN + dns.len()) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(&dns);
        frame
    }

    fn is_taken(frame: &[u8]) -> bool {
        let frame = Frame::new(frame);
        let link = parse::link(&frame).expect("Ethernet");
        let datagram = parse::ipv4(&frame, &link, frame.view(link.len).expect("IPv4")).expect("a packet");
        is_question(&frame, &datagram)
    }

    const ID: &[u8] = b"\x02id\x06server\0";
    const HOSTNAME: &[u8] = b"\x08hostname\x04bind\0";
    /// An OPT record that asks for the name server's identifier (RFC 5001).
    const NSID: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x03\0\0";
    const RD: u8 = 1;

    #[test]
    fn both_names_are_questions_whatever_their_case() {
        for name in [ID, HOSTNAME, b"\x02iD\x06SERVER\0", b"\x08HostName\x04BIND\0"] {
            for tail in [&[][..], NSID] {
                assert!(is_taken(&query(RD, name, 16, 3, tail)), "{name:?}");
                assert!(is_taken(&query(0, name, 16, 3, tail)), "{name:?}");
            }
        }
    }

    #[test]
    fn everything_else_goes_to_a_backend() {
        let ok = |flags, name, kind, class| is_taken(&query(flags, name, kind, class, NSID));
        assert!(ok(0, ID, 16, 3));
        for (why, taken) in [
            ("an answer", ok(0x80, ID, 16, 3)),
            ("another opcode", ok(0x28, ID, 16, 3)),
            ("type A", ok(0, ID, 1, 3)),
            ("class IN", ok(0, ID, 16, 1)),
            ("another name", ok(0, b"\x07version\x04bind\0", 16, 3)),
            ("cut short", ok(0x02, ID, 16, 3)),
            ("a letter more", ok(0, b"\x02ie\x06server\0", 16, 3)),
            ("a digit for a letter of the other case", ok(0, b"\x02id\x06\x13erver\0", 16, 3)),
            ("a label of another length", ok(0, b"\x22id\x06server\0", 16, 3)),
            ("a name behind it", ok(0, b"\x02id\x06server\x03com\0", 16, 3)),
        ] {
            assert!(!taken, "{why}");
        }
        let frame = query(0, ID, 16, 3, &[]);
        for len in 0..frame.len() {
            let mut cut = frame[..len].to_vec();
            if len < 14 + Ipv4::LEN {
                continue;
            }
            cut[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
            assert!(!is_taken(&cut), "cut to {len}");
        }
        let mut two = frame.clone();
        two[14 + Ipv4::LEN + Udp::LEN + 5] = 2;
        assert!(!is_taken(&two), "two questions");
        let mut signed = frame.clone();
        signed[14 + Ipv4::LEN + Udp::LEN + 11] = 2;
        assert!(!is_taken(&signed), "more than EDNS");
        for (port, taken) in [(1023_u16, false), (1024, true)] {
            let mut from = frame.clone();
            from[14 + Ipv4::LEN..][..2].copy_from_slice(&port.to_be_bytes());
            assert_eq!(is_taken(&from), taken, "from port {port}");
        }
    }

    #[test]
    fn a_frame_that_does_not_fit_the_ring_goes_to_a_backend() {
        let empty = query(0, ID, 16, 3, &[]).len();
        assert!(is_taken(&query(0, ID, 16, 3, &[0; MAX_QUESTION][empty..])));
        assert!(!is_taken(&query(0, ID, 16, 3, &[0; MAX_QUESTION + 1][empty..])));
    }
}

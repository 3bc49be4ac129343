//! Lowering the MSS that a client's SYN offers, for VIPs that ask for it (`mss_clamp`).
//!
//! It limits the segments that the *backend* sends; these do not go through the tunnel, so it helps
//! where the way back is as narrow. The client's segments are limited by the SYN-ACK, which no ingress
//! node sees: `advmss` on the backends' routes, or the answers of `mtu.rs`.

use crate::checksum::update;
use crate::packet::Packet;
use crate::wire::transport::TCP;
use crate::wire::{Ipv4, Ipv6, Tcp};

/// Options that are looked at; the MSS is nearly always the first.
const MAX_OPTIONS: usize = 10;
/// Bytes of a segment that every host takes: what IPv4 without any option asks for.
const SMALLEST: u16 = 536;
/// End of the options.
const END: u8 = 0;
/// One byte of padding.
const NO_OPERATION: u8 = 1;
/// Maximum segment size.
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;
/// An option is somewhere in the first 64 bytes of the header: all that its length field can say. Nothing
/// that gets that far is changed by it; the verifier sees one range for whatever way led there.
const PLACE: usize = 63;

/// Lowers the MSS so that packets of the flow have no more than `fits` bytes, if the IP packet at `start` opens
/// a TCP connection and says a larger one. `None` where there is nothing to be lowered.
///
/// The packet was found to be whole; it is read once more, so that nobody has to remember where its parts
/// are. A SYN behind IPv6 extension headers, of which there are none but probes, stays as it is.
#[inline(always)]
pub fn clamp<P: Packet>(packet: &mut P, start: usize, fits: u64) -> Option<()> {
    let ip: &Ipv4 = packet.view(start)?;
    let (transport, headers) = if ip.is_version_4() {
        if ip.protocol != TCP || ip.is_fragment() {
            return None;
        }
        (start + ip.header_len(), Ipv4::LEN + Tcp::LEN)
    } else {
        let ip: &Ipv6 = packet.view(start)?;
        if ip.next_header != TCP {
            return None;
        }
        (start + Ipv6::LEN, Ipv6::LEN + Tcp::LEN)
    };
    let tcp: &Tcp = packet.view(transport)?;
    let end = tcp.header_len();
    if !tcp.is_opening() || !packet.reaches(transport + end) {
        return None;
    }
    let at = place(packet, transport, end)?;
    // No host has to take smaller segments than these (RFC 9293 §3.7.1), and no way is so narrow.
    let mss = (fits as u16).saturating_sub(headers as u16);
    if mss < SMALLEST {
        return None;
    }
    lower(packet, transport, at, mss)
}

/// Where the MSS option is, in bytes behind the start of a TCP header of `end` bytes.
#[inline(always)]
fn place<P: Packet>(packet: &P, transport: usize, end: usize) -> Option<usize> {
    let mut at = Tcp::LEN;
    let mut looked_at = 0;
    while looked_at < MAX_OPTIONS && at + MSS_LEN as usize <= end {
        let [kind, len, ..]: &[u8; MSS_LEN as usize] = packet.view(transport + at)?;
        let len = match (*kind, *len) {
            (MSS, MSS_LEN) => return Some(at),
            (END, _) => return None,
            (NO_OPERATION, _) => 1,
            (_, 0 | 1) => return None,
            (_, len) => len as usize,
        };
        at += len;
        if at > end {
            return None;
        }
        at &= PLACE;
        looked_at += 1;
    }
    None
}

/// Writes `largest` into the MSS option `at` bytes behind the start of the TCP header, if it is less.
#[inline(always)]
fn lower<P: Packet>(packet: &mut P, transport: usize, at: usize, largest: u16) -> Option<()> {
    let option: &mut [u8; MSS_LEN as usize] = packet.view_mut(transport + at)?;
    let old = u16::from_be_bytes([option[2], option[3]]);
    if old <= largest {
        return None;
    }
    [option[2], option[3]] = largest.to_be_bytes();
    // Behind an odd number of bytes of padding, each byte is the other half of its word.
    let (old, new) = if at & 1 == 0 { (old, largest) } else { (old.swap_bytes(), largest.swap_bytes()) };
    let tcp: &mut Tcp = packet.view_mut(transport)?;
    tcp.checksum = update(u16::from_be_bytes(tcp.checksum), old, new).to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};

    use super::*;
    use crate::host::Frame;
    use crate::wire::Ethernet;

    /// What a SYN that offers 1,460 offers afterwards.
    fn offered(fits: u64) -> Vec<TcpOptionElement> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [203, 0, 113, 1], 64);
        let offer = [TcpOptionElement::MaximumSegmentSize(1460)];
        let mut bytes = Vec::new();
        let syn = builder.tcp(1000, 80, 1, 1000).syn().options(&offer).expect("room");
        syn.write(&mut bytes, &[]).expect("frame");
        let mut frame = Frame::new(&bytes);
        clamp(&mut frame, Ethernet::LEN, fits);
        let sliced = SlicedPacket::from_ethernet(frame.bytes()).expect("a packet");
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        tcp.options_iterator().map(|option| option.expect("an option")).collect()
    }

    #[test]
    fn the_mss_is_lowered_to_what_fits_and_never_below_what_everybody_takes() {
        for (fits, mss) in [(1400, 1360), (1500, 1460), (9000, 1460), (576, 536), (575, 1460), (1, 1460)] {
            assert_eq!(offered(fits), [TcpOptionElement::MaximumSegmentSize(mss)], "{fits}");
        }
    }
}

//! Reads frames for people: what lies in one, in a line, as far as it can be read.
//!
//! Nothing is decided here: that is for the programs. So whatever does not fit is said, and read no
//! further.

pub mod hex;
mod ip;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use anycast_lb_common::wire::ethernet::{self, VlanTag, is_vlan};
use anycast_lb_common::wire::{Ethernet, ethernet::MAC_LEN};
use bytemuck::Pod;

pub use ip::Ip;

/// VLAN tags that are looked behind: more than the programs do, so that a third one is seen.
const MAX_TAGS: usize = 4;

/// A frame that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dissected {
    /// One line: link, IP, transport, and what is tunnelled.
    pub text: String,
    /// IEEE 802.1Q / 802.1ad tags, the outer one first.
    pub tags: Vec<u16>,
    /// The outer IP header.
    pub ip: Option<Ip>,
    /// The IP header inside a tunnel of ours.
    pub inner: Option<Ip>,
    /// Backends that the tunnel header names besides the one the packet goes to.
    pub hops: Vec<IpAddr>,
}

/// Reads `frame` from its Ethernet header on.
pub fn dissect(frame: &[u8]) -> Dissected {
    let mut out = Dissected::default();
    let Some(ethernet) = view::<Ethernet>(frame, 0) else {
        out.text = format!("{} bytes, which is less than an Ethernet header", frame.len());
        return out;
    };
    out.text = format!("{} > {}", mac_text(ethernet.source), mac_text(ethernet.destination));
    let mut ether_type = u16::from_be_bytes(ethernet.ether_type);
    let mut at = Ethernet::LEN;
    while is_vlan(ether_type) && out.tags.len() < MAX_TAGS {
        let Some(tag) = view::<VlanTag>(frame, at) else {
            out.text.push_str(", cut short in a VLAN tag");
            return out;
        };
        let id = u16::from_be_bytes(tag.control) & 0xfff;
        out.tags.push(id);
        out.text.push_str(&format!(", VLAN {id}"));
        ether_type = u16::from_be_bytes(tag.ether_type);
        at += VlanTag::LEN;
    }
    match ether_type {
        ethernet::IPV4 | ethernet::IPV6 => ip::read(&frame[at..], ether_type == ethernet::IPV4, &mut out),
        other => out.text.push_str(&format!(", {}, {} bytes", ether_type_name(other), frame.len() - at)),
    }
    out
}

/// `02:00:00:00:00:01`.
pub fn mac_text(mac: [u8; MAC_LEN]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The bytes at `at`; none where there are too few.
fn view<T: Pod>(bytes: &[u8], at: usize) -> Option<T> {
    bytes.get(at..at.checked_add(size_of::<T>())?).map(bytemuck::pod_read_unaligned)
}

fn ether_type_name(ether_type: u16) -> String {
    match ether_type {
        0x0806 => "ARP".to_owned(),
        0x88cc => "LLDP".to_owned(),
        0x8847 | 0x8848 => "MPLS".to_owned(),
        0x8863 | 0x8864 => "PPPoE".to_owned(),
        // IEEE 802.3: a length stands there.
        ..0x600 => "IEEE 802.2 LLC".to_owned(),
        other => format!("EtherType {other:#06x}"),
    }
}

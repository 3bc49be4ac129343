//! Ethernet II and IEEE 802.1Q / 802.1ad tags.

use bytemuck::{Pod, Zeroable};
use network_types::eth::EtherType;

/// EtherType of IPv4, host order.
pub const IPV4: u16 = u16::from_be(EtherType::Ipv4 as u16);
/// EtherType of IPv6, host order.
pub const IPV6: u16 = u16::from_be(EtherType::Ipv6 as u16);
/// EtherType of a customer VLAN tag (802.1Q), host order.
pub const VLAN: u16 = u16::from_be(EtherType::Ieee8021q as u16);
/// EtherType of a service VLAN tag (802.1ad), host order.
pub const SERVICE_VLAN: u16 = u16::from_be(EtherType::Ieee8021ad as u16);

/// Bytes of a MAC address.
pub const MAC_LEN: usize = 6;

/// The header of an untagged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: [u8; MAC_LEN],
    /// Source MAC.
    pub source: [u8; MAC_LEN],
    /// EtherType, network order.
    pub ether_type: [u8; 2],
}

impl Ethernet {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// The bit of the destination that says that it is a group (broadcast included).
    #[inline(always)]
    pub fn group_bit(&self) -> u8 {
        self.destination[0] & 1
    }
}

/// A VLAN tag, which stands between the source MAC and the EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VlanTag {
    /// Priority, drop eligibility and VLAN id, network order.
    pub control: [u8; 2],
    /// EtherType of what follows, network order.
    pub ether_type: [u8; 2],
}

impl VlanTag {
    /// Bytes of a tag.
    pub const LEN: usize = size_of::<Self>();
}

/// Whether `ether_type` (host order) announces a VLAN tag.
#[inline(always)]
pub fn is_vlan(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == SERVICE_VLAN
}

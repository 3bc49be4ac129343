//! Who is who in the packets: documentation and benchmark ranges (RFC 5737, 6598, 2544, 3849).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Port of all services.
pub const PORT: u16 = 443;
/// Port of all clients; flows differ by address.
pub const CLIENT_PORT: u16 = 40_000;
/// The backend itself, where its program is measured.
pub const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// Who tunnels to it.
pub const INGRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The client whose connection the backend holds.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The VIP that the backend serves.
pub const BACKEND_VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Nobody's, as far as the ingress node knows.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// The `n`th client.
pub fn client(v4: bool, n: u32) -> IpAddr {
    if v4 { v4_from([100, 64, 0, 0], n) } else { v6_from(0x0c, n) }
}

/// The `n`th VIP with a pool of its own kind; 1 is the one that peers get too.
pub fn vip(v4: bool, n: u32) -> IpAddr {
    if v4 { v4_from([203, 0, 113, 0], n) } else { v6_from(0xffff, n) }
}

/// The `n`th of many VIPs; groups are numbered.
pub fn vip_of_many(group: u8, n: u32) -> IpAddr {
    v4_from([198, 18, group * 16, 0], n)
}

/// The `n`th backend of a PoP.
pub fn backend(v4: bool, pop: u8, n: u32) -> IpAddr {
    if v4 { v4_from([10, 1 + pop, 0, 1], n) } else { v6_from(0x100 + u16::from(pop), 1 + n) }
}

fn v4_from(first: [u8; 4], n: u32) -> IpAddr {
    Ipv4Addr::from(u32::from_be_bytes(first) + n).into()
}

fn v6_from(network: u16, n: u32) -> IpAddr {
    let [high, low] = [(n >> 16) as u16, n as u16];
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, high, low).into()
}

//! IP and what it carries.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anycast_lb_common::wire::gue::{self, Private};
use anycast_lb_common::wire::icmp::{self, ICMP, ICMPV6};
use anycast_lb_common::wire::ipv4::PROTOCOL_IPV4;
use anycast_lb_common::wire::ipv6::{
    DESTINATION_OPTIONS, Extension, FRAGMENT, FragmentHeader, HOP_BY_HOP, PROTOCOL_IPV6, ROUTING,
};
use anycast_lb_common::wire::transport::{TCP, UDP};
use anycast_lb_common::wire::{Gue, IcmpEcho, Ipv4, Ipv6, Ports, Tcp, Udp};

use super::{Dissected, view};

/// IPv6 extension headers that are looked behind: more than the programs do.
const MAX_EXTENSIONS: usize = 16;
/// TCP flags from the lowest bit on (RFC 9293 §3.1), as tcpdump abbreviates them.
const TCP_FLAGS: [char; 8] = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];

/// An IP header and the ports behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Protocol number of what is carried, behind all extension headers.
    pub protocol: u8,
    /// Source and destination port, if there are any.
    pub ports: Option<(u16, u16)>,
    /// A fragment, the first one included.
    pub fragment: bool,
}

/// Where a header and its payload lie.
struct Found {
    ip: Ip,
    /// What is carried, as far as length and frame allow.
    payload: Vec<u8>,
    /// A fragment other than the first: no transport header.
    later: bool,
    /// What is worth saying of the header.
    remarks: String,
}

/// Reads what lies behind the link header, and what is tunnelled in it.
pub(super) fn read(bytes: &[u8], ipv4: bool, out: &mut Dissected) {
    let mut text = String::new();
    let found = header(bytes, ipv4, &mut text);
    if let Some(found) = found {
        out.ip = Some(with_ports(&found));
        carried(&found, true, &mut text, out);
    }
    out.text.push_str(", ");
    out.text.push_str(&text);
}

/// Without a usable header, `text` says why.
fn header(bytes: &[u8], ipv4: bool, text: &mut String) -> Option<Found> {
    let found = if ipv4 { read_v4(bytes) } else { read_v6(bytes) };
    if found.is_none() {
        let family = if ipv4 { "IPv4" } else { "IPv6" };
        let version = bytes.first().map_or_else(|| "nothing".to_owned(), |b| format!("version {}", b >> 4));
        let _ = write!(text, "no usable {family} header ({version}, {} bytes)", bytes.len());
    }
    found
}

fn read_v4(bytes: &[u8]) -> Option<Found> {
    let header: Ipv4 = view(bytes, 0)?;
    if !header.is_sane() {
        return None;
    }
    let mut remarks = format!("TTL {}, {} bytes", header.ttl, header.total_len());
    if header.header_len() > Ipv4::LEN {
        let _ = write!(remarks, ", {} bytes of options", header.header_len() - Ipv4::LEN);
    }
    if header.is_fragment() {
        let bits = u16::from_be_bytes(header.fragment);
        let more = if bits & 0x2000 != 0 { ", more follow" } else { "" };
        let _ = write!(remarks, ", fragment {:#x} at {}{more}", header.id(), (bits & 0x1fff) * 8);
    }
    beyond(bytes.len(), header.total_len(), &mut remarks);
    let end = header.total_len().min(bytes.len());
    Some(Found {
        ip: Ip {
            source: Ipv4Addr::from(header.source).into(),
            destination: Ipv4Addr::from(header.destination).into(),
            protocol: header.protocol,
            ports: None,
            fragment: header.is_fragment(),
        },
        payload: bytes.get(header.header_len()..end).unwrap_or_default().to_vec(),
        later: header.is_later_fragment(),
        remarks,
    })
}

fn read_v6(bytes: &[u8]) -> Option<Found> {
    let header: Ipv6 = view(bytes, 0)?;
    if !header.is_sane() {
        return None;
    }
    let mut remarks = format!("hop limit {}, {} bytes", header.hop_limit, header.total_len());
    beyond(bytes.len(), header.total_len(), &mut remarks);
    let bytes = &bytes[..header.total_len().min(bytes.len())];
    let (mut at, mut protocol, mut extensions) = (Ipv6::LEN, header.next_header, 0);
    let (mut fragment, mut later) = (false, false);
    while extensions < MAX_EXTENSIONS && !later {
        match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let Some(extension) = view::<Extension>(bytes, at) else { break };
                (protocol, at) = (extension.next_header, at + extension.total_len());
            }
            FRAGMENT => {
                let Some(found) = view::<FragmentHeader>(bytes, at) else { break };
                (protocol, at) = (found.next_header, at + FragmentHeader::LEN);
                fragment |= !found.is_atomic();
                later = found.is_later();
                let offset = u16::from_be_bytes(found.offset_more);
                let more = if offset & 1 != 0 { ", more follow" } else { "" };
                let _ = write!(remarks, ", fragment {:#x} at {}{more}", found.id(), offset & 0xfff8);
            }
            _ => break,
        }
        extensions += 1;
    }
    if extensions > 0 {
        let _ = write!(remarks, ", extension headers: {extensions}");
    }
    Some(Found {
        ip: Ip {
            source: Ipv6Addr::from(header.source).into(),
            destination: Ipv6Addr::from(header.destination).into(),
            protocol,
            ports: None,
            fragment,
        },
        payload: bytes.get(at..).unwrap_or_default().to_vec(),
        later,
        remarks,
    })
}

fn beyond(present: usize, said: usize, remarks: &mut String) {
    if said > present {
        let _ = write!(remarks, " of which the frame has {present}");
    }
}

fn with_ports(found: &Found) -> Ip {
    let ports = matches!(found.ip.protocol, TCP | UDP).then(|| view::<Ports>(&found.payload, 0)).flatten();
    let number = |ports: Ports| (u16::from_be_bytes(ports.source), u16::from_be_bytes(ports.destination));
    Ip { ports: ports.filter(|_| !found.later).map(number), ..found.ip }
}

/// Says what `found` is and carries; what is tunnelled too, if this is the `outer` header.
fn carried(found: &Found, outer: bool, text: &mut String, out: &mut Dissected) {
    let ip = with_ports(found);
    let end = |address: IpAddr, port: Option<u16>| match (address, port) {
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
        (address, None) => address.to_string(),
    };
    let source = end(ip.source, ip.ports.map(|p| p.0));
    let destination = end(ip.destination, ip.ports.map(|p| p.1));
    let _ = write!(text, "{source} > {destination} {}, {}", transport(found), found.remarks);
    if !outer || found.later {
        return;
    }
    match ip.protocol {
        PROTOCOL_IPV4 | PROTOCOL_IPV6 => inside(&found.payload, ip.protocol, text, out),
        UDP if ip.ports.is_some_and(|(_, port)| port == gue::PORT) => {
            read_gue(found.payload.get(Udp::LEN..).unwrap_or_default(), text, out);
        }
        _ => {}
    }
}

/// The packet in a tunnel.
fn inside(bytes: &[u8], protocol: u8, text: &mut String, out: &mut Dissected) {
    text.push_str(" | ");
    if let Some(found) = header(bytes, protocol == PROTOCOL_IPV4, text) {
        out.inner = Some(with_ports(&found));
        carried(&found, false, text, out);
    }
}

fn read_gue(bytes: &[u8], text: &mut String, out: &mut Dissected) {
    let Some(gue) = view::<Gue>(bytes, 0).filter(Gue::is_plain) else {
        text.push_str(" | no usable GUE header");
        return;
    };
    text.push_str(" | GUE");
    let start = Gue::LEN + gue.private_len();
    if let Some(private) = view::<Private>(bytes, Gue::LEN).filter(|_| gue.private_len() > 0) {
        let width = if private.kind == Private::WIDE { 16 } else { 4 };
        let list = bytes.get(Gue::LEN + Private::LEN..start).unwrap_or_default();
        out.hops = list.chunks_exact(width).filter_map(address).take(private.hop_count.into()).collect();
        let hops: Vec<String> = out.hops.iter().map(ToString::to_string).collect();
        if !hops.is_empty() {
            let _ = write!(text, ", {} of {} hops used: {}", private.next_hop, hops.len(), hops.join(" "));
        }
    }
    match (gue.protocol, bytes.get(start..)) {
        (protocol @ (PROTOCOL_IPV4 | PROTOCOL_IPV6), Some(inner)) => inside(inner, protocol, text, out),
        (protocol, _) => {
            let _ = write!(text, ", protocol {protocol}");
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(view::<[u8; 4]>(bytes, 0)?).into()),
        _ => Some(Ipv6Addr::from(view::<[u8; 16]>(bytes, 0)?).into()),
    }
}

fn transport(found: &Found) -> String {
    let (protocol, payload) = (found.ip.protocol, found.payload.as_slice());
    let name = match protocol {
        TCP => "TCP",
        UDP => "UDP",
        ICMP => "ICMP",
        ICMPV6 => "ICMPv6",
        PROTOCOL_IPV4 => "IPv4 in IP",
        PROTOCOL_IPV6 => "IPv6 in IP",
        other => return format!("protocol {other}"),
    };
    if found.later {
        return name.to_owned();
    }
    let cut = || format!("{name} cut short");
    match protocol {
        TCP => view::<Tcp>(payload, 0).map_or_else(cut, |tcp| {
            let set = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| tcp.flags & (1 << bit) != 0);
            format!("TCP [{}]", set.map(|(_, flag)| flag).collect::<String>())
        }),
        UDP if payload.len() < Udp::LEN => cut(),
        ICMP | ICMPV6 => {
            view::<IcmpEcho>(payload, 0).map_or_else(cut, |m| format!("{name} {}", icmp_name(&m, protocol)))
        }
        _ => name.to_owned(),
    }
}

fn icmp_name(message: &IcmpEcho, protocol: u8) -> String {
    let id = u16::from_be_bytes(message.id);
    let sequence = u16::from_be_bytes(message.sequence);
    match (protocol, message.kind) {
        (ICMP, icmp::ECHO_REQUEST) | (ICMPV6, icmp::ECHO_REQUEST_V6) => {
            format!("echo request id {id} seq {sequence}")
        }
        (ICMP, icmp::ECHO_REPLY) | (ICMPV6, icmp::ECHO_REPLY_V6) => {
            format!("echo reply id {id} seq {sequence}")
        }
        (ICMPV6, 133..=137) => format!("neighbour discovery (type {})", message.kind),
        (_, kind) => format!("type {kind} code {}", message.code),
    }
}

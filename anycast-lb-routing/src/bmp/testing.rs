//! Makes BMP messages, for tests.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::HEADER;

pub const V6: u8 = 0x80;
pub const POST_POLICY: u8 = 0x40;
pub const TWO_BYTE_PATHS: u8 = 0x20;
pub const OUTGOING: u8 = 0x10;

/// A peer of a router, and the flags of a message about it.
#[derive(Clone, Copy)]
pub struct Peer {
    pub kind: u8,
    pub flags: u8,
    pub address: &'static str,
    pub asn: u32,
}

pub const PEER: Peer = Peer { kind: 0, flags: 0, address: "10.0.0.7", asn: 64510 };

impl Peer {
    pub fn header(&self) -> Vec<u8> {
        let mut out = vec![self.kind, self.flags];
        out.extend([0; 8]);
        match self.address.parse().expect("an address") {
            IpAddr::V4(a) => out.extend([&[0; 12][..], &a.octets()].concat()),
            IpAddr::V6(a) => out.extend(a.octets()),
        }
        out.extend(self.asn.to_be_bytes());
        out.extend([10, 9, 9, 9]);
        out.extend([0; 8]);
        out
    }

    pub fn up(&self, sent: &[u8], received: &[u8]) -> Vec<u8> {
        let address_and_ports =
            [&[0; 12][..], &[10, 0, 0, 1], &179u16.to_be_bytes(), &40000u16.to_be_bytes()];
        message(3, &[&self.header()[..], &address_and_ports.concat(), sent, received].concat())
    }

    pub fn down(&self) -> Vec<u8> {
        // 4: the remote end closed without a word.
        message(2, &[&self.header()[..], &[4]].concat())
    }

    pub fn routes(&self, update: &Update) -> Vec<u8> {
        message(0, &[&self.header()[..], &update.bytes()].concat())
    }
}

/// With the common header.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    [&[3][..], &length.to_be_bytes(), &[kind], body].concat()
}

pub fn initiation(name: &str) -> Vec<u8> {
    let tlv = |kind: u16, text: &str| {
        [&kind.to_be_bytes()[..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
    };
    message(4, &[tlv(1, "a router"), tlv(2, name)].concat())
}

fn bgp(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &((19 + body.len()) as u16).to_be_bytes(), &[kind], body].concat()
}

/// An OPEN with the capability of four-byte ASes, and of path identifiers: 1 receive, 2 send, 3 both.
pub fn open(asn: u32, add_path_v4: u8, add_path_v6: u8) -> Vec<u8> {
    let mut capabilities = [&[65, 4][..], &asn.to_be_bytes()].concat();
    capabilities.extend([69, 8, 0, 1, 1, add_path_v4, 0, 2, 1, add_path_v6]);
    let mut body = vec![4];
    body.extend(u16::try_from(asn).unwrap_or(23456).to_be_bytes());
    body.extend([0, 90, 10, 9, 9, 9]);
    let length = capabilities.len() as u8;
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    bgp(1, &body)
}

/// An UPDATE.
#[derive(Clone, Default)]
pub struct Update {
    pub withdrawn: Vec<&'static str>,
    pub announced: Vec<&'static str>,
    /// Type and ASes of segments; none = no path.
    pub path: Option<Vec<(u8, Vec<u32>)>>,
    pub add_path: Option<u32>,
    pub width: usize,
    pub more: Vec<u8>,
}

/// That these prefixes are there, by a path of one sequence.
pub fn announce(prefixes: &[&'static str], path: &[u32]) -> Update {
    let path = if path.is_empty() { Vec::new() } else { vec![(2, path.to_vec())] };
    Update { announced: prefixes.to_vec(), path: Some(path), width: 4, ..Update::default() }
}

pub fn withdraw(prefixes: &[&'static str]) -> Update {
    Update { withdrawn: prefixes.to_vec(), width: 4, ..Update::default() }
}

pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags | 0x10, code][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

impl Update {
    pub fn bytes(&self) -> Vec<u8> {
        let nlri = |prefixes: &[&'static str], v6: bool| {
            let nets = prefixes.iter().map(|p| p.parse::<IpNet>().expect("a prefix"));
            let mut out = Vec::new();
            for net in nets.filter(|net| matches!(net, IpNet::V6(_)) == v6) {
                out.extend(self.add_path.iter().flat_map(|id| id.to_be_bytes()));
                out.push(net.prefix_len());
                let length = usize::from(net.prefix_len().div_ceil(8));
                match net.addr() {
                    IpAddr::V4(a) => out.extend(&a.octets()[..length]),
                    IpAddr::V6(a) => out.extend(&a.octets()[..length]),
                }
            }
            out
        };
        let mut attributes = Vec::new();
        if let Some(path) = &self.path {
            attributes.extend(attribute(0x40, 1, &[0]));
            attributes.extend(attribute(0x40, 2, &path_bytes(path, self.width)));
            attributes.extend(attribute(0x40, 3, &[10, 0, 0, 7]));
        }
        let (reach, unreach) = (nlri(&self.announced, true), nlri(&self.withdrawn, true));
        if !reach.is_empty() {
            let next_hop: Vec<u8> = [&[16, 0xfd][..], &[0; 14], &[7]].concat();
            attributes.extend(attribute(0x80, 14, &[&[0, 2, 1][..], &next_hop, &[0], &reach].concat()));
        }
        if !unreach.is_empty() {
            attributes.extend(attribute(0x80, 15, &[&[0, 2, 1][..], &unreach].concat()));
        }
        attributes.extend(&self.more);
        let withdrawn = nlri(&self.withdrawn, false);
        let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
        body.extend(withdrawn);
        body.extend((attributes.len() as u16).to_be_bytes());
        body.extend(attributes);
        body.extend(nlri(&self.announced, false));
        bgp(2, &body)
    }
}

pub fn path_bytes(path: &[(u8, Vec<u32>)], width: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, ases) in path {
        out.extend([*kind, ases.len() as u8]);
        out.extend(ases.iter().flat_map(|asn| asn.to_be_bytes()[4 - width..].to_vec()));
    }
    out
}

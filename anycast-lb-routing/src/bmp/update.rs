//! A BGP UPDATE (RFC 4271 §4.3, RFC 4760, RFC 7911), as far as it says which prefixes come from which AS.
//!
//! What does not concern us is not looked at, however wrong it may be. What concerns us and is wrong is taken as a
//! withdrawal, as routers do (RFC 7606).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bytes::Bytes;
use super::message::AddPath;

/// Stands for an AS of four bytes in a path of two (RFC 6793).
const AS_TRANS: u32 = 23456;

/// A prefix, and which of several paths to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nlri {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// 0 where paths have no identifiers.
    pub path: u32,
}

/// A part of an AS path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Sequence(Vec<u32>),
    Set(Vec<u32>),
    /// Members of one's own confederation (RFC 5065), to which the path belongs.
    Confederation(Vec<u32>),
}

/// An AS path. Displays as `64510 64666`, sets as `{64666,64667}`, members of a confederation as `(65001)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsPath(Vec<Segment>);

/// Where a path begins (RFC 6811 §2, "Route Origin ASN").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In this AS.
    As(u32),
    /// In one of several, which were aggregated: it cannot be told.
    Set(Vec<u32>),
    /// In the AS of who has it: the path is empty, or within the confederation.
    Here,
}

impl AsPath {
    /// Where it begins.
    pub fn origin(&self) -> Origin {
        for segment in self.0.iter().rev() {
            match segment {
                Segment::Sequence(ases) => {
                    if let Some(last) = ases.last() {
                        return Origin::As(*last);
                    }
                }
                Segment::Set(ases) => return Origin::Set(ases.clone()),
                Segment::Confederation(_) => {}
            }
        }
        Origin::Here
    }

    /// `value` with ASes of `width` bytes.
    fn read(value: Bytes<'_>, width: usize) -> Option<Self> {
        let mut bytes = value;
        let mut segments = Vec::new();
        while !bytes.is_empty() {
            let [kind, count] = bytes.array()?;
            let ases = bytes.take(usize::from(count) * width)?;
            let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
            let ases: Vec<u32> = ases.0.chunks_exact(width).map(number).collect();
            segments.push(match kind {
                _ if ases.is_empty() => return None,
                1 => Segment::Set(ases),
                2 => Segment::Sequence(ases),
                3 | 4 => Segment::Confederation(ases),
                _ => return None,
            });
        }
        Some(AsPath(segments))
    }

    /// How many ASes it counts for (RFC 4271 §9.1.2.2).
    fn length(&self) -> usize {
        let count = |s: &Segment| match s {
            Segment::Sequence(ases) => ases.len(),
            Segment::Set(_) => 1,
            Segment::Confederation(_) => 0,
        };
        self.0.iter().map(count).sum()
    }

    /// This path of two-byte ASes, with its end by `four` (RFC 6793 §4.2.3).
    fn completed(self, four: AsPath) -> AsPath {
        let Some(mut keep) = self.length().checked_sub(four.length()) else { return self };
        let mut segments = Vec::new();
        for segment in self.0 {
            match segment {
                Segment::Confederation(_) => segments.push(segment),
                _ if keep == 0 => {}
                Segment::Sequence(mut ases) => {
                    ases.truncate(keep);
                    keep -= ases.len();
                    segments.push(Segment::Sequence(ases));
                }
                Segment::Set(_) => {
                    keep -= 1;
                    segments.push(segment);
                }
            }
        }
        segments.extend(four.0);
        AsPath(segments)
    }

    fn has(&self, asn: u32) -> bool {
        self.0.iter().any(|s| match s {
            Segment::Sequence(ases) | Segment::Set(ases) | Segment::Confederation(ases) => {
                ases.contains(&asn)
            }
        })
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |ases: &[u32], by: &str| {
            let ases: Vec<String> = ases.iter().map(ToString::to_string).collect();
            ases.join(by)
        };
        for (i, segment) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            match segment {
                Segment::Sequence(ases) => write!(f, "{space}{}", join(ases, " "))?,
                Segment::Set(ases) => write!(f, "{space}{{{}}}", join(ases, ","))?,
                Segment::Confederation(ases) => write!(f, "{space}({})", join(ases, " "))?,
            }
        }
        Ok(())
    }
}

/// What an UPDATE says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// What is there no more.
    pub withdrawn: Vec<Nlri>,
    /// What is there, by [`Self::path`].
    pub announced: Vec<Nlri>,
    /// The way to it.
    pub path: AsPath,
}

/// Understands an UPDATE with its header. None: it cannot be told which prefixes it is about.
pub fn decode(message: &[u8], two_byte_paths: bool, add_path: AddPath) -> Option<Update> {
    const UPDATE: u8 = 2;
    let mut bytes = Bytes(message);
    let _marker: [u8; 16] = bytes.array()?;
    let length = usize::from(bytes.u16()?);
    let mut body = bytes.take(length.checked_sub(18)?)?;
    if body.u8()? != UPDATE {
        return None;
    }
    let mut update = Update::default();
    v4(body.block16()?, add_path.v4, &mut update.withdrawn)?;
    let attributes = body.block16()?;
    v4(body, add_path.v4, &mut update.announced)?;
    let path = path_attributes(attributes, two_byte_paths, add_path, &mut update);
    match path {
        Some(path) => update.path = path,
        None => update.withdrawn.append(&mut update.announced),
    }
    Some(update)
}

/// Takes prefixes out of the attributes; the path, if there is one and it can be understood.
fn path_attributes(
    mut attributes: Bytes<'_>,
    two_byte_paths: bool,
    add_path: AddPath,
    update: &mut Update,
) -> Option<AsPath> {
    const EXTENDED_LENGTH: u8 = 0x10;
    let (mut path, mut four) = (None, None);
    let mut readable = true;
    while !attributes.is_empty() {
        let [flags, code] = attributes.array()?;
        let value = if flags & EXTENDED_LENGTH != 0 { attributes.block16() } else { attributes.block8() };
        let value = value?;
        match code {
            2 => {
                // Routers have been seen to say the wrong width; a path that fits has the other one.
                let widths = if two_byte_paths { [2, 4] } else { [4, 2] };
                path = widths.into_iter().find_map(|width| AsPath::read(value, width));
            }
            14 => readable &= reach(value, add_path, &mut update.announced).is_some(),
            15 => readable &= unreach(value, add_path, &mut update.withdrawn).is_some(),
            17 => four = AsPath::read(value, 4),
            _ => {}
        }
    }
    let path = path.filter(|_| readable)?;
    match four {
        Some(four) if path.has(AS_TRANS) => Some(path.completed(four)),
        _ => Some(path),
    }
}

/// MP_REACH_NLRI (RFC 4760 §3).
fn reach(mut value: Bytes<'_>, add_path: AddPath, out: &mut Vec<Nlri>) -> Option<()> {
    let (family, safi) = (value.u16()?, value.u8()?);
    let _next_hop = value.block8()?;
    let _reserved = value.u8()?;
    family_nlri(family, safi, value, add_path, out)
}

/// MP_UNREACH_NLRI (RFC 4760 §4).
fn unreach(mut value: Bytes<'_>, add_path: AddPath, out: &mut Vec<Nlri>) -> Option<()> {
    let (family, safi) = (value.u16()?, value.u8()?);
    family_nlri(family, safi, value, add_path, out)
}

fn family_nlri(
    family: u16,
    safi: u8,
    bytes: Bytes<'_>,
    add_path: AddPath,
    out: &mut Vec<Nlri>,
) -> Option<()> {
    const UNICAST: u8 = 1;
    match (family, safi) {
        (1, UNICAST) => v4(bytes, add_path.v4, out),
        (2, UNICAST) => v6(bytes, add_path.v6, out),
        _ => Some(()),
    }
}

fn v4(bytes: Bytes<'_>, add_path: bool, out: &mut Vec<Nlri>) -> Option<()> {
    nlri(bytes, add_path, out, |octets: [u8; 4], length| {
        Ipv4Net::new(Ipv4Addr::from(octets), length).ok().map(IpNet::from)
    })
}

fn v6(bytes: Bytes<'_>, add_path: bool, out: &mut Vec<Nlri>) -> Option<()> {
    nlri(bytes, add_path, out, |octets: [u8; 16], length| {
        Ipv6Net::new(Ipv6Addr::from(octets), length).ok().map(IpNet::from)
    })
}

fn nlri<const N: usize>(
    mut bytes: Bytes<'_>,
    add_path: bool,
    out: &mut Vec<Nlri>,
    net: impl Fn([u8; N], u8) -> Option<IpNet>,
) -> Option<()> {
    while !bytes.is_empty() {
        let path = if add_path { bytes.u32()? } else { 0 };
        let length = bytes.u8()?;
        let part = bytes.take(usize::from(length.div_ceil(8)))?.0;
        let mut octets = [0; N];
        octets.get_mut(..part.len())?.copy_from_slice(part);
        out.push(Nlri { prefix: net(octets, length)?.trunc(), path });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{self, announce, attribute, path_bytes, withdraw};
    use super::*;

    fn read(update: &testing::Update) -> Update {
        let add_path = AddPath { v4: update.add_path.is_some(), v6: update.add_path.is_some() };
        decode(&update.bytes(), update.width == 2, add_path).expect("an update")
    }

    fn texts(nlri: &[Nlri]) -> Vec<String> {
        nlri.iter().map(|n| format!("{} {}", n.prefix, n.path)).collect()
    }

    #[test]
    fn both_families_come_and_go() {
        let mut update =
            announce(&["203.0.113.0/24", "203.0.113.128/25", "2001:db8::/32", "0.0.0.0/0"], &[64510, 64666]);
        update.withdrawn = vec!["192.0.2.0/24", "2001:db8:1::/48"];
        let read_ = read(&update);
        assert_eq!(
            texts(&read_.announced),
            ["203.0.113.0/24 0", "203.0.113.128/25 0", "0.0.0.0/0 0", "2001:db8::/32 0"]
        );
        assert_eq!(texts(&read_.withdrawn), ["192.0.2.0/24 0", "2001:db8:1::/48 0"]);
        assert_eq!(read_.path.to_string(), "64510 64666");
        update.add_path = Some(9);
        let read_ = read(&update);
        assert_eq!(texts(&read_.announced)[..2], ["203.0.113.0/24 9", "203.0.113.128/25 9"]);
        assert_eq!(texts(&read_.withdrawn), ["192.0.2.0/24 9", "2001:db8:1::/48 9"]);
    }

    fn path(segments: &[(u8, &[u32])]) -> AsPath {
        let segments: Vec<(u8, Vec<u32>)> = segments.iter().map(|(k, a)| (*k, a.to_vec())).collect();
        AsPath::read(Bytes(&path_bytes(&segments, 4)), 4).expect("a path")
    }

    #[test]
    fn where_a_path_begins() {
        assert_eq!(path(&[(2, &[1, 2, 3])]).origin(), Origin::As(3));
        assert_eq!(path(&[(2, &[1, 2]), (1, &[4, 5])]).origin(), Origin::Set(vec![4, 5]));
        assert_eq!(path(&[(1, &[4, 5]), (2, &[1])]).origin(), Origin::As(1));
        assert_eq!(path(&[]).origin(), Origin::Here);
        assert_eq!(path(&[(3, &[65001, 65002])]).origin(), Origin::Here);
        assert_eq!(path(&[(3, &[65001]), (2, &[1, 2])]).origin(), Origin::As(2));
        assert_eq!(path(&[(3, &[65001]), (2, &[1, 2]), (1, &[4, 5])]).to_string(), "(65001) 1 2 {4,5}");
    }

    #[test]
    fn paths_of_two_bytes_are_completed() {
        let mut update = announce(&["203.0.113.0/24"], &[64510, AS_TRANS, AS_TRANS]);
        update.width = 2;
        let four = path_bytes(&[(2, vec![4_200_000_000, 4_200_000_001])], 4);
        update.more = attribute(0xc0, 17, &four);
        assert_eq!(read(&update).path.to_string(), "64510 4200000000 4200000001");
        // A longer one than the path is not believed (RFC 6793 §4.2.3).
        update.more = attribute(0xc0, 17, &path_bytes(&[(2, vec![1, 2, 3, 4])], 4));
        assert_eq!(read(&update).path.to_string(), "64510 23456 23456");
        // Where nothing is missing, nothing is taken from it.
        let mut update = announce(&["203.0.113.0/24"], &[64510, 64666]);
        update.more = attribute(0xc0, 17, &path_bytes(&[(2, vec![64500])], 4));
        assert_eq!(read(&update).path.origin(), Origin::As(64666));
    }

    #[test]
    fn a_path_of_the_other_width_is_understood() {
        let update = announce(&["203.0.113.0/24"], &[64510, 64666, 64777]);
        let read_ = decode(&update.bytes(), true, AddPath::default()).expect("an update");
        assert_eq!(read_.path.origin(), Origin::As(64777));
    }

    #[test]
    fn what_is_wrong_elsewhere_hides_nothing() {
        let mut update = announce(&["203.0.113.0/24"], &[64666]);
        // A next hop of one byte, communities that end within one, an AGGREGATOR too short, an unknown attribute.
        for (flags, code) in [(0x40, 3), (0xc0, 8), (0xc0, 7), (0xc0, 250)] {
            update.more.extend(attribute(flags, code, &[1]));
        }
        assert_eq!(texts(&read(&update).announced), ["203.0.113.0/24 0"]);
    }

    #[test]
    fn what_is_wrong_with_the_path_is_no_route() {
        let gone = |update: testing::Update| {
            let read = read(&update);
            (read.announced.len(), texts(&read.withdrawn))
        };
        let nothing = (0, vec!["203.0.113.0/24 0".to_owned()]);
        let good = announce(&["203.0.113.0/24"], &[64666]);
        assert_eq!(gone(testing::Update { path: None, ..good.clone() }), nothing);
        // An empty segment, a segment of a type that is none, attributes that end too early.
        assert_eq!(gone(testing::Update { path: Some(vec![(2, vec![])]), ..good.clone() }), nothing);
        assert_eq!(gone(testing::Update { path: Some(vec![(9, vec![1])]), ..good.clone() }), nothing);
        assert_eq!(gone(testing::Update { more: vec![0x40, 5, 9, 1], ..good.clone() }), nothing);
        assert_eq!(gone(withdraw(&["203.0.113.0/24"])), nothing);
    }

    #[test]
    fn lengths_of_prefixes_are_looked_at() {
        let mut bytes = announce(&["203.0.113.0/24"], &[64666]).bytes();
        let at = bytes.len() - 4;
        bytes[at] = 33;
        assert_eq!(decode(&bytes, false, AddPath::default()), None);
        // Bits beyond the length count for nothing.
        let mut bytes = announce(&["203.0.113.0/25"], &[64666]).bytes();
        let last = bytes.len() - 1;
        bytes[last] = 0x7f;
        let read = decode(&bytes, false, AddPath::default()).expect("an update");
        assert_eq!(texts(&read.announced), ["203.0.113.0/25 0"]);
    }

    proptest! {
        #[test]
        fn anything_is_an_update_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), two in any::<bool>()) {
            let _ = decode(&bytes, two, AddPath { v4: two, v6: !two });
        }

        /// Behind a header that is right, and damaged in places.
        #[test]
        fn damage_is_an_update_or_none(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            add_path in any::<bool>(),
        ) {
            let mut update = announce(&["203.0.113.0/24", "2001:db8::/32"], &[64510, 64666]);
            update.withdrawn = vec!["192.0.2.0/24", "2001:db8:1::/48"];
            let mut bytes = update.bytes();
            let length = bytes.len();
            for (at, byte) in damage {
                bytes[at.index(length)] = byte;
            }
            let add_path = AddPath { v4: add_path, v6: add_path };
            if let Some(update) = decode(&bytes, false, add_path) {
                // No more than there is room for.
                prop_assert!(update.announced.len() + update.withdrawn.len() <= length);
            }
        }
    }
}

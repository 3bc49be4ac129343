//! What we say, in bytes. Messages are made by the message crate; what cannot be said in one is an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::{
    BgpCapability, FourOctetAsCapability, MultiProtocolExtensionsCapability,
};
use netgauze_bgp_pkt::community::{Community as Standard, LargeCommunity};
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::open::{BgpOpenMessage, BgpOpenMessageParameter};
use netgauze_bgp_pkt::path_attribute::{
    As2PathSegment, As4Path, As4PathSegment, AsPath, AsPathSegmentType, Communities, LargeCommunities,
    LocalPreference, MpReach, MpUnreach, MultiExitDiscriminator, NextHop, Origin, PathAttribute,
    PathAttributeValue,
};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu;

use super::decode::{HEADER, LONGEST, Notification};
use super::route::{Attributes, Community};

/// Stands for an AS number of four octets where only two are understood (RFC 6793 §9).
const AS_TRANS: u16 = 23456;
/// LOCAL_PREF where nobody says otherwise.
const LOCAL_PREF: u32 = 100;
/// Prefixes of one UPDATE: with the longest attributes that the configuration allows it stays within a message.
const PER_UPDATE: usize = 64;
/// AS numbers of one segment.
const PER_SEGMENT: usize = 255;
/// Bytes of a shutdown message (RFC 9003).
const LONGEST_REASON: usize = 255;

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("a message cannot be written: {0}")]
pub struct Unwritable(String);

/// What the neighbour has to be told in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Our AS.
    pub local_as: u32,
    /// Whether the neighbour is of the same AS.
    pub internal: bool,
    /// Whether it understands AS numbers of four octets.
    pub four_octet_as: bool,
}

/// KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend([0, 19, 4]);
    bytes
}

/// OPEN: IPv4 and IPv6 unicast, AS numbers of four octets, route refresh. No graceful restart.
///
/// # Errors
/// It is too long, which it is not.
pub fn open(local_as: u32, hold_time: u16, router_id: Ipv4Addr) -> Result<Vec<u8>, Unwritable> {
    let family =
        |family| BgpCapability::MultiProtocolExtensions(MultiProtocolExtensionsCapability::new(family));
    let capabilities = vec![
        family(AddressType::Ipv4Unicast),
        family(AddressType::Ipv6Unicast),
        BgpCapability::RouteRefresh,
        BgpCapability::FourOctetAs(FourOctetAsCapability::new(local_as)),
    ];
    let open = BgpOpenMessage::new(
        u16::try_from(local_as).unwrap_or(AS_TRANS),
        hold_time,
        router_id,
        vec![BgpOpenMessageParameter::new_capabilities(capabilities)],
    );
    write(&BgpMessage::Open(open))
}

/// NOTIFICATION. Data that a message has no room for are cut.
pub fn notification(notification: &Notification) -> Vec<u8> {
    let room = LONGEST - HEADER - 2;
    let data = notification.data.get(..room).unwrap_or(&notification.data);
    let length = u16::try_from(HEADER + 2 + data.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![0xff; 16];
    bytes.extend(length.to_be_bytes());
    bytes.extend([3, notification.code, notification.subcode]);
    bytes.extend(data);
    bytes
}

/// Cease, administrative shutdown, with a reason for people (RFC 9003); it is cut to 255 bytes.
pub fn shutdown(reason: &str) -> Notification {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let text = reason.get(..end).unwrap_or_default();
    let length = u8::try_from(text.len()).unwrap_or_default();
    let mut data = vec![length];
    data.extend(text.bytes());
    Notification::new(Notification::CEASE, Notification::SHUTDOWN).with(data)
}

/// UPDATEs that announce these prefixes, all of one family and with the same attributes, by this next hop of
/// their family.
///
/// # Errors
/// Attributes do not fit into a message, or a prefix is none of unicast addresses.
pub fn announce(
    prefixes: &[IpNet],
    next_hop: IpAddr,
    attributes: &Attributes,
    dialect: Dialect,
) -> Result<Vec<Vec<u8>>, Unwritable> {
    let mut messages = Vec::new();
    for prefixes in prefixes.chunks(PER_UPDATE) {
        let mut list = common(attributes, dialect)?;
        let update = match next_hop {
            IpAddr::V4(next_hop) => {
                list.push(attribute(false, true, PathAttributeValue::NextHop(NextHop::new(next_hop)))?);
                // In the order of their types, as RFC 4271 §5 asks.
                list.sort_by_key(type_code);
                BgpUpdateMessage::new(Vec::new(), list, ipv4(prefixes)?)
            }
            IpAddr::V6(next_hop_global) => {
                let nlri = ipv6(prefixes)?.into();
                let reach = MpReach::Ipv6Unicast { next_hop_global, next_hop_local: None, nlri };
                list.sort_by_key(type_code);
                // The very first, so that a receiver who stumbles over a later one knows what it was about (RFC 7606 §5.1).
                list.insert(0, attribute(true, false, PathAttributeValue::MpReach(reach))?);
                BgpUpdateMessage::new(Vec::new(), list, Vec::new())
            }
        };
        messages.push(write(&BgpMessage::Update(update))?);
    }
    Ok(messages)
}

/// UPDATEs that withdraw these prefixes of both families.
///
/// # Errors
/// A prefix is none of unicast addresses.
pub fn withdraw(prefixes: &[IpNet]) -> Result<Vec<Vec<u8>>, Unwritable> {
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = prefixes.iter().partition(|p| matches!(p, IpNet::V4(_)));
    let mut messages = Vec::new();
    for prefixes in v4.chunks(PER_UPDATE) {
        let update = BgpUpdateMessage::new(ipv4(prefixes)?, Vec::new(), Vec::new());
        messages.push(write(&BgpMessage::Update(update))?);
    }
    for prefixes in v6.chunks(PER_UPDATE) {
        let unreach = MpUnreach::Ipv6Unicast { nlri: ipv6(prefixes)?.into() };
        let list = vec![attribute(true, false, PathAttributeValue::MpUnreach(unreach))?];
        messages.push(write(&BgpMessage::Update(BgpUpdateMessage::new(Vec::new(), list, Vec::new())))?);
    }
    Ok(messages)
}

/// Attributes that do not depend on the family.
fn common(attributes: &Attributes, dialect: Dialect) -> Result<Vec<PathAttribute>, Unwritable> {
    let mut list = vec![attribute(false, true, PathAttributeValue::Origin(Origin::IGP))?];
    list.extend(as_path(attributes, dialect)?);
    if let Some(med) = attributes.med {
        let med = MultiExitDiscriminator::new(med);
        list.push(attribute(true, false, PathAttributeValue::MultiExitDiscriminator(med))?);
    }
    if dialect.internal {
        let preference = LocalPreference::new(attributes.local_pref.unwrap_or(LOCAL_PREF));
        list.push(attribute(false, true, PathAttributeValue::LocalPreference(preference))?);
    }
    let mut standard = Vec::new();
    let mut large = Vec::new();
    for community in &attributes.communities {
        match *community {
            Community::Standard(a, b) => {
                standard.push(Standard::new(u32::from(a) << 16 | u32::from(b)));
            }
            Community::Large(a, b, c) => large.push(LargeCommunity::new(a, b, c)),
        }
    }
    if !standard.is_empty() {
        let value = PathAttributeValue::Communities(Communities::new(standard));
        list.push(attribute(true, true, value)?);
    }
    if !large.is_empty() {
        let value = PathAttributeValue::LargeCommunities(LargeCommunities::new(large));
        list.push(attribute(true, true, value)?);
    }
    Ok(list)
}

/// AS_PATH, and AS4_PATH for who does not understand the first (RFC 6793 §4.2.2).
fn as_path(attributes: &Attributes, dialect: Dialect) -> Result<Vec<PathAttribute>, Unwritable> {
    let path: Vec<u32> = if dialect.internal {
        Vec::new()
    } else {
        vec![dialect.local_as; usize::from(attributes.prepend) + 1]
    };
    let sequence = AsPathSegmentType::AsSequence;
    let long = |path: &[u32]| As4PathSegment::new(sequence, path.to_vec());
    if dialect.four_octet_as {
        let segments: Vec<_> = path.chunks(PER_SEGMENT).map(long).collect();
        return Ok(vec![attribute(
            false,
            true,
            PathAttributeValue::AsPath(AsPath::as4_path_segments(segments)),
        )?]);
    }
    let short = |path: &[u32]| {
        let path: Vec<u16> = path.iter().map(|&asn| u16::try_from(asn).unwrap_or(AS_TRANS)).collect();
        As2PathSegment::new(sequence, path)
    };
    let segments: Vec<_> = path.chunks(PER_SEGMENT).map(short).collect();
    let mut list =
        vec![attribute(false, true, PathAttributeValue::AsPath(AsPath::as2_path_segments(segments)))?];
    if path.iter().any(|&asn| u16::try_from(asn).is_err()) {
        let segments: Vec<_> = path.chunks(PER_SEGMENT).map(long).collect();
        list.push(attribute(true, true, PathAttributeValue::As4Path(As4Path::new(segments)))?);
    }
    Ok(list)
}

fn attribute(
    optional: bool,
    transitive: bool,
    value: PathAttributeValue,
) -> Result<PathAttribute, Unwritable> {
    // Two octets of length, which every attribute may have: what the lists need is not known here.
    PathAttribute::from(optional, transitive, false, true, value)
        .map_err(|(value, why)| Unwritable(format!("{value:?}: {why:?}")))
}

/// RFC numbers of the types that are sent here.
fn type_code(attribute: &PathAttribute) -> u8 {
    attribute.value().path_attribute_type().map_or(u8::MAX, |kind| kind as u8)
}

fn ipv4(prefixes: &[IpNet]) -> Result<Vec<Ipv4UnicastAddress>, Unwritable> {
    let convert = |prefix: &IpNet| match prefix {
        IpNet::V4(net) => ipv4_unicast(*net),
        IpNet::V6(_) => Err(Unwritable(format!("{prefix} by a next hop of IPv4"))),
    };
    prefixes.iter().map(convert).collect()
}

fn ipv4_unicast(net: Ipv4Net) -> Result<Ipv4UnicastAddress, Unwritable> {
    let net = Ipv4Unicast::from_net(net).map_err(|e| Unwritable(format!("{net}: {e:?}")))?;
    Ok(Ipv4UnicastAddress::new_no_path_id(net))
}

fn ipv6(prefixes: &[IpNet]) -> Result<Vec<Ipv6UnicastAddress>, Unwritable> {
    let convert = |prefix: &IpNet| match prefix {
        IpNet::V6(net) => ipv6_unicast(*net),
        IpNet::V4(_) => Err(Unwritable(format!("{prefix} by a next hop of IPv6"))),
    };
    prefixes.iter().map(convert).collect()
}

fn ipv6_unicast(net: Ipv6Net) -> Result<Ipv6UnicastAddress, Unwritable> {
    let net = Ipv6Unicast::from_net(net).map_err(|e| Unwritable(format!("{net}: {e:?}")))?;
    Ok(Ipv6UnicastAddress::new(None, net))
}

fn write(message: &BgpMessage) -> Result<Vec<u8>, Unwritable> {
    let length = message.len();
    if length > LONGEST {
        return Err(Unwritable(format!("{length} bytes, where {LONGEST} are the most")));
    }
    let mut bytes = Vec::with_capacity(length);
    message.write(&mut bytes).map_err(|e| Unwritable(e.to_string()))?;
    Ok(bytes)
}

/// The next hop for a family, of those that a neighbour may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// For IPv4 prefixes.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 prefixes.
    pub v6: Option<Ipv6Addr>,
}

impl NextHops {
    /// The one for this prefix.
    pub fn of(&self, prefix: &IpNet) -> Option<IpAddr> {
        match prefix {
            IpNet::V4(_) => self.v4.map(IpAddr::V4),
            IpNet::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// These, and where there is none `own`, the session's own address.
    #[must_use]
    pub fn or(self, own: IpAddr) -> Self {
        match own {
            IpAddr::V4(own) => NextHops { v4: self.v4.or(Some(own)), ..self },
            IpAddr::V6(own) => NextHops { v6: self.v6.or(Some(own)), ..self },
        }
    }
}

#[cfg(test)]
mod tests;

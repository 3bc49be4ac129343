//! BMP messages (RFC 7854 §4, with Adj-RIB-Out of RFC 8671 and Loc-RIB of RFC 9069), as far as they concern us.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::Bytes;

/// Bytes of the common header.
pub const HEADER: usize = 6;
/// The longest message that is taken: a per-peer header and the longest BGP message (RFC 8654).
pub const LONGEST: usize = HEADER + PER_PEER + u16::MAX as usize;

const PER_PEER: usize = 42;
const VERSION: u8 = 3;

/// What makes a router's messages unreadable; its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Not RFC 7854.
    #[error("BMP version {0}, and not 3: let the router speak BMP as of RFC 7854")]
    Version(u8),
    /// A message that cannot be so long, or so short.
    #[error("a BMP message of {0} bytes; {HEADER} to {LONGEST} are taken")]
    Length(u32),
    /// A message that ends too early.
    #[error("a BMP message of type {0} that ends within")]
    Short(u8),
}

/// Kind and body's length of the message behind a header.
///
/// # Errors
/// It is no header of BMP, or the message is too long.
pub fn header(bytes: &[u8; HEADER]) -> Result<(u8, usize), Malformed> {
    let [version, length @ .., kind] = *bytes;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let length = u32::from_be_bytes(length);
    match usize::try_from(length) {
        Ok(whole @ HEADER..=LONGEST) => Ok((kind, whole - HEADER)),
        _ => Err(Malformed::Length(length)),
    }
}

/// A peer of a router: who it is, and not in which state. (Its BGP identifier is left out, since not all messages of
/// all routers have it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// Peer type: 0 global, 1 of a VRF, 2 local, 3 Loc-RIB.
    pub kind: u8,
    /// Tells VRFs apart.
    pub distinguisher: u64,
    /// Its address; unspecified for Loc-RIB.
    pub address: IpAddr,
}

/// Which of a router's tables a route is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// As it came from the peer.
    Received,
    /// As it came, and what the router's policy left of it.
    Accepted,
    /// What the router's policy is to send to the peer.
    ToSend,
    /// What it sends to the peer.
    Sent,
    /// The router's own choice.
    Local,
}

impl View {
    /// How it is said in a sentence, before the peer.
    pub const fn words(self) -> &'static str {
        match self {
            View::Received => "received from",
            View::Accepted => "accepted from",
            View::ToSend => "to be sent to",
            View::Sent => "sent to",
            View::Local => "chosen",
        }
    }

    /// Whether it goes from the router to the peer.
    pub const fn is_outgoing(self) -> bool {
        matches!(self, View::ToSend | View::Sent)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            View::Received => "adj-rib-in pre-policy",
            View::Accepted => "adj-rib-in post-policy",
            View::ToSend => "adj-rib-out pre-policy",
            View::Sent => "adj-rib-out post-policy",
            View::Local => "loc-rib",
        })
    }
}

/// The per-peer header (RFC 7854 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// Who.
    pub peer: PeerId,
    /// Which table.
    pub view: View,
    /// The peer's AS; of Loc-RIB the router's own.
    pub asn: u32,
    /// Whether AS paths have ASes of two bytes.
    pub two_byte_paths: bool,
}

/// Of which families routes have path identifiers (RFC 7911).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddPath {
    /// IPv4 unicast.
    pub v4: bool,
    /// IPv6 unicast.
    pub v6: bool,
}

/// What a router and its peer agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The router's AS.
    pub local_as: u32,
    /// In what the peer sends.
    pub incoming: AddPath,
    /// In what the router sends.
    pub outgoing: AddPath,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The router begins, and may say its name.
    Initiation(Option<String>),
    /// A peer is there.
    PeerUp(PeerHeader, Agreed),
    /// A peer is gone.
    PeerDown(PeerHeader),
    /// A BGP UPDATE, whole.
    Routes(PeerHeader, &'a [u8]),
    /// The router ends.
    Termination,
    /// What does not concern us: statistics, mirrored messages, types to come.
    Other,
}

/// Understands the body of a message.
///
/// # Errors
/// It ends too early.
pub fn decode(kind: u8, body: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut bytes = Bytes(body);
    let message = match kind {
        0 => per_peer(&mut bytes).map(|header| Message::Routes(header, bytes.0)),
        2 => per_peer(&mut bytes).map(Message::PeerDown),
        3 => per_peer(&mut bytes).and_then(|header| Some(Message::PeerUp(header, peer_up(bytes)?))),
        4 => initiation(bytes).map(Message::Initiation),
        5 => Some(Message::Termination),
        _ => Some(Message::Other),
    };
    message.ok_or(Malformed::Short(kind))
}

fn per_peer(bytes: &mut Bytes<'_>) -> Option<PeerHeader> {
    const LOC_RIB: u8 = 3;
    const V6: u8 = 0x80;
    const POST_POLICY: u8 = 0x40;
    const TWO_BYTE_PATHS: u8 = 0x20;
    const OUTGOING: u8 = 0x10;
    let [kind, flags] = bytes.array()?;
    // Of Loc-RIB the flags mean something else, and there is no address.
    let flags = if kind == LOC_RIB { 0 } else { flags };
    let distinguisher = u64::from_be_bytes(bytes.array()?);
    let address = address(bytes.array()?, flags & V6 != 0);
    let asn = bytes.u32()?;
    let _identifier_and_time: [u8; 12] = bytes.array()?;
    let view = match (kind, flags & OUTGOING != 0, flags & POST_POLICY != 0) {
        (LOC_RIB, ..) => View::Local,
        (_, false, false) => View::Received,
        (_, false, true) => View::Accepted,
        (_, true, false) => View::ToSend,
        (_, true, true) => View::Sent,
    };
    let peer = PeerId { kind, distinguisher, address };
    Some(PeerHeader { peer, view, asn, two_byte_paths: flags & TWO_BYTE_PATHS != 0 })
}

/// An IPv4 address stands at the end of the field.
fn address(bytes: [u8; 16], v6: bool) -> IpAddr {
    let [.., a, b, c, d] = bytes;
    if v6 { Ipv6Addr::from(bytes).into() } else { Ipv4Addr::new(a, b, c, d).into() }
}

/// Local address and ports, the OPEN that was sent and the one that was received (RFC 7854 §4.10).
fn peer_up(mut bytes: Bytes<'_>) -> Option<Agreed> {
    let _address_and_ports: [u8; 20] = bytes.array()?;
    let (sent, received) = (open(&mut bytes)?, open(&mut bytes)?);
    let both = |from: &Open, to: &Open| AddPath {
        v4: from.send.v4 && to.receive.v4,
        v6: from.send.v6 && to.receive.v6,
    };
    Some(Agreed { local_as: sent.asn, incoming: both(&received, &sent), outgoing: both(&sent, &received) })
}

#[derive(Default)]
struct Open {
    asn: u32,
    send: AddPath,
    receive: AddPath,
}

/// RFC 4271 §4.2, with parameters of RFC 5492 and RFC 9072.
fn open(bytes: &mut Bytes<'_>) -> Option<Open> {
    const EXTENDED: u8 = 255;
    const CAPABILITIES: u8 = 2;
    let _marker: [u8; 16] = bytes.array()?;
    let length = usize::from(bytes.u16()?);
    let mut body = bytes.take(length.checked_sub(18)?)?;
    let [_type, _version] = body.array()?;
    let mut open = Open { asn: body.u16()?.into(), ..Open::default() };
    let _hold_time_and_identifier: [u8; 6] = body.array()?;
    let length = body.u8()?;
    let extended = length != 0 && body.0.first() == Some(&EXTENDED);
    if extended {
        body.u8()?;
    }
    let mut parameters = if extended { body.block16()? } else { body.take(length.into())? };
    while !parameters.is_empty() {
        let kind = parameters.u8()?;
        let mut value = if extended { parameters.block16()? } else { parameters.block8()? };
        while kind == CAPABILITIES && !value.is_empty() {
            let code = value.u8()?;
            capability(&mut open, code, value.block8()?);
        }
    }
    Some(open)
}

fn capability(open: &mut Open, code: u8, mut value: Bytes<'_>) {
    const FOUR_BYTE_AS: u8 = 65;
    const ADD_PATH: u8 = 69;
    match code {
        FOUR_BYTE_AS => open.asn = value.u32().unwrap_or(open.asn),
        ADD_PATH => {
            while let Some([high, low, safi, mode]) = value.array() {
                let (receive, send) = (mode & 1 != 0, mode & 2 != 0);
                match (u16::from_be_bytes([high, low]), safi) {
                    (1, 1) => (open.receive.v4, open.send.v4) = (receive, send),
                    (2, 1) => (open.receive.v6, open.send.v6) = (receive, send),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// The router's name (RFC 7854 §4.4), of printable characters.
fn initiation(mut bytes: Bytes<'_>) -> Option<Option<String>> {
    const SYS_NAME: u16 = 2;
    const LONGEST_NAME: usize = 64;
    let mut name = None;
    while !bytes.is_empty() {
        let kind = bytes.u16()?;
        let value = bytes.block16()?;
        if kind == SYS_NAME {
            let text = String::from_utf8_lossy(value.0);
            name = Some(text.chars().filter(char::is_ascii_graphic).take(LONGEST_NAME).collect());
        }
    }
    Some(name.filter(|name: &String| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{
        OUTGOING, PEER, POST_POLICY, Peer, TWO_BYTE_PATHS, V6, initiation, message, open,
    };
    use super::*;

    fn read(bytes: &[u8]) -> Message<'_> {
        let head = bytes.first_chunk().expect("a header");
        let (kind, length) = header(head).expect("a header of BMP");
        assert_eq!(length, bytes.len() - HEADER);
        decode(kind, &bytes[HEADER..]).expect("a message")
    }

    #[test]
    fn a_peer_is_told_by_type_vrf_and_address() {
        let bytes = PEER.down();
        let Message::PeerDown(header) = read(&bytes) else { panic!("{bytes:?}") };
        let address = [10, 0, 0, 7].into();
        assert_eq!(header.peer, PeerId { kind: 0, distinguisher: 0, address });
        assert_eq!((header.asn, header.view, header.two_byte_paths), (64510, View::Received, false));
        for (kind, flags, view) in [
            (0, POST_POLICY, View::Accepted),
            (1, OUTGOING, View::ToSend),
            (0, OUTGOING | POST_POLICY, View::Sent),
            // The flags of Loc-RIB are others.
            (3, 0x80, View::Local),
        ] {
            let bytes = Peer { kind, flags, ..PEER }.down();
            let Message::PeerDown(header) = read(&bytes) else { panic!("{bytes:?}") };
            assert_eq!(header.view, view);
        }
        let bytes = Peer { flags: TWO_BYTE_PATHS, ..PEER }.down();
        assert!(matches!(read(&bytes), Message::PeerDown(PeerHeader { two_byte_paths: true, .. })));
        let bytes = Peer { flags: V6, address: "fd00::7", ..PEER }.down();
        let Message::PeerDown(header) = read(&bytes) else { panic!("{bytes:?}") };
        assert_eq!(header.peer.address.to_string(), "fd00::7");
    }

    #[test]
    fn path_identifiers_are_there_where_one_sends_and_the_other_takes_them() {
        let agreed = |sent: (u8, u8), received: (u8, u8)| {
            let bytes = PEER.up(&open(64500, sent.0, sent.1), &open(4_200_000_000, received.0, received.1));
            match read(&bytes) {
                Message::PeerUp(_, agreed) => agreed,
                other => panic!("{other:?}"),
            }
        };
        let (none, v4, v6) =
            (AddPath::default(), AddPath { v4: true, v6: false }, AddPath { v4: false, v6: true });
        assert_eq!(agreed((1, 0), (2, 0)), Agreed { local_as: 64500, incoming: v4, outgoing: none });
        assert_eq!(agreed((0, 2), (0, 3)), Agreed { local_as: 64500, incoming: none, outgoing: v6 });
        assert_eq!(agreed((1, 1), (1, 1)), Agreed { local_as: 64500, incoming: none, outgoing: none });
    }

    #[test]
    fn four_byte_ases_and_long_parameters() {
        let bytes = PEER.up(&open(4_200_000_000, 0, 0), &open(64510, 0, 0));
        assert!(matches!(read(&bytes), Message::PeerUp(_, Agreed { local_as: 4_200_000_000, .. })));
        // RFC 9072.
        let capability = [65, 4, 0xfa, 0x56, 0xea, 0];
        let parameter = [&[2][..], &6u16.to_be_bytes(), &capability].concat();
        let length = (parameter.len() as u16).to_be_bytes();
        let body = [&[4, 0x5b, 0xa0, 0, 90, 10, 9, 9, 9, 255, 255][..], &length, &parameter].concat();
        let long = [&[0xff; 16][..], &((19 + body.len()) as u16).to_be_bytes(), &[1], &body].concat();
        let bytes = PEER.up(&long, &open(64510, 0, 0));
        assert!(matches!(read(&bytes), Message::PeerUp(_, Agreed { local_as: 4_200_000_000, .. })));
    }

    #[test]
    fn a_name_is_taken_as_far_as_it_can_be_printed() {
        assert_eq!(read(&initiation("edge1\n\x1b[31m")), Message::Initiation(Some("edge1[31m".to_owned())));
        assert_eq!(read(&message(4, &[])), Message::Initiation(None));
    }

    #[test]
    fn what_is_no_bmp_is_refused() {
        assert_eq!(header(&[4, 0, 0, 0, 6, 0]), Err(Malformed::Version(4)));
        assert_eq!(header(&[3, 0, 0, 0, 5, 0]), Err(Malformed::Length(5)));
        assert_eq!(header(&[3, 0xff, 0xff, 0xff, 0xff, 0]), Err(Malformed::Length(u32::MAX)));
        assert_eq!(header(&[3, 0, 1, 0, 0x2f, 0]), Ok((0, 65577)));
        assert_eq!(header(&[3, 0, 1, 0, 0x30, 0]), Err(Malformed::Length(65584)));
        assert_eq!(decode(0, &[0; 41]), Err(Malformed::Short(0)));
        assert_eq!(decode(77, &[]), Ok(Message::Other));
    }

    proptest! {
        #[test]
        fn anything_is_a_message_or_an_error(kind in 0u8..8, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(kind, &body);
        }

        /// Each part of a message is no message: nothing is read beyond the end.
        #[test]
        fn a_part_is_an_error(cut in any::<prop::sample::Index>()) {
            let whole = PEER.up(&open(64500, 3, 3), &open(64510, 3, 3));
            let body = &whole[HEADER..];
            prop_assert_eq!(decode(3, &body[..cut.index(body.len())]), Err(Malformed::Short(3)));
        }
    }
}

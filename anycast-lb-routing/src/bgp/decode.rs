//! What a neighbour says, as far as a speaker that only announces has to understand it.
//!
//! Decoded here and not by the message crate: its parser understands UPDATEs too, in which a few bytes
//! (0.0.0.0/1) make it go through two thousand million addresses, and does not tell the subcodes that RFC 4271
//! §6 wants. The bodies of UPDATEs are skipped. Whatever the bytes are, there is an answer, and memory is
//! bounded by the longest message.

use std::fmt;
use std::net::Ipv4Addr;

/// Marker, length and type.
pub const HEADER: usize = 19;
/// The longest message (RFC 4271 §4.1); longer ones (RFC 8654) are not offered.
pub const LONGEST: usize = 4096;

/// A message of a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// OPEN (§4.2).
    Open(Open),
    /// UPDATE (§4.3), skipped.
    Update,
    /// NOTIFICATION (§4.5).
    Notification(Notification),
    /// KEEPALIVE (§4.4).
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918): send the routes of this family again.
    Refresh {
        /// Address family.
        afi: u16,
        /// Subsequent address family.
        safi: u8,
    },
}

/// What an OPEN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// AS number, from the capability of RFC 6793 where it is there.
    pub asn: u32,
    /// Proposed hold time in seconds.
    pub hold_time: u16,
    /// Identifier; never 0.
    pub id: Ipv4Addr,
    /// What it can.
    pub capabilities: Capabilities,
}

/// Capabilities (RFC 5492) that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// IPv4 unicast: named (RFC 4760 §8), or no family is.
    pub ipv4: bool,
    /// IPv6 unicast.
    pub ipv6: bool,
    /// AS numbers of four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Route refresh (RFC 2918).
    pub refresh: bool,
}

/// An error as it is told to the other side: code, subcode and data (RFC 4271 §4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data.
    pub data: Vec<u8>,
}

impl Notification {
    /// Message header error (§6.1).
    pub const HEADER: u8 = 1;
    /// OPEN message error (§6.2).
    pub const OPEN: u8 = 2;
    /// Hold timer expired (§6.5).
    pub const HOLD: u8 = 4;
    /// Finite state machine error (§6.6, RFC 6608).
    pub const FSM: u8 = 5;
    /// Cease (§6.7, RFC 4486).
    pub const CEASE: u8 = 6;
    /// Cease: administrative shutdown.
    pub const SHUTDOWN: u8 = 2;
    /// Cease: administrative reset.
    pub const RESET: u8 = 4;

    /// One without data.
    pub fn new(code: u8, subcode: u8) -> Self {
        Notification { code, subcode, data: Vec::new() }
    }

    /// With this data.
    #[must_use]
    pub fn with(self, data: impl Into<Vec<u8>>) -> Self {
        Notification { data: data.into(), ..self }
    }

    /// The message of an administrative shutdown or reset (RFC 9003), cleaned of what a terminal would obey.
    pub fn shutdown_message(&self) -> Option<String> {
        if self.code != Self::CEASE || !matches!(self.subcode, Self::SHUTDOWN | Self::RESET) {
            return None;
        }
        let (&length, rest) = self.data.split_first()?;
        let text = rest.get(..usize::from(length))?;
        let text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        (!text.is_empty()).then_some(text)
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match (self.code, self.subcode) {
            (1, 1) => "connection not synchronised",
            (1, 2) => "bad message length",
            (1, 3) => "bad message type",
            (1, _) => "message header error",
            (2, 1) => "unsupported version number",
            (2, 2) => "bad peer AS",
            (2, 3) => "bad BGP identifier",
            (2, 4) => "unsupported optional parameter",
            (2, 6) => "unacceptable hold time",
            (2, 7) => "unsupported capability",
            (2, _) => "OPEN message error",
            (3, _) => "UPDATE message error",
            (4, _) => "hold timer expired",
            (5, _) => "unexpected message",
            (6, 1) => "cease: maximum number of prefixes reached",
            (6, 2) => "cease: administrative shutdown",
            (6, 3) => "cease: neighbour no longer configured",
            (6, 4) => "cease: administrative reset",
            (6, 5) => "cease: connection rejected",
            (6, 6) => "cease: other configuration change",
            (6, 7) => "cease: connection collision",
            (6, 8) => "cease: out of resources",
            (6, 10) => "cease: BFD down",
            (6, _) => "cease",
            _ => "unknown error",
        };
        write!(f, "{words} ({}/{})", self.code, self.subcode)?;
        if let Some(message) = self.shutdown_message() {
            write!(f, ": {message:?}")?;
        }
        Ok(())
    }
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    used: usize,
}

impl Decoder {
    /// Takes what has arrived. Call [`Self::message`] until it has nothing more before the next bytes come: then
    /// no more than a part of one message is kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is complete.
    ///
    /// # Errors
    /// What to tell the neighbour before the connection is closed; the decoder is of no use after that.
    pub fn message(&mut self) -> Result<Option<Incoming>, Notification> {
        let rest = self.bytes.get(self.used..).unwrap_or_default();
        let marker = rest.get(..16.min(rest.len())).unwrap_or_default();
        if marker.iter().any(|&byte| byte != 0xff) {
            return Err(Notification::new(Notification::HEADER, 1));
        }
        let Some((length, kind)) = header(rest) else { return Ok(None) };
        let bad_length = || Notification::new(Notification::HEADER, 2).with(length.to_be_bytes());
        let length_in_bytes = usize::from(length);
        let fits = match kind {
            1 => length_in_bytes >= HEADER + 10,
            2 => length_in_bytes >= HEADER + 4,
            3 => length_in_bytes >= HEADER + 2,
            4 => length_in_bytes == HEADER,
            5 => length_in_bytes == HEADER + 4,
            _ => length_in_bytes >= HEADER,
        };
        if !fits || length_in_bytes > LONGEST {
            return Err(bad_length());
        }
        if !(1..=5).contains(&kind) {
            return Err(Notification::new(Notification::HEADER, 3).with([kind]));
        }
        let Some(body) = rest.get(HEADER..length_in_bytes) else { return Ok(None) };
        let message = match (kind, body) {
            (1, body) => Incoming::Open(open(body)?),
            (2, _) => Incoming::Update,
            (3, [code, subcode, data @ ..]) => {
                Incoming::Notification(Notification { code: *code, subcode: *subcode, data: data.to_vec() })
            }
            (5, [a, b, _, safi]) => Incoming::Refresh { afi: u16::from_be_bytes([*a, *b]), safi: *safi },
            // Lengths were looked at above.
            _ => Incoming::Keepalive,
        };
        self.used += length_in_bytes;
        Ok(Some(message))
    }
}

fn header(bytes: &[u8]) -> Option<(u16, u8)> {
    match bytes.get(16..HEADER)? {
        [a, b, kind] => Some((u16::from_be_bytes([*a, *b]), *kind)),
        _ => None,
    }
}

fn open(body: &[u8]) -> Result<Open, Notification> {
    let malformed = || Notification::new(Notification::OPEN, 0);
    let [version, as1, as2, hold1, hold2, id @ .., parameters_length] =
        body.first_chunk::<10>().ok_or_else(malformed)?;
    if *version != 4 {
        return Err(Notification::new(Notification::OPEN, 1).with(4u16.to_be_bytes()));
    }
    let [id1, id2, id3, id4] = id;
    let id = Ipv4Addr::new(*id1, *id2, *id3, *id4);
    if id.is_unspecified() {
        return Err(Notification::new(Notification::OPEN, 3));
    }
    let rest = body.get(10..).unwrap_or_default();
    // RFC 9072 §2: a first type of 255 says that lengths have two octets; what the old length says counts for nothing
    // then, unless it is 0.
    let extended = *parameters_length != 0 && rest.first() == Some(&255);
    let (length, parameters) = if extended {
        let (length, parameters) = rest.get(1..).and_then(split_u16).ok_or_else(malformed)?;
        (usize::from(length), parameters)
    } else {
        (usize::from(*parameters_length), rest)
    };
    if parameters.len() != length {
        return Err(malformed());
    }
    let mut found = Found::default();
    let mut parameters = parameters;
    while let Some((&kind, rest)) = parameters.split_first() {
        let (value, rest) = if extended { take_u16(rest) } else { take_u8(rest) }.ok_or_else(malformed)?;
        if kind != 2 {
            return Err(Notification::new(Notification::OPEN, 4));
        }
        found.capabilities(value).ok_or_else(malformed)?;
        parameters = rest;
    }
    let asn = found.asn.unwrap_or_else(|| u16::from_be_bytes([*as1, *as2]).into());
    if asn == 0 {
        return Err(Notification::new(Notification::OPEN, 2));
    }
    Ok(Open { asn, hold_time: u16::from_be_bytes([*hold1, *hold2]), id, capabilities: found.known() })
}

#[derive(Default)]
struct Found {
    asn: Option<u32>,
    families: bool,
    known: Capabilities,
}

impl Found {
    /// None if the list is cut.
    fn capabilities(&mut self, mut list: &[u8]) -> Option<()> {
        while let Some((&code, rest)) = list.split_first() {
            let (value, rest) = take_u8(rest)?;
            match (code, value) {
                (1, [afi1, afi2, _, safi]) => {
                    self.families = true;
                    let family = (u16::from_be_bytes([*afi1, *afi2]), *safi);
                    self.known.ipv4 |= family == (1, 1);
                    self.known.ipv6 |= family == (2, 1);
                }
                (2, []) => self.known.refresh = true,
                (65, [a, b, c, d]) => {
                    self.asn = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                    self.known.four_octet_as = true;
                }
                // Those that have another length than they should.
                (1 | 2 | 65, _) => return None,
                _ => {}
            }
            list = rest;
        }
        Some(())
    }

    fn known(&self) -> Capabilities {
        Capabilities { ipv4: self.known.ipv4 || !self.families, ..self.known }
    }
}

/// A length of one octet and what it covers, then the rest.
fn take_u8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(length.into())
}

fn take_u16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = split_u16(bytes)?;
    rest.split_at_checked(length.into())
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests;

//! The flow log for a collector: IPFIX (RFC 7011) over UDP. One record of IPFIX is one of the log.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::record::{Event, Record};

/// Bytes of a message at most, so that it travels in one packet everywhere (§10.3.3).
const MAX_MESSAGE: usize = 1400;
/// Templates are told again after this time: a collector may have missed them, or be new (§8.1, §10.3.6).
const TEMPLATES_EVERY: Duration = Duration::from_secs(60);
/// Version of the protocol.
const VERSION: u16 = 10;
/// Set ID of templates.
const TEMPLATES: u16 = 2;
/// The first of four templates (§3.4.1).
const FIRST_TEMPLATE: u16 = 256;
/// Length of an element that says its length itself.
const VARIABLE: u16 = 0xffff;
/// Text is cut to this many bytes; a longer one would need another form of length (§7).
const LONGEST_TEXT: usize = 254;

/// An information element, by its number in IANA's registry, and its length.
type Element = (u16, u16);

/// What both families have in common, in front of the addresses.
const COMMON: [Element; 12] = [
    (152, 8),        // flowStartMilliseconds: when the packet was seen
    (153, 8),        // flowEndMilliseconds: the same
    (7, 2),          // sourceTransportPort
    (11, 2),         // destinationTransportPort
    (4, 1),          // protocolIdentifier
    (6, 2),          // tcpControlBits (RFC 7125)
    (1, 8),          // octetDeltaCount: bytes of the IP packet's frame
    (2, 8),          // packetDeltaCount: 1
    (89, 1),         // forwardingStatus (RFC 7270 §4.12)
    (233, 1),        // firewallEvent: 1 begins, 2 ends, 5 neither
    (300, VARIABLE), // observationDomainName: the node
    (96, VARIABLE),  // applicationName: the VIP
];

/// Source, destination and next hop, by their families.
const fn addresses(flow_v6: bool, next_v6: bool) -> [Element; 3] {
    let [source, destination] = if flow_v6 { [(27, 16), (28, 16)] } else { [(8, 4), (12, 4)] };
    [source, destination, if next_v6 { (62, 16) } else { (15, 4) }]
}

const fn template(flow_v6: bool, next_v6: bool) -> u16 {
    FIRST_TEMPLATE + 2 * flow_v6 as u16 + next_v6 as u16
}

/// Makes messages of records.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    /// Records of IPFIX that were sent so far (§3.1).
    sequence: u32,
    /// When templates were told.
    told: Option<Instant>,
}

/// A datagram.
#[derive(Debug)]
pub(crate) struct Message {
    pub bytes: Vec<u8>,
    /// That are in it.
    pub records: u64,
}

impl Exporter {
    /// The messages for `records`, which are of one node; templates are told first if it is time.
    pub fn messages(&mut self, now: Instant, clock: SystemTime, records: &[Record]) -> Vec<Message> {
        let Some(first) = records.first() else { return Vec::new() };
        let (clock, domain) = (seconds(clock), domain(&first.node));
        let mut messages = Vec::new();
        if self.told.is_none_or(|told| now >= told + TEMPLATES_EVERY) {
            self.told = Some(now);
            let bytes = finished(header(clock, self.sequence, domain), &templates());
            messages.push(Message { bytes, records: 0 });
        }
        let mut number = 0;
        let mut message = header(clock, self.sequence, domain);
        for record in records {
            let set = data_set(record);
            if message.len() + set.len() > MAX_MESSAGE {
                messages
                    .push(Message { bytes: finished(message, &[]), records: std::mem::take(&mut number) });
                message = header(clock, self.sequence, domain);
            }
            message.extend(set);
            number += 1;
            self.sequence = self.sequence.wrapping_add(1);
        }
        messages.push(Message { bytes: finished(message, &[]), records: number });
        messages
    }
}

/// The head of a message, its length open.
fn header(clock: u32, sequence: u32, domain: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_MESSAGE);
    out.extend(VERSION.to_be_bytes());
    out.extend([0; 2]);
    for word in [clock, sequence, domain] {
        out.extend(word.to_be_bytes());
    }
    out
}

fn finished(mut message: Vec<u8>, more: &[u8]) -> Vec<u8> {
    message.extend(more);
    let length = length_of(&message);
    message[2..4].copy_from_slice(&length);
    message
}

/// In two bytes; nothing here is longer.
fn length_of(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// A set: its ID, its length, what it has (§3.3.2).
fn set(id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend([0; 2]);
    out.extend(content);
    let length = length_of(&out);
    out[2..4].copy_from_slice(&length);
    out
}

fn templates() -> Vec<u8> {
    let mut content = Vec::new();
    for (flow_v6, next_v6) in [(false, false), (false, true), (true, false), (true, true)] {
        let elements = COMMON.into_iter().chain(addresses(flow_v6, next_v6));
        content.extend(template(flow_v6, next_v6).to_be_bytes());
        content.extend((COMMON.len() as u16 + 3).to_be_bytes());
        content.extend(elements.flat_map(|(id, length)| [id.to_be_bytes(), length.to_be_bytes()]).flatten());
    }
    set(TEMPLATES, &content)
}

fn data_set(record: &Record) -> Vec<u8> {
    let v6 = record.source.is_ipv6();
    // Whom it was sent to, or on to; nobody is the address of zeros.
    let nobody = || if v6 { IpAddr::from([0; 16]) } else { IpAddr::from([0; 4]) };
    let next = record.next.or(record.backend).unwrap_or_else(nobody);
    let mut out = Vec::with_capacity(160);
    let time = milliseconds(record.time).to_be_bytes();
    out.extend(time);
    out.extend(time);
    out.extend(record.source.port().to_be_bytes());
    out.extend(record.destination.port().to_be_bytes());
    out.push(record.protocol);
    out.extend(u16::from(record.tcp_flags).to_be_bytes());
    out.extend(u64::from(record.bytes).to_be_bytes());
    out.extend(1_u64.to_be_bytes());
    out.push(forwarding_status(&record.verdict));
    out.push(match () {
        () if record.event.has(Event::Begin) => 1,
        () if record.event.has(Event::End) => 2,
        () => 5,
    });
    text(&mut out, &record.node);
    text(&mut out, record.vip.as_deref().unwrap_or_default());
    for address in [record.source.ip(), record.destination.ip(), next] {
        match address {
            IpAddr::V4(v4) => out.extend(v4.octets()),
            IpAddr::V6(v6) => out.extend(v6.octets()),
        }
    }
    set(template(v6, next.is_ipv6()), &out)
}

/// An element that says its length itself (§7).
fn text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push(end as u8);
    out.extend(&text.as_bytes()[..end]);
}

/// Status in the upper two bits, no reason below them: 1 forwarded, 2 dropped, 3 consumed.
fn forwarding_status(verdict: &str) -> u8 {
    let status = match verdict {
        "hop" => 1,
        "echo_reply" | "too_big_answered" => 3,
        v if v.starts_with("forwarded_") => 1,
        v if v.starts_with("decap_") => 3,
        _ => 2,
    };
    status << 6
}

/// Same for one node always, another for other nodes: FNV-1a of its name.
fn domain(node: &str) -> u32 {
    node.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Since 1970; the field wraps in 2106 (§3.1).
fn seconds(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as u32
}

fn milliseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

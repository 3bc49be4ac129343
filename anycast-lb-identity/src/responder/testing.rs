//! Questions as they come by the wire.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{EdnsOption, NSIDPayload};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::packet::datagram;

/// The name of the node of these tests.
pub const TEXT: &str = "fra1-lb1 pop=fra1";

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub name: &'static str,
    pub class: DNSClass,
    pub record: RecordType,
    /// With EDNS of this version.
    pub edns: Option<u8>,
    pub nsid: bool,
    pub cookie: bool,
    pub dnssec_ok: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Ask {
            name: "id.server.",
            class: DNSClass::CH,
            record: RecordType::TXT,
            edns: None,
            nsid: false,
            cookie: false,
            dnssec_ok: false,
        }
    }
}

impl Ask {
    pub fn bytes(&self) -> Vec<u8> {
        let mut message = Message::new(0xbeef, MessageType::Query, OpCode::Query);
        let mut query = Query::query(Name::from_ascii(self.name).expect("a name"), self.record);
        query.set_query_class(self.class);
        message.add_query(query);
        if let Some(version) = self.edns {
            let mut edns = Edns::new();
            edns.set_version(version).set_max_payload(1232).set_dnssec_ok(self.dnssec_ok);
            if self.nsid {
                edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new([]).expect("empty")));
            }
            if self.cookie {
                edns.options_mut().insert(EdnsOption::Unknown(10, vec![7; 8]));
            }
            message.set_edns(edns);
        }
        message.to_vec().expect("a message")
    }
}

/// A frame with a datagram, from its Ethernet header on.
pub fn frame(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let ether_type = if source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    let mut frame = vec![0x02; 12];
    frame.extend(ether_type);
    frame.extend(datagram(source, destination, 99, payload).expect("of one family"));
    frame
}

/// The same frame behind so many VLAN tags.
pub fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
    let mut out = frame.to_vec();
    for _ in 0..tags {
        out.splice(12..12, [0x81, 0x00, 0x00, 0x2a]);
    }
    out
}

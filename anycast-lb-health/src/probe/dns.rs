//! A DNS query over UDP is answered.

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::{PrepareError, Target, socket};
use crate::Reason;

/// Longest answer that is read; nothing longer comes without EDNS.
const LONGEST_ANSWER: usize = 4096;

/// A DNS question; NOERROR is the answer that is expected (RFC 1035 §4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsCheck {
    /// The name that is asked for.
    pub name: String,
    /// The record type: `A`, `AAAA`, `SOA`.
    pub record: String,
}

/// Whether it can be asked for.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && Name::from_ascii(text).is_ok()
}

/// Whether there is such a record type.
pub fn is_record_type(text: &str) -> bool {
    text.parse::<RecordType>().is_ok()
}

#[derive(Clone, Debug)]
pub(super) struct Driver {
    query: Query,
}

impl Driver {
    pub fn new(check: &DnsCheck) -> Result<Self, PrepareError> {
        let refused = |e: &dyn std::fmt::Display| PrepareError::Dns(e.to_string());
        let mut name = Name::from_ascii(&check.name).map_err(|e| refused(&e))?;
        name.set_fqdn(true);
        let record = check.record.parse().map_err(|e| refused(&e))?;
        Ok(Driver { query: Query::query(name, record) })
    }

    pub async fn run(&self, target: &Target) -> Result<(), Reason> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        let bytes =
            message.to_vec().map_err(|e| Reason::new(format_args!("the query cannot be made: {e}")))?;
        let udp = socket::connect_udp(target).await?;
        udp.send(&bytes).await.map_err(|e| socket::not_reached("DNS query", target, &e))?;
        let mut buffer = [0; LONGEST_ANSWER];
        loop {
            let length =
                udp.recv(&mut buffer).await.map_err(|e| socket::not_reached("DNS query", target, &e))?;
            let answer = Message::from_vec(&buffer[..length])
                .map_err(|e| Reason::new(format_args!("the answer is no DNS message: {e}")))?;
            // A late answer of an earlier socket with this port is not for us.
            if answer.metadata.id != message.metadata.id
                || answer.metadata.message_type != MessageType::Response
            {
                continue;
            }
            return match answer.metadata.response_code {
                ResponseCode::NoError => Ok(()),
                other => Err(Reason::new(format_args!("the answer is {other:?}, expected NOERROR"))),
            };
        }
    }
}

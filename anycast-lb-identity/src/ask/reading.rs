//! What is made of an answer. It may come from anybody.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption, NSIDPayload};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// Characters of a name that are shown.
pub const MAX_TEXT: usize = 128;
/// What is said of datagrams that are taken: what crosses any path whole (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
/// The version of EDNS is not known (RFC 6891 §9); without a signature the number says nothing else.
const BADVERS: u16 = 16;

/// A server's name, printable whatever it sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// All that it said.
    pub text: String,
    /// The node, where it says its name as our nodes do.
    pub node: Option<String>,
    /// The node's site.
    pub pop: Option<String>,
    /// The backend behind it, where it says so.
    pub backend: Option<IpAddr>,
}

impl Named {
    /// Reads a name in the form of [`crate::dns::text`], or of any other.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let text = printable(bytes);
        let mut words = text.split(' ');
        let node = words.next().filter(|word| !word.is_empty());
        let pop = words.next().and_then(|word| word.strip_prefix("pop=")).filter(|pop| !pop.is_empty());
        let (backend, well_formed) = match words.next() {
            None => (None, true),
            Some(word) => {
                let backend = word.strip_prefix("backend=").and_then(|word| word.parse().ok());
                (backend, backend.is_some() && words.next().is_none())
            }
        };
        match (node, pop) {
            (Some(node), Some(pop)) if well_formed => {
                let (node, pop) = (Some(node.to_owned()), Some(pop.to_owned()));
                Named { text: text.clone(), node, pop, backend }
            }
            _ => Named { text, node: None, pop: None, backend: None },
        }
    }
}

/// The bytes as text that no terminal takes for anything else: what is not printable ASCII is escaped, and
/// what is too long is cut.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if out.len() >= MAX_TEXT {
            out.push_str("...");
            break;
        }
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The question for one of [`crate::dns::NAMES`].
pub(super) fn question(id: u16, name: &str, edns: bool) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    let mut query = Query::query(Name::from_ascii(name).ok()?, RecordType::TXT);
    query.set_query_class(DNSClass::CH);
    message.add_query(query);
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new([]).ok()?));
        message.set_edns(edns);
    }
    message.to_vec().ok()
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its name.
    Name(Named),
    /// It does not know the option, or EDNS at all.
    WithoutOption,
    /// Something else: a response code.
    Code(String),
}

/// Reads the answer to the question of that ID and name; none if it is no answer to it. `edns`: it was put
/// with the option.
pub(super) fn answer(bytes: &[u8], id: u16, name: &str, edns: bool) -> Option<Said> {
    let message = Message::from_vec(bytes).ok()?;
    if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
        return None;
    }
    let asked = Name::from_ascii(name).ok()?;
    let is_ours = |query: &Query| *query.name() == asked && query.query_class() == DNSClass::CH;
    let code = message.metadata.response_code;
    // A server that does not understand a question need not repeat it.
    let without = code == ResponseCode::FormErr && message.queries.is_empty();
    let repeated = message.queries.len() == 1 && message.queries.iter().all(is_ours);
    if !repeated && !without {
        return None;
    }
    let text = message.answers.iter().find_map(|record| match &record.data {
        RData::TXT(text) if record.dns_class == DNSClass::CH => Some(text.txt_data.join(&b' ')),
        _ => None,
    });
    let nsid = message.edns.as_ref().and_then(|edns| match edns.option(EdnsCode::NSID) {
        Some(EdnsOption::NSID(name)) if !name.as_ref().is_empty() => Some(name.as_ref().to_vec()),
        _ => None,
    });
    Some(match text.filter(|text| !text.is_empty()).or(nsid) {
        Some(name) => Said::Name(Named::read(&name)),
        None if edns && (code == ResponseCode::FormErr || u16::from(code) == BADVERS) => Said::WithoutOption,
        None => Said::Code(code_name(code)),
    })
}

/// As dig says it.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR, without a name".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("response code {}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns;
    use proptest::prelude::*;

    fn answered(text: &str, nsid: &str) -> Option<Said> {
        let question = question(7, dns::NAMES[0], true).expect("a question");
        let answer_bytes = dns::Question::read(&question)?.answer(text, nsid)?;
        answer(&answer_bytes, 7, dns::NAMES[0], true)
    }

    #[test]
    fn our_own_answers_are_taken_apart() {
        let backend = [10, 0, 0, 11].into();
        let said = answered(&dns::text("fra1-lb1", "fra1", Some(backend)), "");
        let expected = Named {
            text: "fra1-lb1 pop=fra1 backend=10.0.0.11".to_owned(),
            node: Some("fra1-lb1".to_owned()),
            pop: Some("fra1".to_owned()),
            backend: Some(backend),
        };
        assert_eq!(said, Some(Said::Name(expected)));
    }

    #[test]
    fn names_of_other_servers_are_kept_whole() {
        for text in
            ["ns1.example.org", "my own server", "a pop=b c", "a pop= x", " pop=x", "a pop=b backend=1 2"]
        {
            let name = Named::read(text.as_bytes());
            assert_eq!((name.text.as_str(), name.node, name.backend), (text, None, None), "{text}");
        }
    }

    #[test]
    fn a_name_that_would_run_in_a_terminal_is_text() {
        let name = Named::read(b"\x1b]0;evil\x07\r\nanswer: \xc3\xa9\\");
        assert_eq!(name.text, "\\x1b]0;evil\\x07\\x0d\\x0aanswer: \\xc3\\xa9\\\\");
        let long = Named::read(&[b'x'; 5000]);
        assert_eq!(long.text.len(), MAX_TEXT + 3);
    }

    #[test]
    fn the_option_will_do_where_there_is_no_record() {
        // An answer with the option alone, as servers give that refuse CHAOS.
        let mut message = Message::response(7, OpCode::Query);
        message.metadata.response_code = ResponseCode::Refused;
        let mut query = Query::query(Name::from_ascii(dns::NAMES[0]).expect("a name"), RecordType::TXT);
        query.set_query_class(DNSClass::CH);
        message.add_query(query.clone());
        let refused = message.to_vec().expect("a message");
        let refusal = Some(Said::Code("REFUSED".to_owned()));
        assert_eq!(answer(&refused, 7, dns::NAMES[0], true), refusal);
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new(*b"ns1.fra").expect("short")));
        message.set_edns(edns);
        let named = message.to_vec().expect("a message");
        assert_eq!(answer(&named, 7, dns::NAMES[0], true), Some(Said::Name(Named::read(b"ns1.fra"))));
    }

    #[test]
    fn what_answers_something_else_is_not_listened_to() {
        let asked = question(7, dns::NAMES[0], false).expect("a question");
        let reply = dns::Question::read(&asked).and_then(|q| q.answer("x", "")).expect("an answer");
        assert!(answer(&reply, 7, dns::NAMES[0], false).is_some());
        assert_eq!(answer(&reply, 8, dns::NAMES[0], false), None);
        assert_eq!(answer(&reply, 7, dns::NAMES[1], false), None);
        assert_eq!(answer(&asked, 7, dns::NAMES[0], false), None);
    }

    #[test]
    fn a_server_without_edns_is_asked_again_without() {
        let mut message = Message::response(7, OpCode::Query);
        message.metadata.response_code = ResponseCode::FormErr;
        let bytes = message.to_vec().expect("a message");
        assert_eq!(answer(&bytes, 7, dns::NAMES[0], true), Some(Said::WithoutOption));
        assert_eq!(answer(&bytes, 7, dns::NAMES[0], false), Some(Said::Code("FORMERR".to_owned())));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_printable(
            bytes in prop::collection::vec(any::<u8>(), 0..600), flip: prop::sample::Index,
        ) {
            let _ = answer(&bytes, 7, dns::NAMES[0], true);
            let name = Named::read(&bytes);
            prop_assert!(name.text.bytes().all(|b| (b' '..=b'~').contains(&b)));
            let question = question(7, dns::NAMES[0], true).expect("a question");
            let mut reply = dns::Question::read(&question).and_then(|q| q.answer("x", "y")).expect("one");
            let at = flip.index(reply.len());
            reply[at] ^= bytes.first().copied().unwrap_or(1);
            if let Some(Said::Name(name)) = answer(&reply, 7, dns::NAMES[0], true) {
                prop_assert!(name.text.bytes().all(|b| (b' '..=b'~').contains(&b)));
            }
        }
    }
}

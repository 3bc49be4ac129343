//! The question for a server's name and its answer.
//!
//! RFC 4892: a TXT record of class CHAOS at `id.server`; `hostname.bind` is the older name for the same.
//! RFC 5001: who asks for it gets the name as an EDNS option as well.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption, NSIDPayload};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// What is asked for, in the order in which a client tries them.
pub const NAMES: [&str; 2] = ["id.server.", "hostname.bind."];
/// Longest string of a TXT record (RFC 1035 §3.3).
const LONGEST_STRING: usize = 255;
/// What is said of datagrams that are taken; more than any question needs.
const PAYLOAD: u16 = 512;
/// The version of EDNS that is spoken (RFC 6891 §6.1.3).
const EDNS_VERSION: u8 = 0;

/// A question for the name of the server, well formed in every respect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
}

impl Question {
    /// Reads a DNS message; none unless it is such a question and nothing besides.
    pub fn read(message: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(message);
        let mut read = Message::read(&mut decoder).ok().filter(|_| decoder.is_empty())?;
        let bare = read.answers.is_empty()
            && read.authorities.is_empty()
            && read.additionals.is_empty()
            && read.signature.is_none();
        let plain = read.metadata.message_type == MessageType::Query
            && read.metadata.op_code == OpCode::Query
            && !read.metadata.truncation;
        if !bare || !plain || read.queries.len() != 1 {
            return None;
        }
        let query = read.queries.pop()?;
        let text = query.name().to_ascii();
        let is_ours = NAMES.iter().any(|name| text.eq_ignore_ascii_case(name))
            && query.query_type() == RecordType::TXT
            && query.query_class() == DNSClass::CH;
        is_ours.then(|| Question { metadata: read.metadata, query, edns: read.edns.take() })
    }

    /// The answer: `text` as the record, `nsid` as the option where it is asked for. Both are cut to what
    /// a string may hold.
    ///
    /// It is authoritative (the name is the server's own), not to be kept (TTL 0), and holds neither more
    /// records nor options than were asked for: an EDNS version that is not known gets told so (RFC 6891
    /// §6.1.3), cookies and other options none.
    pub fn answer(&self, text: &str, nsid: &str) -> Option<Vec<u8>> {
        let mut answer = Message::response(self.metadata.id, OpCode::Query);
        answer.metadata.authoritative = true;
        answer.metadata.recursion_desired = self.metadata.recursion_desired;
        answer.add_query(self.query.clone());
        if let Some(asked) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_dnssec_ok(asked.flags().dnssec_ok);
            if asked.version() != EDNS_VERSION {
                answer.metadata.response_code = ResponseCode::BADVERS;
                answer.metadata.authoritative = false;
            } else if asked.option(EdnsCode::NSID).is_some() {
                let nsid = NSIDPayload::new(cut(nsid).as_bytes()).ok()?;
                edns.options_mut().insert(EdnsOption::NSID(nsid));
            }
            answer.set_edns(edns);
        }
        if answer.metadata.response_code == ResponseCode::NoError {
            let text = TXT::new(vec![cut(text).to_owned()]);
            let mut record = Record::from_rdata(self.query.name().clone(), 0, RData::TXT(text));
            record.dns_class = DNSClass::CH;
            answer.add_answer(record);
        }
        answer.to_vec().ok()
    }
}

/// Names are ASCII, so that this cuts no character.
fn cut(text: &str) -> &str {
    text.get(..text.len().min(LONGEST_STRING)).unwrap_or_default()
}

/// How a node says its name: one string, since tools show the first or put them together. Names are plain
/// words, so that the parts can be told apart: `fra1-lb1 pop=fra1 backend=10.0.0.11`.
pub fn text(node: &str, pop: &str, backend: Option<IpAddr>) -> String {
    let backend = backend.map(|backend| format!(" backend={backend}")).unwrap_or_default();
    format!("{node} pop={pop}{backend}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::responder::testing::{Ask, TEXT};
    use proptest::prelude::*;

    fn answer_to(ask: &Ask) -> Option<Vec<u8>> {
        Question::read(&ask.bytes())?.answer(TEXT, "nsid")
    }

    fn read(bytes: &[u8]) -> Message {
        Message::from_vec(bytes).expect("a DNS message")
    }

    #[test]
    fn the_answer_to_dig_is_this() {
        // As dig +noedns sends it, but for the ID.
        let question = b"\xbe\xef\x01\x20\0\x01\0\0\0\0\0\0\x02id\x06server\0\0\x10\0\x03";
        let answer = Question::read(question).and_then(|q| q.answer("lb1 pop=fra1", "")).expect("an answer");
        let expected = b"\xbe\xef\x85\x00\0\x01\0\x01\0\0\0\0\x02id\x06server\0\0\x10\0\x03\
            \xc0\x0c\0\x10\0\x03\0\0\0\0\0\x0d\x0clb1 pop=fra1";
        assert_eq!(answer, expected);
    }

    #[test]
    fn both_names_are_known_in_any_case_and_come_back_as_they_were_written() {
        for name in ["id.server.", "ID.SERVER.", "hostname.bind.", "hOsTnAmE.BiNd."] {
            let ask = Ask { name, ..Ask::default() };
            let answer = answer_to(&ask).expect("an answer");
            let asked = ask.bytes();
            assert_eq!(answer[12..asked.len()], asked[12..], "{name}");
        }
    }

    #[test]
    fn other_questions_are_not_ours() {
        let ask = Ask::default();
        for other in [
            Ask { name: "version.bind.", ..ask },
            Ask { name: "server.", ..ask },
            Ask { name: "x.id.server.", ..ask },
            Ask { class: DNSClass::IN, ..ask },
            Ask { record: RecordType::A, ..ask },
            Ask { record: RecordType::ANY, ..ask },
        ] {
            assert_eq!(Question::read(&other.bytes()), None, "{other:?}");
        }
    }

    /// The bytes of a question, changed.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Ask::default().bytes();
        change(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_odd_gets_no_answer() {
        let odd = [
            ("an answer", changed(|b| b[2] |= 0x80)),
            ("a notification", changed(|b| b[2] |= 0x20)),
            ("cut", changed(|b| b[2] |= 0x02)),
            ("no question", changed(|b| b[5] = 0)),
            (
                "two questions",
                changed(|b| {
                    b[5] = 2;
                    b.extend(b.clone().split_off(12));
                }),
            ),
            (
                "an answer in a question",
                changed(|b| {
                    b[7] = 1;
                    b.extend(b"\xc0\x0c\0\x10\0\x03\0\0\0\0\0\x02\x01x");
                }),
            ),
            ("more than it says", changed(|b| b.push(0))),
            (
                "less than it says",
                changed(|b| {
                    b.pop();
                }),
            ),
            (
                "a name that points at itself",
                changed(|b| {
                    b.truncate(12);
                    b.extend(b"\xc0\x0c\0\x10\0\x03");
                }),
            ),
        ];
        for (what, bytes) in odd {
            assert_eq!(Question::read(&bytes), None, "{what}");
        }
        assert!(Question::read(&changed(|_| {})).is_some());
    }

    #[test]
    fn recursion_desired_is_copied_and_nothing_else() {
        // RD, AD and CD asked for: AA and RD come back.
        let ask = changed(|b| {
            b[2] |= 0x01;
            b[3] |= 0x30;
        });
        let answer = Question::read(&ask).and_then(|q| q.answer(TEXT, "")).expect("an answer");
        assert_eq!(answer[2..4], [0x85, 0x00]);
    }

    #[test]
    fn the_option_comes_where_it_is_asked_for_and_cookies_do_not() {
        let without = read(&answer_to(&Ask::default()).expect("an answer"));
        assert_eq!(without.edns, None);
        let plain = read(&answer_to(&Ask { edns: Some(0), ..Ask::default() }).expect("an answer"));
        let edns = plain.edns.expect("EDNS");
        assert_eq!((edns.options().as_ref().len(), edns.max_payload()), (0, 512));
        let ask = Ask { edns: Some(0), nsid: true, cookie: true, dnssec_ok: true, ..Ask::default() };
        let edns = read(&answer_to(&ask).expect("an answer")).edns.expect("EDNS");
        assert_eq!(edns.options().as_ref().len(), 1);
        assert!(edns.flags().dnssec_ok);
        match edns.option(EdnsCode::NSID) {
            Some(EdnsOption::NSID(payload)) => assert_eq!(payload.as_ref(), b"nsid"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_of_edns_that_is_not_known_is_told_so() {
        let ask = Ask { edns: Some(1), nsid: true, ..Ask::default() };
        let bytes = answer_to(&ask).expect("an answer");
        assert!(bytes.len() < ask.bytes().len());
        let answer = read(&bytes);
        // The number is that of BADSIG, too.
        assert_eq!(u16::from(answer.metadata.response_code), 16);
        assert_eq!((answer.answers.len(), answer.edns.map(|e| e.version())), (0, Some(0)));
    }

    #[test]
    fn an_answer_is_the_question_and_the_text() {
        let nsid = "fra1-lb1 pop=fra1";
        for (ask, options) in [
            (Ask::default(), 0),
            (Ask { name: "hostname.bind.", ..Ask::default() }, 0),
            (Ask { edns: Some(0), ..Ask::default() }, 0),
            (Ask { edns: Some(0), nsid: true, ..Ask::default() }, nsid.len()),
        ] {
            let answer = Question::read(&ask.bytes()).and_then(|q| q.answer(TEXT, nsid)).expect("an answer");
            // A pointer to the name, type, class, TTL, two lengths: nothing of it can be left out.
            const RECORD: usize = 2 + 2 + 2 + 4 + 2 + 1;
            assert_eq!(answer.len(), ask.bytes().len() + RECORD + TEXT.len() + options, "{ask:?}");
        }
        let longest = "x".repeat(300);
        let answer = Question::read(&Ask::default().bytes()).and_then(|q| q.answer(&longest, &longest));
        assert_eq!(answer.expect("an answer").len(), Ask::default().bytes().len() + 13 + 255);
    }

    #[test]
    fn a_name_says_its_parts() {
        assert_eq!(text("fra1-lb1", "fra1", None), TEXT);
        let backend = Some([10, 0, 0, 11].into());
        assert_eq!(text("fra1-lb1", "fra1", backend), "fra1-lb1 pop=fra1 backend=10.0.0.11");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..260)) {
            if let Some(question) = Question::read(&bytes) {
                let _ = question.answer(TEXT, TEXT);
            }
        }

        #[test]
        fn no_damage_panics_or_is_answered_with_more_than_the_text(
            edns: bool,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            more in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let ask = Ask { edns: edns.then_some(0), nsid: edns, cookie: edns, ..Ask::default() };
            let mut bytes = ask.bytes();
            bytes.extend(more);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(answer) = Question::read(&bytes).and_then(|q| q.answer(TEXT, TEXT)) {
                prop_assert!(answer.len() <= bytes.len() + 13 + 2 * TEXT.len());
            }
        }
    }
}

//! Takes what the programs report out of the rings. It never makes them wait: what is not taken in time is lost
//! there, and what nobody takes from here is lost here; both are counted.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use anycast_lb_common::abi::{Event, Program, Question, Reasons, VERDICTS, Verdict};
use anycast_lb_flowlog::{self as flowlog, Events, Record};
use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::book::Book;
use super::{Hub, Sighting};
use crate::dataplane::{Rings, monotonic};

/// Records and questions that may wait.
const BACKLOG: usize = 8192;
/// Records that are taken in one go, before others have their turn.
const BATCH: usize = 512;

/// What comes out of the rings, and what did not find room.
#[derive(Debug)]
pub struct Streams {
    /// The flow log.
    pub flows: mpsc::Receiver<Record>,
    /// Questions for the name of the node.
    pub questions: mpsc::Receiver<Question>,
}

/// Reads `rings` from now on.
///
/// # Errors
/// The rings cannot be waited for.
pub fn start(rings: Rings, hub: Hub) -> io::Result<Streams> {
    let (flows, flow_receiver) = mpsc::channel(BACKLOG);
    let (questions, question_receiver) = mpsc::channel(BACKLOG);
    let to = hub.clone();
    read(rings.flows, move |bytes| {
        let Some((event, _)) = split(bytes) else { return };
        let Some(book) = to.books.of(event.version) else { return };
        let record = decode(&event, &book, wall_clock(event.time));
        if let Some(record) = record
            && flows.try_send(record).is_err()
        {
            to.drop_one();
        }
    })?;
    let to = hub.clone();
    read(rings.packets, move |bytes| {
        if let Some(sighting) = sighting(bytes) {
            to.give(&sighting);
        }
    })?;
    read(rings.questions, move |bytes| {
        let question = bytemuck::try_pod_read_unaligned(bytes);
        if let Ok(question) = question
            && questions.try_send(question).is_err()
        {
            hub.drop_one();
        }
    })?;
    Ok(Streams { flows: flow_receiver, questions: question_receiver })
}

/// Hands each record of `ring` to `take`.
fn read(ring: RingBuf<MapData>, mut take: impl FnMut(&[u8]) + Send + 'static) -> io::Result<()> {
    // SAFETY: a ring has one descriptor, which it closes when it is dropped.
    let mut ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE)? };
    tokio::spawn(async move {
        // It fails only when the runtime ends.
        while let Ok(mut ready) = ring.readable_mut().await {
            let mut taken = 0;
            while taken < BATCH
                && let Some(record) = ready.get_inner_mut().next()
            {
                take(&record);
                taken += 1;
            }
            if taken < BATCH {
                ready.clear_ready();
            } else {
                tokio::task::yield_now().await;
            }
        }
    });
    Ok(())
}

/// The event of a record, and what follows it.
fn split(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (event, rest) = bytes.split_at_checked(size_of::<Event>())?;
    Some((bytemuck::try_pod_read_unaligned(event).ok()?, rest))
}

fn sighting(bytes: &[u8]) -> Option<Sighting> {
    let (event, rest) = split(bytes)?;
    let (before, rest) = rest.split_at_checked(event.before as usize)?;
    let after = rest.get(..event.after as usize)?;
    Some(Sighting { event, before: before.to_vec(), after: after.to_vec() })
}

/// The verdict of an event.
pub fn verdict(event: &Event) -> Option<Verdict> {
    VERDICTS.get(event.verdict as usize).copied()
}

/// An address of an event; none where there was none.
pub fn address(key: [u64; 2]) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytemuck::cast(key);
    (key != [0; 2]).then(|| Ipv6Addr::from(bytes).to_canonical())
}

/// When a time of the monotonic clock was, by the clock on the wall.
pub fn wall_clock(time: u64) -> SystemTime {
    let ago = monotonic().saturating_sub(time);
    SystemTime::now().checked_sub(Duration::from_nanos(ago)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The record of an event; none if it has no flow.
pub fn decode(event: &Event, book: &Book, time: SystemTime) -> Option<Record> {
    let verdict = verdict(event)?;
    let vip = book.vips.get(&event.vip).filter(|_| event.vip != 0);
    let member = book.members.get(&event.member).filter(|_| event.member != 0);
    Some(Record {
        time,
        node: book.node.clone(),
        pop: Some(book.pop.clone()).filter(|pop| !pop.is_empty()),
        program: match verdict.program() {
            Program::Ingress => flowlog::Program::Ingress,
            Program::Backend => flowlog::Program::Backend,
        },
        event: Events::from_bits(event.reasons & Reasons::FLOW_LOG),
        protocol: event.protocol,
        source: SocketAddr::new(address(event.source)?, event.source_port),
        destination: SocketAddr::new(address(event.destination)?, event.destination_port),
        tcp_flags: event.tcp_flags,
        verdict: verdict.name().to_owned(),
        vip: vip.map(|vip| vip.key.to_string()),
        pool: vip.map(|vip| vip.pool.to_string()),
        slot: book.slot(event.vip, event.hash),
        backend: member.map(|(_, address)| *address),
        table_version: event.version,
        sender: address(event.sender),
        next: address(event.next),
        bytes: event.length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::book::NamedVip;
    use anycast_lb_common::abi::{TableRef, address_key};
    use anycast_lb_common::wire::ipv4::mapped;
    use bytemuck::Zeroable;
    use std::collections::HashMap;

    fn book() -> Book {
        let table = TableRef { base: 0, bits: 4, words: 1, reserved: [0; 2] };
        let key = "203.0.113.1:443/tcp".parse().expect("a VIP");
        Book {
            version: 3,
            node: "lon1-lb1".into(),
            pop: "lon1".into(),
            vips: HashMap::from([(2, NamedVip { key, pool: "web".into(), table })]),
            members: HashMap::from([(5, ("web".into(), IpAddr::from([10, 0, 0, 11])))]),
        }
    }

    fn event() -> Event {
        Event {
            source: address_key(mapped([192, 0, 2, 7])),
            destination: address_key(mapped([203, 0, 113, 1])),
            source_port: 51234,
            destination_port: 443,
            protocol: 6,
            tcp_flags: 2,
            verdict: Verdict::ForwardedGue as u8,
            reasons: Reasons::BEGIN | Reasons::FILTER,
            version: 3,
            vip: 2,
            member: 5,
            hash: 0xf << 60,
            length: 74,
            ..Event::zeroed()
        }
    }

    #[test]
    fn an_event_reads_as_what_happened() {
        let record = decode(&event(), &book(), SystemTime::UNIX_EPOCH).expect("a record");
        assert_eq!(record.source.to_string(), "192.0.2.7:51234");
        assert_eq!(record.destination.to_string(), "203.0.113.1:443");
        assert_eq!(
            (record.vip.as_deref(), record.pool.as_deref()),
            (Some("203.0.113.1:443/tcp"), Some("web"))
        );
        assert_eq!((record.slot, record.backend), (Some(15), Some([10, 0, 0, 11].into())));
        assert_eq!((record.verdict.as_str(), record.program), ("forwarded_gue", flowlog::Program::Ingress));
        assert!(record.event.has(flowlog::Event::Begin) && !record.event.has(flowlog::Event::Sample));
        assert_eq!((record.sender, record.next), (None, None));
        assert_eq!((record.node.as_str(), record.pop.as_deref()), ("lon1-lb1", Some("lon1")));
    }

    #[test]
    fn a_backend_tells_sender_and_next() {
        let hop = Event {
            verdict: Verdict::Hop as u8,
            sender: address_key(mapped([10, 0, 0, 2])),
            next: address_key([0xfd; 16]),
            vip: 0,
            member: 0,
            ..event()
        };
        let record = decode(&hop, &book(), SystemTime::UNIX_EPOCH).expect("a record");
        assert_eq!(record.program, flowlog::Program::Backend);
        assert_eq!(record.sender, Some([10, 0, 0, 2].into()));
        assert_eq!(record.next, Some([0xfd; 16].into()));
        assert_eq!((record.vip, record.slot, record.backend), (None, None, None));
    }

    #[test]
    fn what_has_no_flow_or_no_verdict_is_no_record() {
        let none = |event| decode(&event, &book(), SystemTime::UNIX_EPOCH).is_none();
        assert!(none(Event { source: [0; 2], ..event() }));
        assert!(none(Event { verdict: u8::MAX, ..event() }));
    }

    #[test]
    fn bytes_follow_the_event() {
        let event = Event { before: 2, after: 3, ..event() };
        let bytes = [bytemuck::bytes_of(&event), &[1, 2, 3, 4, 5], &[0; 3]].concat();
        let found = sighting(&bytes).expect("a packet");
        assert_eq!((found.event, found.before, found.after), (event, vec![1, 2], vec![3, 4, 5]));
        for len in 0..size_of::<Event>() + 5 {
            assert_eq!(sighting(&bytes[..len]), None, "{len}");
        }
    }
}

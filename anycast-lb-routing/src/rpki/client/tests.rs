use std::net::Ipv4Addr;

use ::rpki::resources::Asn;
use ::rpki::rtr::pdu;
use ::rpki::rtr::state::Serial;
use ipnet::IpNet;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;
use crate::rpki::validity::Validity;

const DEADLINE: Duration = Duration::from_secs(20);

fn prefix() -> IpNet {
    "203.0.113.0/24".parse().expect("a prefix")
}

/// A validator's end.
struct Cache {
    stream: DuplexStream,
    bytes: Vec<u8>,
}

fn state(serial: u32) -> State {
    State::from_parts(7, Serial(serial))
}

impl Cache {
    fn v4(mut self, announced: bool, third: u8, asn: u32) -> Self {
        let prefix = Ipv4Addr::new(203, 0, third, 0);
        let pdu = pdu::Ipv4Prefix::new(1, announced.into(), 24, 24, prefix, Asn::from_u32(asn));
        self.bytes.extend_from_slice(pdu.as_ref());
        self
    }

    fn start(mut self) -> Self {
        self.bytes.extend_from_slice(pdu::CacheResponse::new(1, state(0)).as_ref());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn end(self, serial: u32) -> Self {
        self.end_with(serial, Timing::default())
    }

    fn end_with(mut self, serial: u32, timing: Timing) -> Self {
        self.bytes.extend_from_slice(pdu::EndOfData::new(1, state(serial), timing).as_ref());
        self
    }

    /// Sends all of it.
    async fn send(mut self) -> Self {
        self.stream.write_all(&std::mem::take(&mut self.bytes)).await.expect("room");
        self
    }

    /// Sends all of it and nothing more; what the other end says is still taken.
    async fn send_last(self) -> Self {
        let mut cache = self.send().await;
        cache.stream.shutdown().await.expect("an end");
        cache
    }

    /// Type of the next query, and its serial number.
    async fn query(&mut self) -> (u8, u32) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).await.expect("a query");
        let serial = if header[1] == 1 { self.stream.read_u32().await.expect("a serial number") } else { 0 };
        (header[1], serial)
    }
}

fn pair_with(most: usize, patience: Patience) -> (Cache, Session<DuplexStream>, Data) {
    let (theirs, ours) = duplex(1 << 20);
    let data = Data::default();
    let session = Session::new(Guarded::new(ours, patience), 1, None, most, &data);
    (Cache { stream: theirs, bytes: Vec::new() }, session, data)
}

fn pair() -> (Cache, Session<DuplexStream>, Data) {
    pair_with(100, Patience::default())
}

fn origins(data: &Data) -> Vec<u32> {
    let data = data.read().expect("a lock");
    let asns = 64500..64510;
    asns.filter(|asn| data.validate(prefix(), *asn).validity == Validity::Valid).collect()
}

#[tokio::test]
async fn a_whole_set_then_changes_when_there_are_any() {
    let (cache, mut session, data) = pair();
    let notify = pdu::SerialNotify::new(1, state(4));
    // What is not about origins is passed over.
    let key = pdu::RouterKey::new(
        1,
        1,
        [1; 20],
        Asn::from_u32(64500),
        pdu::RouterKeyInfo::new(vec![7; 91].into()).expect("a key"),
    );
    let mut keys = Vec::new();
    key.write(&mut keys).await.expect("room");
    let cache = cache.start().v4(true, 113, 64500).raw(&keys).v4(true, 113, 64501);
    // A notify within the exchange is kept for after it.
    let mut cache = cache.raw(notify.as_ref()).end(3).send().await;
    let synced = session.step().await.expect("an answer");
    assert_eq!(synced, Synced { vrps: 2, expire: Duration::from_secs(7200), serial: 3 });
    assert_eq!(cache.query().await, (2, 0));
    assert_eq!(origins(&data), [64500, 64501]);

    let mut cache = cache.start().v4(false, 113, 64500).v4(true, 113, 64502).end(4).send().await;
    let synced = timeout(DEADLINE, session.step()).await.expect("the notify").expect("an answer");
    assert_eq!((synced.vrps, synced.serial), (2, 4));
    assert_eq!(cache.query().await, (1, 3));
    assert_eq!(origins(&data), [64501, 64502]);
    assert_eq!(session.resume.map(|s| s.serial().0), Some(4));
}

#[tokio::test]
async fn times_are_brought_into_range() {
    for (expire, seconds) in [(0, 600), (u32::MAX, 172_800), (3600, 3600)] {
        let (cache, mut session, _data) = pair();
        let timing = Timing { refresh: 0, retry: 0, expire };
        let _cache = cache.start().end_with(1, timing).send().await;
        let synced = session.step().await.expect("an answer");
        assert_eq!(synced.expire, Duration::from_secs(seconds));
        let timing = session.client.target().timing;
        assert_eq!((timing.refresh, timing.retry), (1, 1));
    }
    let (cache, mut session, _data) = pair();
    let timing = Timing { refresh: u32::MAX, retry: u32::MAX, expire: 3600 };
    let _cache = cache.start().end_with(1, timing).send().await;
    session.step().await.expect("an answer");
    let timing = session.client.target().timing;
    assert_eq!((timing.refresh, timing.retry), (1800, 7200));
}

/// A session that has data, and what came of an answer that is to be refused.
async fn refused(answer: impl FnOnce(Cache) -> Cache) -> (ClientError, Vec<u32>, Option<State>) {
    let (cache, mut session, data) = pair_with(3, Patience::default());
    let notify = pdu::SerialNotify::new(1, state(2));
    let cache = cache.start().v4(true, 113, 64500).end(1).raw(notify.as_ref());
    let _cache = answer(cache.start()).end(2).send().await;
    session.step().await.expect("an answer");
    let error = timeout(DEADLINE, session.step()).await.expect("an end").expect_err("refused");
    (error, origins(&data), session.resume)
}

#[tokio::test]
async fn impossible_changes_change_nothing_and_begin_anew() {
    let (error, left, resume) = refused(|c| c.v4(true, 113, 64501).v4(true, 113, 64500)).await;
    assert!(matches!(error, ClientError::Data(Refusal::Duplicate)), "{error}");
    assert_eq!((left, resume.is_none()), (vec![64500], true));
    let (error, left, _) = refused(|c| c.v4(false, 113, 64500).v4(false, 113, 64505)).await;
    assert!(matches!(error, ClientError::Data(Refusal::Unknown)), "{error}");
    assert_eq!(left, [64500]);
    let many = |c: Cache| c.v4(true, 1, 1).v4(true, 2, 1).v4(true, 3, 1);
    let (error, left, _) = refused(many).await;
    assert!(matches!(error, ClientError::Data(Refusal::TooMany(3))), "{error}");
    assert_eq!(left, [64500]);
    let corrupt = pdu::Ipv4Prefix::new(1, 1, 24, 23, Ipv4Addr::new(203, 0, 113, 0), Asn::from_u32(1));
    let (error, left, _) = refused(|c| c.raw(corrupt.as_ref())).await;
    assert!(matches!(error, ClientError::Data(Refusal::Corrupt)), "{error}");
    assert_eq!(left, [64500]);
}

#[tokio::test]
async fn a_whole_set_that_is_too_large_is_refused() {
    let (cache, mut session, data) = pair_with(3, Patience::default());
    let many = (1..=4).fold(cache.start(), |c, third| c.v4(true, third, 64500));
    let _cache = many.send().await;
    let error = session.step().await.expect_err("refused");
    assert_eq!(error.to_string(), "the validator sent more than 3 VRPs");
    assert_eq!(data.read().expect("a lock").len(), 0);
}

#[tokio::test]
async fn lengths_that_cannot_be_end_the_session_before_anything_is_allocated() {
    for (kind, length) in
        [(9, u32::MAX), (10, u32::MAX), (11, u32::MAX), (9, 8), (10, 8), (4, 21), (7, 12), (77, 8)]
    {
        let (cache, mut session, _data) = pair();
        let header = [&[1, kind, 0, 0][..], &u32::to_be_bytes(length)].concat();
        let _cache = cache.start().raw(&header).send().await;
        let error = timeout(DEADLINE, session.step()).await.expect("at once").expect_err("refused");
        assert!(error.to_string().starts_with("the validator sent a message of type"), "{kind}: {error}");
    }
}

#[tokio::test]
async fn silence_and_dripping_end_the_session() {
    let patience = Patience { message: Duration::from_millis(50), exchange: Duration::from_millis(200) };
    // Nothing at all, and half a message.
    for bytes in [&[][..], &[1, 3, 0, 7]] {
        let (cache, mut session, data) = pair_with(100, patience);
        let _cache = cache.raw(bytes).send().await;
        let ended = timeout(DEADLINE, session.step()).await.expect("an end");
        let error = ended.expect_err("no answer");
        assert!(error.to_string().contains("takes too long"), "{error}");
        assert!(data.read().expect("a lock").is_empty());
    }
    // Messages that come in time each, and never end.
    let (cache, mut session, _data) = pair_with(100_000, patience);
    let mut cache = cache.start().send().await;
    let drip = async {
        for number in 0u32.. {
            let prefix = Ipv4Addr::from(number << 8);
            let pdu = pdu::Ipv4Prefix::new(1, 1, 24, 24, prefix, Asn::from_u32(1));
            if cache.stream.write_all(pdu.as_ref()).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let end = async {
        let error = session.step().await.expect_err("no answer");
        drop(session);
        error
    };
    let both = async { tokio::join!(drip, end).1 };
    let error = timeout(DEADLINE, both).await.expect("an end");
    assert!(error.to_string().contains("takes too long"), "{error}");
}

#[tokio::test]
async fn an_end_within_a_message_is_an_end() {
    let (cache, mut session, _data) = pair();
    let error = pdu::Error::new(1, 4, [], "no");
    let bytes = &error.as_ref()[..17];
    let _cache = cache.raw(bytes).send_last().await;
    let ended = timeout(DEADLINE, session.step()).await.expect("an end");
    assert!(ended.expect_err("no answer").to_string().contains("within a message"));
}

/// Serves what `answer` gives to each query, and hangs up where it gives nothing.
async fn serve(listener: TcpListener, answer: impl Fn(u8, u8) -> Vec<u8>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        loop {
            let mut header = [0; 8];
            if stream.read_exact(&mut header).await.is_err() {
                break;
            }
            let bytes = answer(header[0], header[1]);
            if bytes.is_empty() || stream.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
}

fn whole(version: u8) -> Vec<u8> {
    let mut bytes = pdu::CacheResponse::new(version, state(0)).as_ref().to_vec();
    let prefix = Ipv4Addr::new(203, 0, 113, 0);
    let vrp = pdu::Ipv4Prefix::new(version, 1, 24, 24, prefix, Asn::from_u32(64500));
    bytes.extend_from_slice(vrp.as_ref());
    bytes.extend_from_slice(pdu::EndOfData::new(version, state(1), Timing::default()).as_ref());
    bytes
}

#[tokio::test]
async fn older_validators_are_understood_whether_they_say_so_or_hang_up() {
    for (spoken, says_so) in [(2, true), (1, true), (0, true), (1, false), (0, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(serve(listener, move |asked, _| match (asked > spoken, says_so) {
            (false, _) => whole(spoken),
            (true, true) => pdu::Error::new(spoken, 4, [], "").as_ref().to_vec(),
            (true, false) => Vec::new(),
        }));
        let set = timeout(DEADLINE, fetch(address, 10)).await.expect("in time").expect("an answer");
        assert_eq!(set.validate(prefix(), 64500).validity, Validity::Valid, "version {spoken}");
        server.abort();
    }
}

#[tokio::test]
async fn following_goes_on_after_a_session_broke() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    // Answers one query a connection; the second session asks for changes, and there are none.
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut header = [0; 8];
            stream.read_exact(&mut header).await.expect("a query");
            let bytes = if header[1] == 2 {
                whole(1)
            } else {
                let mut bytes = pdu::CacheResponse::new(1, state(0)).as_ref().to_vec();
                bytes.extend_from_slice(pdu::EndOfData::new(1, state(2), Timing::default()).as_ref());
                bytes
            };
            stream.write_all(&bytes).await.expect("room");
        }
        listener
    });
    let data = Data::default();
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let theirs = Arc::clone(&data);
    let client = tokio::spawn(async move {
        follow(address, 10, &theirs, |event| {
            let _ = sender.send(event);
        })
        .await;
    });
    let mut serials = Vec::new();
    let mut lost = 0;
    while serials.len() < 2 {
        let event = timeout(DEADLINE, events.recv()).await.expect("in time").expect("an event");
        match event {
            Event::Synced(synced) => serials.push((synced.serial, synced.vrps)),
            Event::Lost(_) => lost += 1,
        }
    }
    // The second answer came in another session, and the data of the first are still there.
    assert_eq!((serials, lost), (vec![(1, 1), (2, 1)], 1));
    client.abort();
    server.await.expect("the server's end");
}

/// What a session makes of these bytes: an answer or an error, and its data. Panics if it does neither.
fn outcome(bytes: Vec<u8>) -> (Result<Synced, ClientError>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (cache, mut session, data) = pair();
        let _cache = cache.raw(&bytes).send_last().await;
        let result = timeout(DEADLINE, session.step()).await.expect("an end");
        let vrps = data.read().expect("a lock").len();
        (result, vrps)
    })
}

fn exchange() -> Vec<u8> {
    let mut bytes = whole(1);
    let v6 =
        pdu::Ipv6Prefix::new(1, 1, 32, 48, "2001:db8::".parse().expect("an address"), Asn::from_u32(64500));
    let at = bytes.len() - 24;
    bytes.splice(at..at, v6.as_ref().iter().copied());
    bytes
}

#[test]
fn undamaged_it_is_an_answer() {
    let (result, vrps) = outcome(exchange());
    assert_eq!((result.map(|s| s.vrps).ok(), vrps), (Some(2), 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn garbage_is_never_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (result, vrps) = outcome(bytes);
        prop_assert!(result.is_err());
        prop_assert_eq!(vrps, 0);
    }

    #[test]
    fn what_is_cut_off_is_never_an_answer(at in any::<prop::sample::Index>()) {
        let whole = exchange();
        let (result, vrps) = outcome(whole[..at.index(whole.len())].to_vec());
        prop_assert!(result.is_err());
        prop_assert_eq!(vrps, 0);
    }

    /// Damaged bytes may still be well-formed: then there is a whole answer, else none at all.
    #[test]
    fn damage_ends_in_an_answer_or_an_error(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = exchange();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(more);
        let (result, vrps) = outcome(bytes);
        prop_assert_eq!(result.map_or(0, |synced| synced.vrps), vrps);
    }
}

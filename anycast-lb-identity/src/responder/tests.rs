use std::time::Duration;

use hickory_proto::op::Message;
use proptest::prelude::*;

use super::testing::{Ask, frame, tagged};
use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn settings() -> Settings {
    let vip = |text: &str| text.parse::<IpAddr>().expect("an address");
    Settings {
        node: "fra1-lb1".to_owned(),
        pop: "fra1".to_owned(),
        services: BTreeMap::from([
            ((vip("203.0.113.53"), Some(53)), Disclosure::Node),
            ((vip("203.0.113.54"), None), Disclosure::Backend),
            ((vip("203.0.113.54"), Some(5353)), Disclosure::Off),
            ((vip("2001:db8:53::53"), Some(53)), Disclosure::Backend),
        ]),
        vips: ["203.0.113.53", "203.0.113.54", "203.0.113.80", "2001:db8:53::53"].map(vip).into(),
        named_to: vec!["192.0.2.0/28".parse().expect("a prefix"), "2001:db8::/64".parse().expect("a prefix")],
    }
}

/// What becomes of a question from `client` to `server`.
fn decided(client: &str, server: &str) -> Decision {
    let start = Instant::now();
    let frame = frame(address(client), address(server), &Ask::default().bytes());
    Responder::new(start).take(start, &frame, &settings())
}

/// The text in a packet.
fn text(packet: &[u8]) -> String {
    let at = if packet[0] >> 4 == 4 { 28 } else { 48 };
    let message = Message::from_vec(&packet[at..]).expect("a DNS message");
    message.answers[0].data.to_string()
}

#[test]
fn the_answer_goes_back_where_the_question_came_from() {
    let Decision::Answer(reply) = decided("192.0.2.7:40000", "203.0.113.53:53") else { panic!("silence") };
    let packet = reply.packet(&settings(), None).expect("a packet");
    assert_eq!(packet[12..20], [203, 0, 113, 53, 192, 0, 2, 7]);
    assert_eq!(packet[20..24], [0, 53, 0x9c, 0x40]);
    assert_eq!(packet[6..8], [0x40, 0], "not to be fragmented");
    assert_ne!(packet[4..6], [0, 0], "an ID of its own");
    assert_eq!(text(&packet), "fra1-lb1 pop=fra1");
}

#[test]
fn backends_are_named_to_those_who_may_know_and_nobody_else() {
    let Decision::NameBackend(reply) = decided("192.0.2.7:40000", "203.0.113.54:53") else { panic!() };
    let packet = reply.packet(&settings(), Some([10, 0, 0, 11].into())).expect("a packet");
    assert_eq!(text(&packet), "fra1-lb1 pop=fra1 backend=10.0.0.11");
    assert!(matches!(decided("[2001:db8::7]:40000", "[2001:db8:53::53]:53"), Decision::NameBackend(_)));
    // Not of the prefix; or the VIP names nodes alone.
    assert!(matches!(decided("192.0.2.16:40000", "203.0.113.54:53"), Decision::Answer(_)));
    assert!(matches!(decided("192.0.2.7:40000", "203.0.113.53:53"), Decision::Answer(_)));
}

#[test]
fn only_vips_that_are_to_be_asked_answer() {
    let odd = Decision::Silence(Silence::Odd);
    assert_eq!(decided("192.0.2.7:40000", "203.0.113.53:54"), odd);
    assert_eq!(decided("192.0.2.7:40000", "203.0.113.52:53"), odd);
    assert_eq!(decided("192.0.2.7:40000", "203.0.113.54:5353"), odd, "its own port counts");
    assert_ne!(decided("192.0.2.7:40000", "203.0.113.54:5354"), odd);
}

#[test]
fn nobody_is_answered_who_cannot_have_asked() {
    for client in [
        "127.0.0.1:40000",
        "0.0.0.0:40000",
        "0.1.2.3:40000",
        "224.0.0.251:40000",
        "255.255.255.255:40000",
        "240.0.0.1:40000",
        "169.254.1.1:40000",
        "203.0.113.80:40000",
        "192.0.2.7:0",
        "192.0.2.7:7",
        "192.0.2.7:53",
        "192.0.2.7:1023",
    ] {
        assert_eq!(decided(client, "203.0.113.53:53"), Decision::Silence(Silence::Odd), "{client}");
    }
    for client in [
        "[::1]:4000",
        "[::]:4000",
        "[ff02::fb]:4000",
        "[fe80::1]:4000",
        "[::ffff:192.0.2.7]:4000",
        "[2001:db8:53::53]:4000",
    ] {
        assert_eq!(decided(client, "[2001:db8:53::53]:53"), Decision::Silence(Silence::Odd), "{client}");
    }
    assert!(matches!(decided("192.0.2.7:1024", "203.0.113.53:53"), Decision::Answer(_)));
}

#[test]
fn a_flood_is_limited_and_others_are_still_answered() {
    let start = Instant::now();
    let (mut responder, settings) = (Responder::new(start), settings());
    let mut answered = |client: &str, now| {
        let frame = frame(address(client), address("203.0.113.53:53"), &Ask::default().bytes());
        !matches!(responder.take(now, &frame, &settings), Decision::Silence(_))
    };
    let flood = (0..10_000).filter(|_| answered("192.0.2.7:40000", start)).count();
    assert_eq!(flood, 20);
    assert!(answered("198.51.100.7:40000", start));
    let later = start + Duration::from_secs(1);
    assert_eq!((0..10_000).filter(|_| answered("192.0.2.7:40000", later)).count(), 20);
}

#[test]
fn without_time_to_look_backends_up_the_node_is_named() {
    let start = Instant::now();
    let (mut responder, settings) = (Responder::new(start), settings());
    let settings = Settings { named_to: vec!["0.0.0.0/0".parse().expect("a prefix")], ..settings };
    let mut named = 0;
    for n in 0..200_u8 {
        let client = address(&format!("198.51.{n}.7:40000"));
        let frame = frame(client, address("203.0.113.54:53"), &Ask::default().bytes());
        match responder.take(start, &frame, &settings) {
            Decision::NameBackend(_) => named += 1,
            Decision::Answer(_) => {}
            Decision::Silence(why) => panic!("{why:?}"),
        }
    }
    assert_eq!(named, 100);
}

#[test]
fn how_much_larger_the_answer_is() {
    let (client, server) = (address("192.0.2.7:40000"), address("203.0.113.53:53"));
    // Bytes of the IP packet asked and answered.
    let sizes = |ask: Ask| {
        let frame = frame(client, server, &ask.bytes());
        let start = Instant::now();
        let Decision::Answer(reply) = Responder::new(start).take(start, &frame, &settings()) else {
            panic!("silence")
        };
        (frame.len() - 14, reply.packet(&settings(), None).expect("a packet").len())
    };
    // As dig asks: with a cookie.
    assert_eq!(sizes(Ask { edns: Some(0), cookie: true, ..Ask::default() }), (78, 96));
    assert_eq!(sizes(Ask { edns: Some(0), cookie: true, nsid: true, ..Ask::default() }), (82, 117));
    // The shortest question there is.
    assert_eq!(sizes(Ask::default()), (55, 85));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..260)) {
        let start = Instant::now();
        let decision = Responder::new(start).take(start, &bytes, &settings());
        prop_assert_eq!(decision, Decision::Silence(Silence::Odd));
    }

    #[test]
    fn a_damaged_question_is_answered_to_its_sender_or_not_at_all(
        v6: bool, tags in 0..3_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (client, server) = if v6 {
            ("[2001:db8::7]:40000", "[2001:db8:53::53]:53")
        } else {
            ("192.0.2.7:40000", "203.0.113.54:53")
        };
        let ask = Ask { edns: Some(0), nsid: true, ..Ask::default() };
        let mut bytes = tagged(&frame(address(client), address(server), &ask.bytes()), tags);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let start = Instant::now();
        match Responder::new(start).take(start, &bytes, &settings()) {
            Decision::Silence(_) => {}
            Decision::Answer(reply) | Decision::NameBackend(reply) => {
                let packet = reply.packet(&settings(), None).expect("a packet");
                prop_assert!(packet.len() < bytes.len() + 60);
                prop_assert_ne!(settings().disclosure(reply.server), Disclosure::Off);
            }
        }
    }
}

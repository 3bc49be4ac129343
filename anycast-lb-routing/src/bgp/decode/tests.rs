use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::bgp::message;

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(u16::try_from(HEADER + body.len()).expect("short").to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<Incoming>, Notification> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    let mut messages = Vec::new();
    while let Some(message) = decoder.message()? {
        messages.push(message);
    }
    Ok(messages)
}

/// An OPEN of AS 64501 with these optional parameters.
fn open_with(parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0xfb, 0xf5, 0, 9, 10, 0, 0, 1, u8::try_from(parameters.len()).expect("short")];
    body.extend(parameters);
    framed(1, &body)
}

fn refused(bytes: &[u8]) -> (u8, u8, Vec<u8>) {
    let notification = decode(bytes).expect_err("refused");
    (notification.code, notification.subcode, notification.data)
}

#[test]
fn an_open_without_capabilities_is_of_ipv4_and_short_numbers() {
    let expected = Open {
        asn: 64501,
        hold_time: 9,
        id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Capabilities { ipv4: true, ..Capabilities::default() },
    };
    assert_eq!(decode(&open_with(&[])), Ok(vec![Incoming::Open(expected)]));
}

#[test]
fn our_own_open_says_what_we_can() {
    let bytes = message::open(4_200_000_001, 90, Ipv4Addr::new(192, 0, 2, 1)).expect("written");
    let capabilities = Capabilities { ipv4: true, ipv6: true, four_octet_as: true, refresh: true };
    let open = Open { asn: 4_200_000_001, hold_time: 90, id: Ipv4Addr::new(192, 0, 2, 1), capabilities };
    assert_eq!(decode(&bytes), Ok(vec![Incoming::Open(open)]));
}

#[test]
fn capabilities_come_in_one_parameter_or_in_many_or_in_the_extended_form() {
    let v6 = [1, 4, 0, 2, 0, 1];
    let four = [65, 4, 0, 1, 0, 0];
    // Graceful restart, and one that nobody knows.
    let others = [64, 2, 0, 120, 200, 0];
    let all = [&v6[..], &four, &others].concat();
    let one = [&[2, 18][..], &all].concat();
    let many = [&[2, 6][..], &v6, &[2, 6], &four, &[2, 6], &others].concat();
    let mut extended = vec![4, 0xfb, 0xf5, 0, 9, 10, 0, 0, 1, 255, 255, 0, 21, 2, 0, 18];
    extended.extend(&all);
    for bytes in [open_with(&one), open_with(&many), framed(1, &extended)] {
        let messages = decode(&bytes).expect("understood");
        let [Incoming::Open(open)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(open.asn, 65536);
        let expected = Capabilities { ipv4: false, ipv6: true, four_octet_as: true, refresh: false };
        assert_eq!(open.capabilities, expected);
    }
}

#[test]
fn each_mistake_has_the_code_that_the_rfc_gives_it() {
    let keepalive = message::keepalive();
    let changed = |place: usize, value: u8| {
        let mut bytes = keepalive.clone();
        bytes[place] = value;
        refused(&bytes)
    };
    assert_eq!(changed(3, 0), (1, 1, vec![]));
    assert_eq!(changed(17, 18), (1, 2, vec![0, 18]));
    assert_eq!(changed(17, 20), (1, 2, vec![0, 20]), "a KEEPALIVE with a body");
    assert_eq!(changed(16, 0x10), (1, 2, vec![0x10, 19]), "longer than any");
    assert_eq!(changed(18, 6), (1, 3, vec![6]));
    assert_eq!(changed(18, 0), (1, 3, vec![0]));
    assert_eq!(refused(&framed(2, &[0, 0, 0])), (1, 2, vec![0, 22]));
    assert_eq!(refused(&framed(5, &[0, 1, 0])), (1, 2, vec![0, 22]));
    let open = open_with(&[]);
    let changed = |place: usize, value: &[u8]| {
        let mut bytes = open.clone();
        bytes[place..place + value.len()].copy_from_slice(value);
        refused(&bytes)
    };
    assert_eq!(changed(19, &[3]), (2, 1, vec![0, 4]));
    assert_eq!(changed(20, &[0, 0]), (2, 2, vec![]));
    assert_eq!(changed(24, &[0, 0, 0, 0]), (2, 3, vec![]));
    assert_eq!(changed(28, &[1]), (2, 0, vec![]), "parameters that are not there");
    assert_eq!(refused(&open_with(&[1, 0])), (2, 4, vec![]));
    assert_eq!(refused(&open_with(&[2, 3, 65, 4, 0])), (2, 0, vec![]), "a capability that is cut");
    assert_eq!(refused(&open_with(&[2, 4, 65, 2, 0, 1])), (2, 0, vec![]), "a short AS number");
}

#[test]
fn the_message_of_a_shutdown_is_read_and_obeys_no_terminal() {
    let notification = message::shutdown("node is\u{1b}[31m updated");
    assert_eq!(notification.shutdown_message().as_deref(), Some("node is[31m updated"));
    let text = notification.to_string();
    assert!(text.contains("administrative shutdown (6/2)") && text.contains("updated"), "{text}");
    let lying = Notification::new(6, 2).with([200, b'a']);
    assert_eq!(lying.shutdown_message(), None);
}

#[test]
fn an_update_is_skipped_whatever_is_in_it() {
    let mut stream = framed(2, &[0xff; 300]);
    stream.extend(message::keepalive());
    assert_eq!(decode(&stream), Ok(vec![Incoming::Update, Incoming::Keepalive]));
}

/// Messages as a neighbour may send them.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        Just(message::keepalive()),
        Just(message::open(64501, 9, Ipv4Addr::new(10, 0, 0, 1)).expect("written")),
        vec(any::<u8>(), 4..200).prop_map(|body| framed(2, &body)),
        vec(any::<u8>(), 2..60).prop_map(|body| framed(3, &body)),
        Just(framed(5, &[0, 2, 0, 1])),
        vec(any::<u8>(), 0..60).prop_map(|parameters| open_with(&parameters)),
    ];
    vec(message, 0..6).prop_map(|messages| messages.concat())
}

proptest! {
    #[test]
    fn it_does_not_matter_how_a_stream_is_cut(stream in stream(), step in 1usize..40) {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        let mut end = None;
        'cut: for piece in stream.chunks(step) {
            decoder.push(piece);
            prop_assert!(decoder.bytes.len() < LONGEST + step);
            loop {
                match decoder.message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => {
                        end = Some(error);
                        break 'cut;
                    }
                }
            }
        }
        match decode(&stream) {
            Ok(whole) => {
                prop_assert_eq!(end, None);
                prop_assert_eq!(messages, whole);
            }
            Err(error) => prop_assert_eq!(end, Some(error)),
        }
    }

    #[test]
    fn noise_has_an_answer(mut stream in stream(), noise in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        for (place, value) in noise {
            if !stream.is_empty() {
                let place = place.index(stream.len());
                stream[place] = value;
            }
        }
        if let Err(notification) = decode(&stream) {
            prop_assert!((1..=2).contains(&notification.code));
        }
    }

    #[test]
    fn mere_noise_is_no_message(noise in vec(any::<u8>(), 19..400)) {
        prop_assume!(noise[..16] != [0xff; 16]);
        prop_assert_eq!(refused(&noise).0, 1);
    }
}

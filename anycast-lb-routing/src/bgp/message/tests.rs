use std::collections::HashMap;

use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

use super::*;

/// As another implementation reads it.
fn read(bytes: &[u8], four_octet_as: bool) -> BgpMessage {
    let mut context =
        BgpParsingContext::new(four_octet_as, HashMap::new(), HashMap::new(), true, true, true, true);
    let mut reader = SliceReader::new(bytes);
    BgpMessage::parse(&mut reader, &mut context).expect("a message")
}

fn update(bytes: &[u8], four_octet_as: bool) -> BgpUpdateMessage {
    match read(bytes, four_octet_as) {
        BgpMessage::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

const EXTERNAL: Dialect = Dialect { local_as: 64500, internal: false, four_octet_as: true };

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn v4_hop() -> IpAddr {
    "10.0.0.2".parse().expect("an address")
}

fn value(
    update: &BgpUpdateMessage,
    find: impl Fn(&PathAttributeValue) -> bool,
) -> Option<&PathAttributeValue> {
    update.path_attributes().iter().map(PathAttribute::value).find(|value| find(value))
}

#[test]
fn an_ipv4_route_has_all_that_was_asked_for() {
    let attributes = Attributes {
        prepend: 2,
        med: Some(50),
        local_pref: Some(7),
        communities: vec![Community::Standard(64500, 100), Community::Large(1, 2, 3)],
    };
    let messages = announce(&nets(&["203.0.113.0/24", "198.51.100.0/25"]), v4_hop(), &attributes, EXTERNAL)
        .expect("written");
    assert_eq!(messages.len(), 1);
    let update = update(&messages[0], true);
    let nlri: Vec<String> = update.nlri().iter().map(|n| n.network().address().to_string()).collect();
    assert_eq!(nlri, ["203.0.113.0/24", "198.51.100.0/25"]);
    let values: Vec<_> = update.path_attributes().iter().map(PathAttribute::value).cloned().collect();
    let path = As4PathSegment::new(AsPathSegmentType::AsSequence, vec![64500, 64500, 64500]);
    assert_eq!(
        values,
        [
            PathAttributeValue::Origin(Origin::IGP),
            PathAttributeValue::AsPath(AsPath::as4_path_segments(vec![path])),
            PathAttributeValue::NextHop(NextHop::new(Ipv4Addr::new(10, 0, 0, 2))),
            PathAttributeValue::MultiExitDiscriminator(MultiExitDiscriminator::new(50)),
            PathAttributeValue::Communities(Communities::new(vec![Standard::new(64500 << 16 | 100)])),
            PathAttributeValue::LargeCommunities(LargeCommunities::new(vec![LargeCommunity::new(1, 2, 3)])),
        ]
    );
}

#[test]
fn an_ipv6_route_travels_in_mp_reach() {
    let next_hop: Ipv6Addr = "fd00::2".parse().expect("an address");
    let messages = announce(&nets(&["2001:db8:ff::/48"]), next_hop.into(), &Attributes::default(), EXTERNAL)
        .expect("written");
    let update = update(&messages[0], true);
    assert!(update.nlri().is_empty());
    let reach = value(&update, |v| matches!(v, PathAttributeValue::MpReach(_))).expect("MP_REACH");
    let nlri = ipv6(&nets(&["2001:db8:ff::/48"])).expect("a prefix").into();
    let expected = MpReach::Ipv6Unicast { next_hop_global: next_hop, next_hop_local: None, nlri };
    assert_eq!(*reach, PathAttributeValue::MpReach(expected));
    assert!(value(&update, |v| matches!(v, PathAttributeValue::NextHop(_))).is_none());
}

#[test]
fn within_an_as_the_path_is_empty_and_the_preference_is_said() {
    let internal = Dialect { internal: true, ..EXTERNAL };
    let attributes = Attributes { prepend: 3, local_pref: Some(0), ..Attributes::default() };
    for (attributes, preference) in [(attributes, 0), (Attributes::default(), 100)] {
        let messages =
            announce(&nets(&["203.0.113.0/24"]), v4_hop(), &attributes, internal).expect("written");
        let update = update(&messages[0], true);
        let empty: Vec<As4PathSegment> = Vec::new();
        let path = value(&update, |v| matches!(v, PathAttributeValue::AsPath(_))).expect("AS_PATH");
        assert_eq!(*path, PathAttributeValue::AsPath(AsPath::as4_path_segments(empty)));
        let said = value(&update, |v| matches!(v, PathAttributeValue::LocalPreference(_)));
        assert_eq!(said, Some(&PathAttributeValue::LocalPreference(LocalPreference::new(preference))));
    }
}

#[test]
fn who_knows_short_as_numbers_alone_is_told_the_long_ones_beside() {
    let old = Dialect { local_as: 4_200_000_001, internal: false, four_octet_as: false };
    let messages =
        announce(&nets(&["203.0.113.0/24"]), v4_hop(), &Attributes::default(), old).expect("written");
    let update = update(&messages[0], false);
    let short = As2PathSegment::new(AsPathSegmentType::AsSequence, vec![AS_TRANS]);
    let long = As4PathSegment::new(AsPathSegmentType::AsSequence, vec![4_200_000_001]);
    let path = value(&update, |v| matches!(v, PathAttributeValue::AsPath(_)));
    assert_eq!(path, Some(&PathAttributeValue::AsPath(AsPath::as2_path_segments(vec![short]))));
    let path = value(&update, |v| matches!(v, PathAttributeValue::As4Path(_)));
    assert_eq!(path, Some(&PathAttributeValue::As4Path(As4Path::new(vec![long]))));
}

#[test]
fn the_longest_path_has_segments_and_the_longest_message_fits() {
    let communities = (0..64).map(|i| Community::Large(i, i, i)).collect();
    let attributes = Attributes { prepend: 255, med: Some(1), local_pref: None, communities };
    let many: Vec<IpNet> = (0..1000u16)
        .map(|i| Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, i, 0, 0, 0, 0, 1), 128).expect("a length").into())
        .collect();
    let messages = announce(&many, IpAddr::V6(Ipv6Addr::LOCALHOST), &attributes, EXTERNAL).expect("written");
    assert_eq!(messages.len(), 1000usize.div_ceil(PER_UPDATE));
    let update = update(&messages[0], true);
    let Some(PathAttributeValue::AsPath(AsPath::As4PathSegments(segments))) =
        value(&update, |v| matches!(v, PathAttributeValue::AsPath(_)))
    else {
        panic!("no path")
    };
    assert_eq!(segments.iter().map(|s| s.as_numbers().len()).collect::<Vec<_>>(), [255, 1]);
}

#[test]
fn withdrawals_of_both_families() {
    let messages = withdraw(&nets(&["203.0.113.0/24", "2001:db8:ff::/48"])).expect("written");
    assert_eq!(messages.len(), 2);
    let v4 = update(&messages[0], true);
    assert_eq!(v4.withdraw_routes().len(), 1);
    let v6 = update(&messages[1], true);
    let nlri = ipv6(&nets(&["2001:db8:ff::/48"])).expect("a prefix").into();
    assert_eq!(
        v6.path_attributes()[0].value(),
        &PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri })
    );
    assert!(withdraw(&[]).expect("written").is_empty());
}

#[test]
fn a_notification_and_a_keepalive_are_what_they_should_be() {
    assert_eq!(read(&keepalive(), true), BgpMessage::KeepAlive);
    let reason = "ä".repeat(200);
    let bytes = notification(&shutdown(&reason));
    let BgpMessage::Notification(read) = read(&bytes, true) else { panic!("no notification") };
    let text = format!("{read:?}");
    assert!(text.contains("AdministrativeShutdown"), "{text}");
    // RFC 9003: 255 bytes at most, and no character is cut.
    assert_eq!(bytes[21], 254);
    let long = Notification::new(1, 1).with(vec![7; 9000]);
    assert_eq!(notification(&long).len(), LONGEST);
}

#[test]
fn next_hops_are_the_configured_ones_or_the_sessions_own() {
    let configured = NextHops { v4: None, v6: "fd00::2".parse().ok() };
    let hops = configured.or(v4_hop());
    assert_eq!(hops.of(&nets(&["203.0.113.0/24"])[0]), Some(v4_hop()));
    assert_eq!(hops.of(&nets(&["2001:db8::/32"])[0]), "fd00::2".parse().ok());
    assert_eq!(NextHops::default().or(v4_hop()).of(&nets(&["2001:db8::/32"])[0]), None);
}

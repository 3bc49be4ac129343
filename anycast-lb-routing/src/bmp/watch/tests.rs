use std::time::Duration;

use netgauze_bmp_pkt::wire::deserializer::BmpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;

use super::super::message::{self, HEADER, decode};
use super::super::testing::{self, PEER, POST_POLICY, Peer, announce, initiation, open, withdraw};
use super::*;

fn own(text: &str, origin: u32) -> Own {
    Own { prefix: text.parse().expect("a prefix"), origin }
}

fn watch() -> Watch {
    let mut watch = Watch::new(&[own("203.0.113.0/24", 64500), own("2001:db8::/32", 64500)], &[65001]);
    watch.router_up(1, "10.0.0.1:40000".parse().expect("an address"));
    watch
}

impl Watch {
    fn take(&mut self, router: RouterId, bytes: &[u8]) -> Vec<String> {
        let (kind, _) = message::header(bytes.first_chunk().expect("a header")).expect("a header of BMP");
        let message = decode(kind, &bytes[HEADER..]).expect("a message");
        told(self.heard(Instant::now(), router, message))
    }
}

fn told(actions: Vec<Action>) -> Vec<String> {
    let tell = |action| match action {
        Action::Raised(alarm) => alarm.to_string(),
        Action::Cleared(alarm) => format!("over: {} {}", alarm.prefix, alarm.origin),
        Action::TooMany(router) => format!("too many: {router}"),
    };
    actions.into_iter().map(tell).collect()
}

const NOTHING: [String; 0] = [];

#[test]
fn ours_and_its_parts_from_elsewhere_are_told_with_who_saw_what() {
    let mut w = watch();
    w.take(1, &initiation("edge1"));
    w.take(1, &PEER.up(&open(64500, 0, 0), &open(64510, 0, 0)));
    let foreign = announce(&["203.0.113.0/24", "203.0.113.128/25", "2001:db8:7::/48"], &[64510, 64666]);
    let seen = "seen by router 10.0.0.1 (edge1), received from 10.0.0.7 AS64510, AS path 64510 64666";
    assert_eq!(
        w.take(1, &PEER.routes(&foreign)),
        [
            format!("203.0.113.0/24 is announced by AS64666, not by AS64500: {seen}"),
            format!(
                "203.0.113.128/25, a part of our 203.0.113.0/24, is announced by AS64666, not by AS64500: {seen}"
            ),
            format!(
                "2001:db8:7::/48, a part of our 2001:db8::/32, is announced by AS64666, not by AS64500: {seen}"
            ),
        ]
    );
    // Said once, wherever else it is seen.
    assert_eq!(w.take(1, &Peer { flags: POST_POLICY, ..PEER }.routes(&foreign)), NOTHING);
    assert_eq!(w.alarms().iter().map(|(_, sights)| sights.len()).collect::<Vec<_>>(), [2, 2, 2]);
    // What covers ours is not ours, and what is beside it.
    assert_eq!(
        w.take(1, &PEER.routes(&announce(&["203.0.112.0/23", "203.0.114.0/24", "0.0.0.0/0"], &[64666]))),
        NOTHING
    );
    assert_eq!(w.take(1, &PEER.routes(&withdraw(&["203.0.113.128/25"]))), NOTHING);
    assert_eq!(
        w.take(1, &Peer { flags: POST_POLICY, ..PEER }.routes(&withdraw(&["203.0.113.128/25"]))),
        ["over: 203.0.113.128/25 AS64666"]
    );
}

#[test]
fn our_own_routes_are_no_alarm() {
    let mut w = watch();
    w.take(1, &PEER.up(&open(64500, 0, 0), &open(64500, 0, 0)));
    let from =
        |path: &[u32]| PEER.routes(&announce(&["203.0.113.0/24", "203.0.113.0/28", "2001:db8::/32"], path));
    for path in [&[64510, 64500][..], &[64500], &[], &[64510, 65001]] {
        assert_eq!(w.take(1, &from(path)), NOTHING, "{path:?}");
    }
    assert_eq!(w.alarms(), []);
}

#[test]
fn an_empty_path_begins_at_the_router() {
    let mut w = watch();
    let empty = announce(&["203.0.113.0/24"], &[]);
    let peer = Peer { asn: 64777, ..PEER };
    // Of a router in another AS; of Loc-RIB as well, where the header has the router's own AS.
    w.take(1, &peer.up(&open(64777, 0, 0), &open(64777, 0, 0)));
    assert!(w.take(1, &peer.routes(&empty))[0].contains("announced by AS64777"));
    let local = Peer { kind: 3, address: "0.0.0.0", ..peer };
    assert_eq!(w.take(1, &local.routes(&empty)), NOTHING);
    let sights = &w.alarms()[0].1;
    assert_eq!(sights[1].to_string(), "router 10.0.0.1, chosen, AS path empty");
}

#[test]
fn a_set_is_ours_only_if_all_of_it_is() {
    let set = |ases: &[u32]| {
        let path = Some(vec![(2, vec![64510]), (1, ases.to_vec())]);
        PEER.routes(&testing::Update { path, ..announce(&["203.0.113.0/24"], &[1]) })
    };
    let mut w = watch();
    assert_eq!(w.take(1, &set(&[64500, 65001])), NOTHING);
    let said = w.take(1, &set(&[64500, 64666]));
    assert!(said[0].contains("announced by AS set {64500,64666}, not by AS64500"), "{said:?}");
}

#[test]
fn the_most_specific_of_ours_decides() {
    let mut w = Watch::new(&[own("203.0.112.0/23", 64500), own("203.0.113.0/24", 64501)], &[]);
    w.router_up(1, "10.0.0.1:40000".parse().expect("an address"));
    assert_eq!(w.take(1, &PEER.routes(&announce(&["203.0.113.0/25"], &[64501]))), NOTHING);
    assert_eq!(w.take(1, &PEER.routes(&announce(&["203.0.112.0/24"], &[64500]))), NOTHING);
    assert_eq!(w.take(1, &PEER.routes(&announce(&["203.0.113.0/24", "203.0.112.0/23"], &[64500]))).len(), 1);
}

#[test]
fn it_is_over_when_route_peer_or_router_is_gone_or_the_route_is_ours() {
    let over = ["over: 203.0.113.0/24 AS64666"];
    let foreign = PEER.routes(&announce(&["203.0.113.0/24"], &[64666]));
    for end in [
        PEER.routes(&withdraw(&["203.0.113.0/24"])),
        PEER.routes(&announce(&["203.0.113.0/24"], &[64500])),
        // Without a path it is no route.
        PEER.routes(&testing::Update { path: None, ..announce(&["203.0.113.0/24"], &[]) }),
        PEER.down(),
        // A peer that comes anew begins anew.
        PEER.up(&open(64500, 0, 0), &open(64510, 0, 0)),
    ] {
        let mut w = watch();
        assert_eq!(w.take(1, &foreign).len(), 1);
        // Of another peer, the same is nothing to this one.
        assert_eq!(w.take(1, &Peer { address: "10.0.0.8", ..PEER }.down()), NOTHING);
        assert_eq!(w.take(1, &end), over);
        assert_eq!(w.alarms(), []);
    }
    let mut w = watch();
    w.router_up(2, "10.0.0.2:40000".parse().expect("an address"));
    w.take(1, &foreign);
    assert_eq!(w.take(2, &foreign), NOTHING);
    assert_eq!(told(w.router_gone(1)), NOTHING);
    assert_eq!(told(w.router_gone(2)), over);
}

#[test]
fn another_origin_is_another_alarm_and_another_path_is_not() {
    let mut w = watch();
    w.take(1, &PEER.routes(&announce(&["203.0.113.0/24"], &[64510, 64666])));
    assert_eq!(w.take(1, &PEER.routes(&announce(&["203.0.113.0/24"], &[64511, 64666]))), NOTHING);
    assert_eq!(w.alarms()[0].1[0].path, "64511 64666");
    let said = w.take(1, &PEER.routes(&announce(&["203.0.113.0/24"], &[64510, 64667])));
    assert_eq!(said.len(), 2);
    assert_eq!(said[0], "over: 203.0.113.0/24 AS64666");
}

#[test]
fn paths_with_identifiers_are_told_apart() {
    let mut w = watch();
    w.take(1, &PEER.up(&open(64500, 1, 0), &open(64510, 2, 0)));
    let with = |id, update| PEER.routes(&testing::Update { add_path: Some(id), ..update });
    assert_eq!(w.take(1, &with(1, announce(&["203.0.113.0/24"], &[64666]))).len(), 1);
    assert_eq!(w.take(1, &with(2, announce(&["203.0.113.0/24"], &[64500]))), NOTHING);
    assert_eq!(w.take(1, &with(2, withdraw(&["203.0.113.0/24"]))), NOTHING);
    assert_eq!(w.take(1, &with(1, withdraw(&["203.0.113.0/24"]))), ["over: 203.0.113.0/24 AS64666"]);
}

#[test]
fn what_one_router_can_fill_is_bounded() {
    let mut w = Watch::new(&[own("2001:db8::/32", 64500)], &[]);
    w.router_up(1, "10.0.0.1:40000".parse().expect("an address"));
    w.router_up(2, "10.0.0.2:40000".parse().expect("an address"));
    let long: Vec<u32> = vec![4_200_000_000; 250];
    let mut told = Vec::new();
    for n in 0..MOST_SIGHTINGS + 10 {
        let prefix = String::leak(format!("2001:db8:{n:x}::/48"));
        told.extend(w.take(1, &PEER.routes(&announce(&[prefix], &long))));
    }
    assert_eq!(told.len(), MOST_SIGHTINGS + 1);
    assert_eq!(told.last().map(String::as_str), Some("too many: 10.0.0.1:40000"));
    assert_eq!(w.routers()[0].unkept, 10);
    assert!(w.alarms().iter().all(|(_, sights)| sights[0].path.len() <= LONGEST_PATH + "… ".len()));
    // It keeps no other from telling.
    assert_eq!(w.take(2, &PEER.routes(&announce(&["2001:db8:ffff::/48"], &[64666]))).len(), 1);
    assert_eq!(w.router_gone(1).len(), MOST_SIGHTINGS);
}

/// The messages that these tests make are BMP to others as well.
#[test]
fn another_decoder_understands_the_same() {
    let mut update = announce(&["203.0.113.128/25", "2001:db8:7::/48"], &[64510, 64666]);
    update.withdrawn = vec!["192.0.2.0/24", "2001:db8:1::/48"];
    let messages = [
        initiation("edge1"),
        PEER.up(&open(64500, 1, 1), &open(64510, 2, 2)),
        PEER.routes(&update),
        PEER.down(),
    ];
    let mut context = BmpParsingContext::default();
    let mut text = String::new();
    for bytes in &messages {
        let parsed = netgauze_bmp_pkt::BmpMessage::parse(&mut SliceReader::new(bytes), &mut context);
        let parsed = parsed.expect("a message");
        text.push_str(&format!("{parsed:?}\n"));
    }
    for part in ["edge1", "203.0.113.128/25", "2001:db8:7::/48", "192.0.2.0/24", "2001:db8:1::/48", "64666"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Up(u64),
    Gone(u64),
    PeerUp(u64, usize),
    PeerDown(u64, usize),
    Announce(u64, usize, u8, usize, u32),
    Withdraw(u64, usize, u8, usize),
}

const PEERS: [&str; 2] = ["10.0.0.7", "10.0.0.8"];
const PREFIXES: [&str; 3] = ["203.0.113.0/24", "203.0.113.0/25", "198.51.100.0/24"];
const ORIGINS: [u32; 3] = [64500, 64666, 64667];

fn a_step() -> impl Strategy<Value = Step> {
    let (router, peer, prefix) = (0u64..2, 0..PEERS.len(), 0..PREFIXES.len());
    let flags = prop_oneof![Just(0), Just(POST_POLICY)];
    prop_oneof![
        1 => router.clone().prop_map(Step::Up),
        1 => router.clone().prop_map(Step::Gone),
        1 => (router.clone(), peer.clone()).prop_map(|(r, p)| Step::PeerUp(r, p)),
        1 => (router.clone(), peer.clone()).prop_map(|(r, p)| Step::PeerDown(r, p)),
        6 => (router.clone(), peer.clone(), flags.clone(), prefix.clone(), prop::sample::select(&ORIGINS[..]))
            .prop_map(|(r, p, f, n, o)| Step::Announce(r, p, f, n, o)),
        3 => (router, peer, flags, prefix).prop_map(|(r, p, f, n)| Step::Withdraw(r, p, f, n)),
    ]
}

proptest! {
    /// Alarms are what a table of all routes would say, and are raised and cleared in turn.
    #[test]
    fn alarms_are_those_of_a_plain_table(steps in prop::collection::vec(a_step(), 1..60)) {
        let mut w = Watch::new(&[own("203.0.113.0/24", 64500)], &[]);
        let mut up = [false; 2];
        let mut table: BTreeMap<(u64, usize, u8, usize), u32> = BTreeMap::new();
        let mut raised: Vec<(IpNet, String)> = Vec::new();
        for step in steps {
            let peer = |index: usize| Peer { address: PEERS[index], ..PEER };
            let live = |r: u64| up[r as usize];
            let send = |w: &mut Watch, r: u64, bytes: Vec<u8>| {
                let (kind, _) = message::header(bytes.first_chunk().expect("a header")).expect("a header");
                w.heard(Instant::now(), r, decode(kind, &bytes[HEADER..]).expect("a message"))
            };
            let actions = match step {
                Step::Up(r) if !live(r) => {
                    up[r as usize] = true;
                    w.router_up(r, "10.0.0.1:1".parse().expect("an address"));
                    Vec::new()
                }
                Step::Gone(r) => {
                    up[r as usize] = false;
                    table.retain(|key, _| key.0 != r);
                    w.router_gone(r)
                }
                Step::PeerUp(r, p) if live(r) => {
                    table.retain(|key, _| (key.0, key.1) != (r, p));
                    send(&mut w, r, peer(p).up(&open(64500, 0, 0), &open(64510, 0, 0)))
                }
                Step::PeerDown(r, p) if live(r) => {
                    table.retain(|key, _| (key.0, key.1) != (r, p));
                    send(&mut w, r, peer(p).down())
                }
                Step::Announce(r, p, flags, n, origin) if live(r) => {
                    table.insert((r, p, flags, n), origin);
                    let update = announce(&[PREFIXES[n]], &[64510, origin]);
                    send(&mut w, r, Peer { flags, ..peer(p) }.routes(&update))
                }
                Step::Withdraw(r, p, flags, n) if live(r) => {
                    table.remove(&(r, p, flags, n));
                    send(&mut w, r, Peer { flags, ..peer(p) }.routes(&withdraw(&[PREFIXES[n]])))
                }
                _ => Vec::new(),
            };
            for action in actions {
                match action {
                    Action::Raised(alarm) => raised.push((alarm.prefix, alarm.origin.to_string())),
                    Action::Cleared(alarm) => {
                        let known = raised.iter().position(|r| *r == (alarm.prefix, alarm.origin.to_string()));
                        prop_assert!(known.is_some());
                        raised.swap_remove(known.unwrap_or_default());
                    }
                    Action::TooMany(_) => prop_assert!(false),
                }
            }
            let foreign = |(key, origin): (&(u64, usize, u8, usize), &u32)| {
                (key.3 < 2 && *origin != 64500)
                    .then(|| (PREFIXES[key.3].parse().expect("a prefix"), format!("AS{origin}")))
            };
            let mut expected: Vec<(IpNet, String)> = table.iter().filter_map(foreign).collect();
            let sightings = expected.len();
            expected.sort();
            expected.dedup();
            raised.sort();
            prop_assert_eq!(&raised, &expected);
            prop_assert_eq!(w.alarms().iter().map(|(_, sights)| sights.len()).sum::<usize>(), sightings);
        }
    }
}

#[test]
fn since_when_is_kept() {
    let mut w = watch();
    let update = announce(&["203.0.113.0/24"], &[64666]).bytes();
    let bytes = [PEER.header(), update].concat();
    let begin = Instant::now();
    for later in [0, 60] {
        let message = decode(0, &bytes).expect("a message");
        w.heard(begin + Duration::from_secs(later), 1, message);
    }
    assert_eq!(w.alarms()[0].1[0].since, begin);
}

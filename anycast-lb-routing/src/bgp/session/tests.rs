use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::bgp::decode::Capabilities;
use crate::bgp::route::Attributes;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

fn settings() -> Settings {
    Settings {
        local_as: 64500,
        remote_as: 64501,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        hold_time: 9,
        next_hops: NextHops { v4: None, v6: "fd00::2".parse().ok() },
    }
}

fn routes(prefixes: &[&str]) -> Routes {
    prefixes.iter().map(|text| (text.parse().expect("a prefix"), Attributes::default())).collect()
}

fn their_open(asn: u32, hold: u16) -> Vec<u8> {
    message::open(asn, hold, Ipv4Addr::new(10, 0, 0, 1)).expect("written")
}

/// The messages among the actions.
fn sent(actions: &[Action]) -> Vec<Vec<u8>> {
    let bytes = |action: &Action| match action {
        Action::Send(bytes) => Some(bytes.clone()),
        _ => None,
    };
    actions.iter().filter_map(bytes).collect()
}

/// Kinds of the messages among the actions: 1 OPEN, 2 UPDATE, 3 NOTIFICATION, 4 KEEPALIVE.
fn kinds(actions: &[Action]) -> Vec<u8> {
    sent(actions).iter().map(|bytes| bytes[18]).collect()
}

/// Code and subcode of the notification with which a session ends.
fn ends_with(actions: &[Action]) -> (u8, u8) {
    let [.., Action::Send(bytes), Action::Close] = actions else { panic!("{actions:?}") };
    assert_eq!(bytes[18], 3, "{actions:?}");
    (bytes[19], bytes[20])
}

fn established(settings: Settings, now: Instant) -> Session {
    let remote_as = settings.remote_as;
    let mut session = Session::new(settings);
    session.set_routes(now, routes(&["203.0.113.0/24", "2001:db8:ff::/48"]));
    assert_eq!(session.start(now), [Action::Connect]);
    assert_eq!(kinds(&session.connected(now, OURS)), [1]);
    assert_eq!(session.report().state, State::OpenSent);
    assert_eq!(kinds(&session.received(now, &their_open(remote_as, 30))), [4]);
    assert_eq!(session.report().state, State::OpenConfirm);
    assert!(kinds(&session.received(now, &message::keepalive())).iter().all(|&kind| kind == 2));
    assert_eq!(session.report().state, State::Established);
    session
}

#[test]
fn routes_are_announced_once_established_and_only_what_changes_after_that() {
    let now = Instant::now();
    let mut session = established(settings(), now);
    assert_eq!(session.report().announced.len(), 2);
    assert_eq!(session.report().hold_time, Some(9), "the smaller one");
    assert_eq!(session.set_routes(now, routes(&["203.0.113.0/24", "2001:db8:ff::/48"])), []);
    // A withdrawal of one and the announcement of another.
    let actions = session.set_routes(now, routes(&["203.0.113.0/24", "2001:db8:fe::/48"]));
    assert_eq!(kinds(&actions), [2, 2]);
    let marked = Attributes { prepend: 3, ..Attributes::default() };
    let next = session.routes.keys().map(|prefix| (*prefix, marked.clone())).collect();
    assert_eq!(kinds(&session.set_routes(now, next)), [2, 2], "other attributes are another route");
    assert_eq!(kinds(&session.set_routes(now, Routes::new())), [2, 2]);
    assert!(session.report().announced.is_empty());
}

#[test]
fn the_neighbour_must_be_who_was_expected() {
    let now = Instant::now();
    let answer = |settings: Settings, open: Vec<u8>| {
        let mut session = Session::new(settings);
        session.start(now);
        session.connected(now, OURS);
        let end = ends_with(&session.received(now, &open));
        assert_eq!(session.report().state, State::Idle);
        assert!(session.report().last_error.is_some());
        end
    };
    assert_eq!(answer(settings(), their_open(64999, 9)), (2, 2));
    assert_eq!(answer(settings(), their_open(64501, 2)), (2, 6));
    assert_eq!(answer(settings(), their_open(64501, 0)), (2, 6), "a session that never ends");
    let internal = Settings { remote_as: 64500, router_id: Ipv4Addr::new(10, 0, 0, 1), ..settings() };
    assert_eq!(answer(internal, their_open(64500, 9)), (2, 3));
}

#[test]
fn what_does_not_belong_into_a_state_ends_the_session() {
    let now = Instant::now();
    let mut session = Session::new(settings());
    session.start(now);
    session.connected(now, OURS);
    assert_eq!(ends_with(&session.received(now, &message::keepalive())), (5, 1));
    let mut session = Session::new(settings());
    session.start(now);
    session.connected(now, OURS);
    session.received(now, &their_open(64501, 9));
    assert_eq!(ends_with(&session.received(now, &their_open(64501, 9))), (5, 2));
    let mut session = established(settings(), now);
    assert_eq!(ends_with(&session.received(now, &their_open(64501, 9))), (5, 3));
    assert!(session.report().announced.is_empty(), "nothing is announced without a session");
}

#[test]
fn it_lives_while_the_neighbour_is_heard_and_says_that_it_lives_itself() {
    let mut now = Instant::now();
    let mut session = established(settings(), now);
    for _ in 0..10 {
        now += Duration::from_secs(3);
        assert_eq!(kinds(&session.tick(now)), [4], "a third of 9 s");
        session.received(now, &message::keepalive());
    }
    now += Duration::from_secs(8);
    assert_eq!(kinds(&session.tick(now)), [4]);
    assert_eq!(session.report().state, State::Established);
    now += Duration::from_secs(1);
    assert_eq!(ends_with(&session.tick(now)), (4, 0));
    assert_eq!(session.deadline(), Some(now + FIRST_PAUSE), "this session had lasted");
}

#[test]
fn pauses_grow_until_a_session_has_lasted() {
    let mut now = Instant::now();
    let mut session = Session::new(settings());
    session.start(now);
    for pause in [1, 2, 4, 8, 16, 16] {
        assert_eq!(session.closed(now, "refused"), []);
        assert_eq!(session.report().last_error.as_deref(), Some("refused"));
        let at = session.deadline().expect("another attempt");
        assert_eq!(at - now, Duration::from_secs(pause));
        assert_eq!(session.tick(at - Duration::from_millis(1)), []);
        now = at;
        assert_eq!(session.tick(now), [Action::Connect]);
    }
    // Nobody answers.
    let at = session.deadline().expect("patience ends");
    assert_eq!(session.tick(at), [Action::Close]);
    // A neighbour that connects and says nothing.
    let at = session.deadline().expect("another attempt");
    session.tick(at);
    session.connected(at, OURS);
    let at = session.deadline().expect("patience ends");
    assert_eq!(ends_with(&session.tick(at)), (4, 0));
}

#[test]
fn a_notification_ends_it_and_is_told() {
    let now = Instant::now();
    let mut session = established(settings(), now);
    let bytes = message::notification(&message::shutdown("maintenance at noon"));
    assert_eq!(session.received(now, &bytes), [Action::Close]);
    let error = session.report().last_error.clone().expect("told");
    assert!(error.contains("maintenance at noon"), "{error}");
}

#[test]
fn a_refresh_says_all_of_the_family_again() {
    let now = Instant::now();
    let mut session = established(settings(), now);
    let refresh = |afi: u8| {
        let mut bytes = vec![0xff; 16];
        bytes.extend([0, 23, 5, 0, afi, 0, 1]);
        bytes
    };
    let v4 = sent(&session.received(now, &refresh(1)));
    let v6 = sent(&session.received(now, &refresh(2)));
    assert_eq!((v4.len(), v6.len()), (1, 1));
    assert_ne!(v4, v6);
    assert_eq!(session.received(now, &refresh(9)), []);
}

#[test]
fn a_shutdown_says_cease_and_is_for_good() {
    let now = Instant::now();
    let mut session = established(settings(), now);
    let actions = session.shut_down(now, "the daemon is stopped");
    assert_eq!(ends_with(&actions), (6, 2));
    assert_eq!(session.deadline(), None);
    assert_eq!(session.tick(now + Duration::from_secs(100)), []);
    assert_eq!(session.closed(now, "closed"), []);
    let mut idle = Session::new(settings());
    assert_eq!(idle.shut_down(now, "x"), []);
    // And can be started again.
    assert_eq!(session.start(now), [Action::Connect]);
}

#[test]
fn what_cannot_be_announced_is_told() {
    let now = Instant::now();
    let mut session = established(Settings { next_hops: NextHops::default(), ..settings() }, now);
    assert_eq!(session.report().announced.len(), 1);
    assert_eq!(session.report().unannounced.len(), 1);
    assert!(session.report().unannounced[0].1.contains("next_hop"));
    // A neighbour without families takes IPv4 alone.
    let open = Open {
        asn: 64501,
        hold_time: 9,
        id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Capabilities { ipv4: true, ..Capabilities::default() },
    };
    session.settings = settings();
    session.open = Some(open);
    session.set_routes(now, routes(&["2001:db8:ff::/48"]));
    assert!(session.report().unannounced[0].1.contains("takes no IPv6"));
    assert!(session.report().announced.is_empty());
}

#[test]
fn updates_of_the_neighbour_are_counted() {
    let now = Instant::now();
    let mut session = established(settings(), now);
    let mut update = vec![0xff; 16];
    update.extend([0, 23, 2, 0, 0, 0, 0]);
    assert_eq!(session.received(now, &[update.clone(), update].concat()), []);
    assert_eq!(session.report().skipped_updates, 2);
}

/// What may happen to a session, in any order.
#[derive(Clone, Debug)]
enum Happening {
    Start,
    Connected,
    Closed,
    Bytes(Vec<u8>),
    Wait(u64),
    Routes(usize),
    ShutDown,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => Just(Happening::Start),
        3 => Just(Happening::Connected),
        1 => Just(Happening::Closed),
        3 => Just(Happening::Bytes(their_open(64501, 9))),
        4 => Just(Happening::Bytes(message::keepalive())),
        2 => vec(any::<u8>(), 0..80).prop_map(Happening::Bytes),
        2 => (0usize..60, any::<u8>()).prop_map(|(place, value)| {
            let mut bytes = their_open(64501, 9);
            let place = place % bytes.len();
            bytes[place] = value;
            Happening::Bytes(bytes)
        }),
        3 => (0u64..20_000).prop_map(Happening::Wait),
        2 => (0usize..3).prop_map(Happening::Routes),
        1 => Just(Happening::ShutDown),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_is_consistent(happenings in vec(happening(), 0..60)) {
        let mut now = Instant::now();
        let mut session = Session::new(settings());
        let all = ["203.0.113.0/24", "2001:db8:ff::/48"];
        let mut open = false;
        for happening in happenings {
            let actions = match happening {
                Happening::Start => session.start(now),
                Happening::Connected if session.report().state == State::Connect => {
                    open = true;
                    session.connected(now, OURS)
                }
                Happening::Connected => Vec::new(),
                Happening::Closed => {
                    open = false;
                    session.closed(now, "gone")
                }
                // A driver has nothing to read where there is no connection.
                Happening::Bytes(bytes) if open => session.received(now, &bytes),
                Happening::Bytes(_) => Vec::new(),
                Happening::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    session.tick(now)
                }
                Happening::Routes(count) => session.set_routes(now, routes(&all[..count])),
                Happening::ShutDown => session.shut_down(now, "over"),
            };
            for action in &actions {
                match action {
                    Action::Connect => prop_assert!(!open),
                    Action::Send(_) => prop_assert!(open, "{:?}", actions),
                    Action::Close => open = false,
                }
            }
            let report = session.report();
            prop_assert_eq!(open, !matches!(report.state, State::Idle | State::Connect));
            prop_assert!(report.announced.is_empty() || report.state == State::Established);
            // It goes on by itself unless it was stopped.
            prop_assert_eq!(session.deadline().is_none(), session.stopped);
        }
    }
}

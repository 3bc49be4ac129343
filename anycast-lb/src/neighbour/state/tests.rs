use super::*;
use crate::neighbour::NextHop;
use crate::neighbour::fact::{Route, Vlan};

const ETH0: u32 = 2;
const ETH1: u32 = 3;
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn link(name: &str, last: u8) -> Link {
    Link {
        name: name.into(),
        mac: Some([2, 0, 0, 0, 1, last]),
        mtu: 1500,
        up: true,
        carrier: true,
        loopback: false,
        vlan: None,
    }
}

fn key(ifindex: u32, address: &str) -> NeighbourKey {
    NeighbourKey { ifindex, address: ip(address) }
}

fn entry(reach: Reach) -> Neighbour {
    Neighbour { reach, managed: true, marked: true }
}

fn via(ifindex: u32, gateway: Option<&str>) -> Answer {
    Answer::Via(Route { ifindex, gateway: gateway.map(ip), source: Some(ip("10.0.0.1")), mtu: None })
}

/// Two interfaces, one address on each.
fn ready(sources: &[IpAddr]) -> State {
    let mut state = State::new(sources);
    state.replace(
        [(ETH0, link("eth0", 0)), (ETH1, link("eth1", 1))],
        [(ETH0, ip("10.0.0.1")), (ETH1, ip("10.1.0.1"))],
        [],
    );
    state.settle();
    state
}

/// One target on eth0, entry asked for.
fn waiting() -> State {
    let mut state = ready(&[]);
    state.set_targets([ip("10.0.0.9")]);
    state.answer(ip("10.0.0.9"), via(ETH0, None));
    state.settle();
    state
}

/// One target on eth0 with a known MAC.
fn resolved() -> State {
    let mut state = waiting();
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_A)));
    assert_eq!(hop(&state.settle()).destination_mac, MAC_A);
    state
}

fn resolutions(actions: &[Action]) -> Vec<&Resolution> {
    let pick = |action| match action {
        &Action::Emit(Event::NextHop { ref resolution, .. }) => Some(resolution),
        _ => None,
    };
    actions.iter().filter_map(pick).collect()
}

fn hop(actions: &[Action]) -> &NextHop {
    match resolutions(actions)[..] {
        [Resolution::Resolved(hop)] => hop,
        _ => panic!("expected one next hop: {actions:?}"),
    }
}

fn reason(actions: &[Action]) -> &str {
    match resolutions(actions)[..] {
        [Resolution::Unresolved(why) | Resolution::Pending(why)] => why,
        _ => panic!("expected one reason: {actions:?}"),
    }
}

#[test]
fn nothing_is_reported_before_the_first_snapshot() {
    let mut state = State::new(&[]);
    state.set_targets([ip("10.0.0.9")]);
    state.answer(ip("10.0.0.9"), Answer::Local);
    assert_eq!(state.settle(), []);
}

#[test]
fn the_first_snapshot_reports_locals_but_no_links() {
    let mut state = State::new(&[]);
    let lo = Link { loopback: true, mac: None, ..link("lo", 9) };
    state.replace(
        [(1, lo), (ETH0, link("eth0", 0))],
        [(1, ip("127.0.0.1")), (1, ip("::1")), (1, ip("203.0.113.1")), (ETH0, ip("10.0.0.1"))],
        [],
    );
    let locals = vec![ip("10.0.0.1"), ip("203.0.113.1")];
    assert_eq!(state.settle(), [Action::Emit(Event::Locals(locals))]);
    assert_eq!(state.settle(), [], "nothing changed");
}

#[test]
fn a_new_target_has_its_entry_managed_once_and_is_reported_as_waiting() {
    let mut state = ready(&[]);
    state.set_targets([ip("10.0.0.9")]);
    assert_eq!(state.unanswered(), [ip("10.0.0.9")]);
    assert_eq!(state.settle(), [], "no answer yet");
    state.answer(ip("10.0.0.9"), via(ETH0, None));
    let actions = state.settle();
    assert_eq!(actions[0], Action::Manage { key: key(ETH0, "10.0.0.9"), create: true });
    assert_eq!(reason(&actions), "waiting for an answer to ARP from 10.0.0.9 on eth0");
    assert!(matches!(resolutions(&actions)[..], [Resolution::Pending(_)]));
    assert_eq!(state.settle(), []);
}

#[test]
fn the_last_known_mac_holds_until_the_kernel_has_asked_in_vain() {
    let mut state = resolved();
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Asking));
    assert_eq!(state.settle(), [], "asking again is no change");
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Failed));
    assert_eq!(reason(&state.settle()), "no answer to ARP from 10.0.0.9 on eth0");
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Asking));
    assert_eq!(state.settle(), [], "still no answer while asking again");
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_B)));
    assert_eq!(hop(&state.settle()).destination_mac, MAC_B);
}

#[test]
fn a_deleted_entry_is_made_again_and_keeps_its_mac_meanwhile() {
    let mut state = resolved();
    // The kernel reports an entry that is deleted as failed first.
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Failed));
    state.neighbour_gone(key(ETH0, "10.0.0.9"));
    assert_eq!(state.settle(), [Action::Manage { key: key(ETH0, "10.0.0.9"), create: true }]);
    assert_eq!(state.settle(), [], "asked once");
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Failed));
    assert_eq!(reason(&state.settle()), "no answer to ARP from 10.0.0.9 on eth0");
    state.neighbour_gone(key(ETH0, "10.0.0.9"));
    assert_eq!(resolutions(&state.settle()), Vec::<&Resolution>::new(), "a reported failure stays one");
}

#[test]
fn a_route_that_moves_is_followed_and_the_old_entry_released() {
    let mut state = resolved();
    state.neighbour(key(ETH1, "10.1.0.254"), entry(Reach::Known(MAC_B)));
    state.answer(ip("10.0.0.9"), via(ETH1, Some("10.1.0.254")));
    let actions = state.settle();
    assert!(actions.contains(&Action::Release { key: key(ETH0, "10.0.0.9"), delete: true }), "{actions:?}");
    let hop = hop(&actions);
    assert_eq!((hop.interface.as_str(), hop.ifindex), ("eth1", ETH1));
    assert_eq!((hop.source_mac, hop.destination_mac), ([2, 0, 0, 0, 1, 1], MAC_B));
    assert_eq!(hop.gateway, Some(ip("10.1.0.254")));
}

#[test]
fn targets_behind_one_gateway_share_its_entry() {
    let mut state = ready(&[]);
    state.set_targets([ip("10.2.0.1"), ip("10.2.0.2")]);
    state.answer(ip("10.2.0.1"), via(ETH0, Some("fe80::1")));
    state.answer(ip("10.2.0.2"), via(ETH0, Some("fe80::1")));
    let manage = |a: &&Action| matches!(a, Action::Manage { .. });
    assert_eq!(state.settle().iter().filter(manage).count(), 1);
    state.set_targets([ip("10.2.0.2")]);
    assert_eq!(state.settle(), [], "the other still needs it");
    state.set_targets([]);
    assert_eq!(state.settle(), [Action::Release { key: key(ETH0, "fe80::1"), delete: true }]);
}

#[test]
fn a_link_without_carrier_or_down_or_gone_leads_nowhere() {
    let mut state = resolved();
    state.link(ETH0, Link { carrier: false, ..link("eth0", 0) });
    let actions = state.settle();
    assert!(actions.contains(&Action::Emit(Event::LinkDown { interface: "eth0".into() })));
    assert_eq!(reason(&actions), "eth0, on the way to 10.0.0.9, has no carrier");
    state.link(ETH0, Link { up: false, carrier: false, ..link("eth0", 0) });
    assert_eq!(reason(&state.settle()), "eth0, on the way to 10.0.0.9, is down");
    state.link_gone(ETH0);
    let actions = state.settle();
    assert_eq!(reason(&actions), "interface 2 on the way to 10.0.0.9 is gone");
    assert!(actions.contains(&Action::Emit(Event::Locals(vec![ip("10.1.0.1")]))));
}

#[test]
fn a_link_that_comes_back_has_its_entries_made_again() {
    let mut state = resolved();
    state.link(ETH0, Link { carrier: false, ..link("eth0", 0) });
    // The kernel drops the entries of an interface that lost its carrier.
    state.neighbour_gone(key(ETH0, "10.0.0.9"));
    state.settle();
    state.link(ETH0, link("eth0", 0));
    let actions = state.settle();
    assert!(actions.contains(&Action::Emit(Event::LinkUp { interface: "eth0".into() })));
    assert!(actions.contains(&Action::Manage { key: key(ETH0, "10.0.0.9"), create: true }), "{actions:?}");
}

#[test]
fn a_replaced_interface_of_the_same_name_goes_down_and_up() {
    let mut state = ready(&[]);
    state.link_gone(ETH1);
    state.link(7, link("eth1", 7));
    let actions = state.settle();
    let down = Action::Emit(Event::LinkDown { interface: "eth1".into() });
    let up = Action::Emit(Event::LinkUp { interface: "eth1".into() });
    assert_eq!(actions[..2], [down, up]);
}

#[test]
fn interfaces_that_cannot_carry_our_frames_are_named() {
    let cases = [
        (Link { mac: None, ..link("tun0", 0) }, "no Ethernet address"),
        (Link { loopback: true, ..link("lo", 0) }, "loopback interface lo"),
        (
            Link { vlan: Some(Vlan { parent: Some(ETH1), id: Some(5) }), ..link("eth1.5", 0) },
            "eth1.5 (VLAN 5 on eth1), on the way to 10.0.0.9, is a VLAN interface: tagged egress is not supported yet",
        ),
    ];
    for (link, words) in cases {
        let mut state = ready(&[]);
        state.link(9, link);
        state.set_targets([ip("10.0.0.9")]);
        state.answer(ip("10.0.0.9"), via(9, None));
        let actions = state.settle();
        assert!(reason(&actions).contains(words), "{actions:?}");
        assert!(!actions.iter().any(|a| matches!(a, Action::Manage { .. })), "{actions:?}");
    }
}

#[test]
fn answers_that_are_no_way_say_so() {
    let cases = [
        (Answer::Local, "10.0.0.9 is an address of this host: a balancer is not its own backend"),
        (Answer::Refused("Network is unreachable".into()), "no route to 10.0.0.9: Network is unreachable"),
    ];
    for (answer, words) in cases {
        let mut state = ready(&[]);
        state.set_targets([ip("10.0.0.9")]);
        state.answer(ip("10.0.0.9"), answer);
        assert_eq!(reason(&state.settle()), words);
    }
}

#[test]
fn the_smaller_mtu_counts_and_is_capped() {
    for (device, metric, mtu) in
        [(1500, None, 1500), (1500, Some(1400), 1400), (1500, Some(9000), 1500), (262_144, None, u16::MAX)]
    {
        let mut state = ready(&[]);
        state.link(ETH0, Link { mtu: device, ..link("eth0", 0) });
        state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_A)));
        state.set_targets([ip("10.0.0.9")]);
        let route = Route { ifindex: ETH0, gateway: None, source: Some(ip("10.0.0.1")), mtu: metric };
        state.answer(ip("10.0.0.9"), Answer::Via(route));
        assert_eq!(hop(&state.settle()).mtu, mtu);
    }
}

#[test]
fn a_configured_source_overrides_the_kernels_choice_in_its_family_only() {
    let mut state = ready(&[ip("10.1.0.1"), ip("fd00::5")]);
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_A)));
    state.set_targets([ip("10.0.0.9")]);
    state.answer(ip("10.0.0.9"), via(ETH0, None));
    assert_eq!(hop(&state.settle()).source, ip("10.1.0.1"));
    // Only an address of this host may be named in the lookup.
    assert_eq!(state.lookup_source(ip("10.0.0.9")), Some(ip("10.1.0.1")));
    assert_eq!(state.lookup_source(ip("fd00::9")), None);

    let mut state = ready(&[ip("fd00::5")]);
    state.set_targets([ip("10.0.0.9")]);
    let route = Route { ifindex: ETH0, gateway: None, source: None, mtu: None };
    state.answer(ip("10.0.0.9"), Answer::Via(route));
    assert!(reason(&state.settle()).starts_with("no source address for 10.0.0.9 on eth0"));
}

#[test]
fn an_operators_permanent_entry_is_used_but_never_touched() {
    let mut state = ready(&[]);
    let fixed = Neighbour { reach: Reach::Fixed(MAC_A), managed: false, marked: false };
    state.neighbour(key(ETH0, "10.0.0.9"), fixed);
    state.set_targets([ip("10.0.0.9")]);
    state.answer(ip("10.0.0.9"), via(ETH0, None));
    let actions = state.settle();
    assert_eq!(hop(&actions).destination_mac, MAC_A);
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(state.kick_unmanaged(), []);
    assert_eq!(state.release_all(), []);
}

#[test]
fn an_entry_that_becomes_permanent_is_given_up() {
    let mut state = resolved();
    let fixed = Neighbour { reach: Reach::Fixed(MAC_B), managed: false, marked: true };
    state.neighbour(key(ETH0, "10.0.0.9"), fixed);
    assert_eq!(hop(&state.settle()).destination_mac, MAC_B);
    assert_eq!(state.release_all(), []);
}

#[test]
fn what_was_there_before_is_left_unmanaged_and_what_others_manage_alone() {
    let ordinary = Neighbour { reach: Reach::Known(MAC_A), managed: false, marked: false };
    let earlier_run = Neighbour { reach: Reach::Known(MAC_A), managed: true, marked: true };
    let others = Neighbour { reach: Reach::Known(MAC_A), managed: true, marked: false };
    let release = Action::Release { key: key(ETH0, "10.0.0.9"), delete: false };
    let cases = [
        (ordinary, true, vec![release.clone()]),
        (earlier_run, false, vec![release]),
        (others, false, vec![]),
    ];
    for (neighbour, asks, releases) in cases {
        let mut state = ready(&[]);
        state.neighbour(key(ETH0, "10.0.0.9"), neighbour);
        state.set_targets([ip("10.0.0.9")]);
        state.answer(ip("10.0.0.9"), via(ETH0, None));
        let manage = Action::Manage { key: key(ETH0, "10.0.0.9"), create: false };
        assert_eq!(state.settle().contains(&manage), asks, "{neighbour:?}");
        assert_eq!(state.release_all(), releases, "{neighbour:?}");
    }
}

#[test]
fn entries_the_kernel_does_not_manage_are_asked_about_again_and_again() {
    let mut state = waiting();
    let kick = [Action::Manage { key: key(ETH0, "10.0.0.9"), create: false }];
    assert_eq!(state.kick_unmanaged(), kick, "not heard of yet, but it exists");
    let unmanaged = Neighbour { managed: false, ..entry(Reach::Known(MAC_A)) };
    state.neighbour(key(ETH0, "10.0.0.9"), unmanaged);
    assert_eq!(state.kick_unmanaged(), kick);
    assert_eq!(state.kick_unmanaged(), kick);
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_A)));
    assert_eq!(state.kick_unmanaged(), []);
}

#[test]
fn a_request_that_met_another_state_is_decided_anew() {
    let mut state = waiting();
    // The kick found no entry: it was deleted, and the report of that is lost or still to come.
    state.disown(key(ETH0, "10.0.0.9"));
    assert_eq!(state.settle(), [Action::Manage { key: key(ETH0, "10.0.0.9"), create: true }]);
    // The creation found an entry.
    state.disown(key(ETH0, "10.0.0.9"));
    let theirs = Neighbour { reach: Reach::Asking, managed: false, marked: false };
    state.neighbour(key(ETH0, "10.0.0.9"), theirs);
    assert_eq!(state.settle(), [Action::Manage { key: key(ETH0, "10.0.0.9"), create: false }]);
    assert_eq!(state.release_all(), [Action::Release { key: key(ETH0, "10.0.0.9"), delete: false }]);
}

#[test]
fn silent_neighbours_are_kicked_and_answering_ones_are_not() {
    let mut state = resolved();
    assert_eq!(state.kick_unresolved(), []);
    state.neighbour(key(ETH0, "10.0.0.9"), entry(Reach::Failed));
    state.settle();
    assert_eq!(state.unresolved(), [ip("10.0.0.9")]);
    assert_eq!(state.kick_unresolved(), [Action::Manage { key: key(ETH0, "10.0.0.9"), create: false }]);
}

#[test]
fn a_snapshot_after_lost_events_reports_only_the_difference() {
    let mut state = resolved();
    let links = [(ETH0, link("eth0", 0)), (ETH1, link("eth1", 1))];
    let addresses = [(ETH0, ip("10.0.0.1")), (ETH1, ip("10.1.0.1"))];
    state.replace(links.clone(), addresses, [(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_A)))]);
    assert_eq!(state.settle(), []);
    state.replace(links, addresses, [(key(ETH0, "10.0.0.9"), entry(Reach::Known(MAC_B)))]);
    assert_eq!(hop(&state.settle()).destination_mac, MAC_B);
}

#[test]
fn only_routes_that_cover_a_target_concern_us() {
    let mut state = ready(&[]);
    state.set_targets([ip("10.0.0.9"), ip("fd00::9")]);
    let concerns = |prefix: &str| state.concerns(prefix.parse().expect("a prefix"));
    assert!(["10.0.0.9/32", "10.0.0.0/24", "0.0.0.0/0", "fd00::/16", "::/0"].iter().all(|p| concerns(p)));
    assert!(!["10.0.0.8/32", "10.0.1.0/24", "fd01::/16"].iter().any(|p| concerns(p)));
}

#[test]
fn a_target_named_twice_is_one_target() {
    let mut state = resolved();
    state.set_targets([ip("10.0.0.9"), ip("10.0.0.9")]);
    assert_eq!(state.unanswered(), Vec::<IpAddr>::new());
    assert_eq!(state.settle(), []);
}

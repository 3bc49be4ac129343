use std::sync::LazyLock;

use super::*;
use crate::control::api::{PoolReport, VipFlows};

mod feeding;

/// Before everything that these tests ask.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const SECOND: Duration = Duration::from_secs(1);

fn backend(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn report(node: &str, owners: &str, listed: &[(u8, &str)]) -> NodeReport {
    let listed = listed.iter().map(|(last, state)| ListedBackend {
        address: backend(*last),
        pop: Some("fra1".to_owned()),
        state: (*state).to_owned(),
        weight: Some(100),
        down: false,
    });
    NodeReport {
        node: node.to_owned(),
        pop: "fra1".to_owned(),
        generation: 1,
        placement: 1,
        seed_fingerprint: Some("5eed".to_owned()),
        pools: vec![PoolReport {
            pool: "web".to_owned(),
            owners: owners.to_owned(),
            hops: owners.to_owned(),
            new_flows: Some("fra1".to_owned()),
            listed: listed.collect(),
        }],
    }
}

fn vip(text: &str) -> VipKey {
    text.parse().expect("a VIP")
}

/// This node, `n1`, beside `n2` and `n3`.
fn own(listed: &[(u8, &str)]) -> Own {
    let mut config = crate::daemon::testing::config();
    config.control.peers = ["n2", "n3"]
        .into_iter()
        .zip(2..)
        .map(|(node, last)| Peer {
            node: node.to_owned(),
            pop: "fra1".to_owned(),
            control: SocketAddr::new(backend(last), 19524),
        })
        .collect();
    let start = *START;
    let joins = listed.iter().filter(|(_, state)| *state == "filling");
    let joins = joins.map(|(last, _)| join(*last, start)).collect();
    Own::new(&config, report("n1", "0001", listed), joins)
}

/// A join to weight 100.
fn join(last: u8, since: Instant) -> Join {
    Join { key: ("web".to_owned(), backend(last)), since, weight: 100 }
}

fn machine(listed: &[(u8, &str)]) -> Machine {
    let mut machine = Machine::default();
    machine.configure(own(listed));
    machine
}

fn asked(machine: &mut Machine, now: Instant) -> Vec<Target> {
    machine.questions(now).into_iter().map(|q| q.target).collect()
}

fn nodes() -> Vec<Target> {
    vec![Target::Node("n2".to_owned()), Target::Node("n3".to_owned())]
}

const QUIET: &[(u8, &str)] = &[(11, "active")];
const JOINING: &[(u8, &str)] = &[(11, "active"), (12, "filling")];
const DRAINING: &[(u8, &str)] = &[(11, "active"), (12, "draining")];

#[test]
fn peers_are_asked_seldom_in_quiet_times_and_often_in_others() {
    let start = Instant::now();
    for (listed, interval) in [(QUIET, IDLE_INTERVAL), (JOINING, BUSY_INTERVAL)] {
        let mut machine = machine(listed);
        assert_eq!(asked(&mut machine, start), nodes());
        // One question at a time.
        assert_eq!(asked(&mut machine, start + 60 * SECOND), []);
        for node in ["n2", "n3"] {
            machine.node_answered(start + SECOND / 10, node, Ok(report(node, "0001", QUIET)));
        }
        assert_eq!(asked(&mut machine, start + interval - SECOND / 10), []);
        assert_eq!(asked(&mut machine, start + interval), nodes());
    }
}

#[test]
fn a_peer_that_places_flows_otherwise_is_watched_closely_and_shown() {
    let start = Instant::now();
    let mut machine = machine(QUIET);
    asked(&mut machine, start);
    machine.node_answered(start, "n2", Ok(report("n2", "0002", QUIET)));
    let mut other_seed = report("n3", "0001", QUIET);
    other_seed.seed_fingerprint = Some("other".to_owned());
    machine.node_answered(start, "n3", Ok(other_seed));
    let rows = machine.rows(start + 5 * SECOND);
    assert_eq!((rows[0].agrees, rows[0].differing.as_slice()), (Some(false), ["web".to_owned()].as_slice()));
    assert_eq!(rows[1].differing, ["seed"]);
    assert_eq!(rows[1].seen_seconds_ago, Some(5));
    assert_eq!(asked(&mut machine, start + BUSY_INTERVAL), nodes());
}

#[test]
fn at_another_site_only_seed_and_placement_are_compared() {
    let start = *START;
    let mut machine = machine(QUIET);
    asked(&mut machine, start);
    machine.node_answered(start, "n2", Ok(report("n2", "0001", QUIET)));
    let mut elsewhere = report("n3", "0002", QUIET);
    "sin1".clone_into(&mut elsewhere.pop);
    elsewhere.placement = 2;
    machine.node_answered(start, "n3", Ok(elsewhere));
    let rows = machine.rows(start);
    assert_eq!(
        (rows[0].agrees, rows[1].differing.as_slice()),
        (Some(true), ["placement".to_owned()].as_slice())
    );
}

#[test]
fn everyone_lists_a_newcomer_when_all_have_said_so_since() {
    let start = Instant::now();
    let mut machine = machine(JOINING);
    let lists = |machine: &Machine, since| machine.everyone_lists(&join(12, since));
    assert_eq!(lists(&machine, start), None);
    asked(&mut machine, start);
    machine.node_answered(start, "n2", Ok(report("n2", "0001", JOINING)));
    assert_eq!(lists(&machine, start), None, "n3 has said nothing yet");
    machine.node_answered(start, "n3", Ok(report("n3", "0001", QUIET)));
    assert_eq!(lists(&machine, start), Some(false));
    assert_eq!(machine.listed(), []);
    // What was said before the join says nothing about it.
    assert_eq!(lists(&machine, start + SECOND), None);
    let later = start + SECOND;
    asked(&mut machine, later);
    machine.node_answered(later, "n2", Ok(report("n2", "0001", JOINING)));
    machine.node_answered(later, "n3", Ok(report("n3", "0001", JOINING)));
    assert_eq!(lists(&machine, later), Some(true));
    assert_eq!(machine.listed(), [join(12, *START)]);
}

#[test]
fn a_raised_weight_is_known_when_all_have_the_same_and_a_return_when_nobody_says_down() {
    let start = *START;
    // Active all the time: only the join shows.
    let mut own = own(QUIET);
    own.changing = false;
    let mut machine = Machine::default();
    for (weight, says, expected) in [
        (300, (Some(100), false), Some(false)),
        (300, (Some(300), false), Some(true)),
        (300, (Some(300), true), Some(false)),
        (100, (Some(100), true), Some(false)),
        (100, (Some(100), false), Some(true)),
        (300, (None, false), Some(true)),
    ] {
        own.joins = vec![Join { weight, ..join(11, start) }];
        machine.configure(own.clone());
        let mut theirs = report("n3", "0001", QUIET);
        (theirs.pools[0].listed[0].weight, theirs.pools[0].listed[0].down) = says;
        asked(&mut machine, start);
        machine.node_answered(start, "n2", Ok(NodeReport { node: "n2".to_owned(), ..theirs.clone() }));
        machine.node_answered(start, "n3", Ok(theirs));
        let raise = own.joins[0].clone();
        assert_eq!(machine.everyone_lists(&raise), expected, "{weight}: {says:?}");
        assert_eq!(machine.listed(), if expected == Some(true) { vec![raise] } else { vec![] });
    }
}

#[test]
fn a_raise_is_asked_about_often() {
    let quiet = own(QUIET);
    assert!(!quiet.changing);
    let config = crate::daemon::testing::config();
    assert!(Own::new(&config, quiet.report, vec![join(11, *START)]).changing);
}

#[test]
fn one_silent_peer_makes_it_unknown_until_it_answers_again() {
    let start = Instant::now();
    let mut machine = machine(JOINING);
    let lists = |machine: &Machine| machine.everyone_lists(&join(12, start));
    for (second, answer, expected) in [
        (0, Ok(report("n3", "0001", JOINING)), Some(true)),
        (1, Err("no answer in 3 s".to_owned()), None),
        (2, Ok(report("n3", "0001", JOINING)), Some(true)),
        (3, Ok(report("n2", "0001", JOINING)), None),
    ] {
        let now = start + second * SECOND;
        asked(&mut machine, now);
        machine.node_answered(now, "n2", Ok(report("n2", "0001", JOINING)));
        machine.node_answered(now, "n3", answer);
        assert_eq!(lists(&machine), expected, "second {second}");
    }
    let row = &machine.rows(start + 3 * SECOND)[1];
    assert_eq!(row.reachable, Some(false));
    assert_eq!(row.reason.as_deref(), Some("node n2 answers there, not n3"));
    assert_eq!(row.seen_seconds_ago, Some(1), "the last good answer");
}

#[test]
fn a_peer_without_the_pool_has_no_say_and_without_peers_nothing_is_known() {
    let start = Instant::now();
    let mut machine = machine(JOINING);
    asked(&mut machine, start);
    machine.node_answered(start, "n2", Ok(report("n2", "0001", JOINING)));
    let mut without = report("n3", "0001", QUIET);
    "dns".clone_into(&mut without.pools[0].pool);
    machine.node_answered(start, "n3", Ok(without));
    assert_eq!(machine.everyone_lists(&join(12, start)), Some(true));
    machine.configure(Own { peers: Vec::new(), ..own(JOINING) });
    assert_eq!(machine.everyone_lists(&join(12, start)), None);
}

#[test]
fn a_draining_backend_is_asked_each_second_for_the_flows_of_the_pools_vips() {
    let start = Instant::now();
    let mut machine = machine(DRAINING);
    let question =
        Question { target: Target::Backend(backend(12)), address: SocketAddr::new(backend(12), 19524) };
    assert!(machine.questions(start).contains(&question));
    assert_eq!(machine.remaining_flows("web", backend(12), start), None);
    let row = |text: &str, tcp, udp| VipFlows { vip: vip(text), tcp, udp };
    // The pool has 203.0.113.1:443/tcp; the backend has wider and other VIPs.
    let vips = vec![
        row("203.0.113.1:443/tcp", 5, 0),
        row("203.0.113.1/any", 1, 2),
        row("203.0.113.1:80/tcp", 40, 0),
        row("203.0.113.2:443/tcp", 50, 0),
    ];
    machine.backend_answered(start, backend(12), Ok(Flows { total: 98, vips }));
    assert_eq!(machine.remaining_flows("web", backend(12), start), Some(8));
    assert_eq!(machine.remaining_flows("web", backend(12), start + SECOND), None);
    assert!(asked(&mut machine, start + SECOND).contains(&question.target));
    machine.backend_answered(start + SECOND, backend(12), Err("connection refused".to_owned()));
    assert_eq!(machine.remaining_flows("web", backend(12), start), None);
    // A server of QUIC has all its flows on one socket: it looks idle, and is not.
    let mut of_quic = own(DRAINING);
    of_quic.uncounted.insert("web".to_owned());
    machine.configure(of_quic);
    let idle = Flows { total: 0, vips: vec![row("203.0.113.1:443/udp", 0, 0)] };
    machine.backend_answered(start + 2 * SECOND, backend(12), Ok(idle));
    assert_eq!(machine.remaining_flows("web", backend(12), start + 2 * SECOND), None);
    // The drain is over: nobody asks any more, and a late answer does no harm.
    machine.configure(own(QUIET));
    assert!(!asked(&mut machine, start + 60 * SECOND).contains(&question.target));
    machine.backend_answered(start + 60 * SECOND, backend(12), Ok(Flows { total: 0, vips: Vec::new() }));
    assert_eq!(machine.draining_flows(start + 60 * SECOND, backend(12)), None);
}

#[test]
fn a_peer_that_moved_or_went_is_forgotten() {
    let start = Instant::now();
    let mut machine = machine(QUIET);
    asked(&mut machine, start);
    machine.node_answered(start, "n2", Ok(report("n2", "0001", QUIET)));
    let mut moved = own(QUIET);
    moved.peers.pop();
    moved.peers[0].control.set_port(1);
    machine.configure(moved);
    assert_eq!(machine.rows(start).len(), 1);
    assert_eq!(machine.rows(start)[0].reachable, None);
    assert_eq!(machine.address("n2").map(|a| a.port()), Some(1));
    assert_eq!(machine.address("n3"), None);
}

//! Whether other nodes still give a draining backend new flows.

use super::*;
use crate::membership::Others;

const ACTIVE: &[(u8, &str)] = &[(11, "active"), (12, "active")];

/// What a peer answers; none: it is silent.
type Says = Option<NodeReport>;

/// The report of a node at `pop` whose new flows go to `new_flows`, and which has the backends at `site`.
fn at(node: &str, pop: &str, new_flows: &str, site: &str, listed: &[(u8, &str)]) -> NodeReport {
    let mut report = report(node, "0002", listed);
    pop.clone_into(&mut report.pop);
    for pool in &mut report.pools {
        pool.new_flows = Some(new_flows.to_owned());
        pool.listed.iter_mut().for_each(|b| b.pop = Some(site.to_owned()));
    }
    report
}

/// As a release says it that knows nothing of where new flows go.
fn older(mut report: NodeReport) -> NodeReport {
    for pool in &mut report.pools {
        pool.new_flows = None;
        pool.listed.iter_mut().for_each(|b| b.pop = None);
    }
    report
}

struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    /// A node of fra1 that drains 12, beside n2 in fra1 and n3 in `third`; its backends are those of `site`.
    fn new(third: &str, site: &str, drained: &[&str]) -> Self {
        let mut own = own(DRAINING);
        third.clone_into(&mut own.peers[1].pop);
        own.report.pools[0].listed.iter_mut().for_each(|b| b.pop = Some(site.to_owned()));
        own.drained_pops = drained.iter().map(|pop| (*pop).to_owned()).collect();
        let mut machine = Machine::default();
        machine.configure(own);
        Bench { machine, now: *START }
    }

    /// All are asked; what the draining backend and the peers say makes this.
    fn ask(&mut self, flows: u64, second: Says, third: Says) -> Option<(u64, Others)> {
        self.now += SECOND;
        asked(&mut self.machine, self.now);
        let vips = vec![VipFlows { vip: vip("203.0.113.1:443/tcp"), tcp: flows, udp: 0 }];
        self.machine.backend_answered(self.now, backend(12), Ok(Flows { total: flows, vips }));
        for (node, says) in [("n2", second), ("n3", third)] {
            let answer = says.ok_or_else(|| "connection refused".to_owned());
            self.machine.node_answered(self.now, node, answer);
        }
        let remaining = self.machine.draining_flows(self.now, backend(12))?;
        assert_eq!(remaining.asked, self.now);
        Some((remaining.flows, remaining.others))
    }

    fn others(&mut self, second: Says, third: Says) -> Others {
        self.ask(0, second, third).expect("the backend has answered").1
    }
}

fn of_fra1(node: &str, listed: &[(u8, &str)]) -> Says {
    Some(at(node, "fra1", "fra1", "fra1", listed))
}

#[test]
fn a_drain_is_everywhere_when_all_have_it_and_a_silent_one_of_the_pop_keeps_it_open() {
    let mut bench = Bench::new("fra1", "fra1", &[]);
    let drains = of_fra1("n3", DRAINING);
    assert_eq!(bench.ask(7, of_fra1("n2", ACTIVE), drains.clone()), Some((7, Others::MayFeed)));
    assert_eq!(bench.others(of_fra1("n2", ACTIVE), drains.clone()), Others::MayFeed);
    assert_eq!(bench.others(of_fra1("n2", &[(12, "filling")]), drains.clone()), Others::MayFeed);
    assert_eq!(bench.others(of_fra1("n2", DRAINING), drains.clone()), Others::HaveDrain);
    assert_eq!(bench.others(of_fra1("n2", QUIET), drains.clone()), Others::HaveDrain, "gone there");
    assert_eq!(bench.others(None, drains), Others::MayFeed, "its data plane goes on");
    assert_eq!(bench.machine.draining_flows(bench.now + 60 * SECOND, backend(12)), None, "that was long ago");
}

#[test]
fn without_peers_nothing_is_known_of_others() {
    let mut machine = Machine::default();
    machine.configure(Own { peers: Vec::new(), ..own(DRAINING) });
    asked(&mut machine, *START);
    machine.backend_answered(*START, backend(12), Ok(Flows { total: 0, vips: Vec::new() }));
    let remaining = machine.draining_flows(*START, backend(12)).expect("it has answered");
    assert_eq!((remaining.flows, remaining.others), (0, Others::Unknown));
}

#[test]
fn a_node_of_another_pop_feeds_the_backend_while_its_new_flows_go_to_the_backends_pop() {
    let mut bench = Bench::new("sin1", "fra1", &[]);
    let drains = || of_fra1("n2", DRAINING);
    let sin1 = |new_flows, listed| Some(at("n3", "sin1", new_flows, "fra1", listed));
    assert_eq!(bench.others(drains(), sin1("sin1", ACTIVE)), Others::HaveDrain, "it has its own backends");
    // Drained there: this node need not know.
    assert_eq!(bench.others(drains(), sin1("fra1", ACTIVE)), Others::MayFeed);
    assert_eq!(bench.others(drains(), sin1("fra1", DRAINING)), Others::HaveDrain);
    assert_eq!(bench.others(drains(), sin1("gru1", ACTIVE)), Others::HaveDrain, "another PoP stands in");
}

#[test]
fn a_silent_node_of_another_pop_counts_by_what_it_said_last() {
    let mut bench = Bench::new("sin1", "fra1", &[]);
    let drains = || of_fra1("n2", DRAINING);
    assert_eq!(bench.others(drains(), None), Others::Unknown, "it never said that it feeds fra1");
    let sin1 = |new_flows| Some(at("n3", "sin1", new_flows, "fra1", ACTIVE));
    for (new_flows, expected) in [("fra1", Others::MayFeed), ("sin1", Others::Unknown)] {
        bench.others(drains(), sin1(new_flows));
        assert_eq!(bench.others(drains(), None), expected);
    }
    // That its PoP is drained is known here.
    assert_eq!(Bench::new("sin1", "fra1", &["sin1"]).others(drains(), None), Others::MayFeed);
}

#[test]
fn a_backend_of_another_pop_is_fed_by_the_nodes_there() {
    let mut bench = Bench::new("sin1", "sin1", &[]);
    let (fra1, sin1) = (
        |listed| Some(at("n2", "fra1", "fra1", "sin1", listed)),
        |listed| Some(at("n3", "sin1", "sin1", "sin1", listed)),
    );
    assert_eq!(bench.others(fra1(ACTIVE), sin1(ACTIVE)), Others::MayFeed);
    assert_eq!(bench.others(fra1(ACTIVE), sin1(DRAINING)), Others::HaveDrain, "n2 gives it none");
    assert_eq!(bench.others(fra1(ACTIVE), None), Others::MayFeed);
    assert_eq!(bench.others(None, sin1(DRAINING)), Others::Unknown, "n2 is of no PoP that feeds it");
}

#[test]
fn an_older_release_counts_by_its_place() {
    let older = |report: NodeReport| Some(older(report));
    let mut bench = Bench::new("sin1", "fra1", &[]);
    let sin1 = || older(at("n3", "sin1", "sin1", "fra1", ACTIVE));
    assert_eq!(bench.others(older(report("n2", "0001", ACTIVE)), sin1()), Others::MayFeed);
    assert_eq!(bench.others(older(report("n2", "0001", DRAINING)), sin1()), Others::HaveDrain);
    let mut bench = Bench::new("sin1", "fra1", &["sin1"]);
    assert_eq!(bench.others(older(report("n2", "0001", DRAINING)), sin1()), Others::MayFeed);
}

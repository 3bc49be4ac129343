//! UDP servers that connect a socket to each client have the second chance where their VIP says so:
//! no flow changes its server while backends join and drain and routes move.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};
use xtask::lab::capture::Frame;
use xtask::lab::capture::verify::dissect;
use xtask::lab::daemons::until;
use xtask::lab::traffic::{RunningTraffic, Spec, Udp};
use xtask::lab::{Lab, Node};

use super::super::stand::{done, edit, hops, on_backends};
use super::{DEADLINE, SOME, address, reroute_until, route, stage_of, state};

const FILL_TIME: &str = "fill_time = \"2s\"\n";
/// Backends that serve at first; one more joins than serve. With the owner twice, a packet lists all
/// of these.
const MEMBERS: usize = 4;
/// Rounds of a join and a drain.
const ROUNDS: usize = 2;
/// Datagrams that show that traffic flows.
const DATAGRAMS: u64 = 500;
/// Of so many datagrams one may be lost: a flow that is alive is what counts.
const LOST_OF: u64 = 100;

#[test]
fn udp_with_connected_sockets_keeps_its_server() -> Result<()> {
    let builder = Lab::builder().members(MEMBERS).connected_udp();
    let mut lab = stage_of(builder, 2, MEMBERS + ROUNDS, FILL_TIME)?;
    the_owner_is_listed_twice(&mut lab)?;

    let wire = lab.watch_underlay(&["be0", "be1", "be2", "be3", "be4", "be5"])?;
    let before = start(&mut lab)?;
    for round in 0..ROUNDS {
        let (joins, drains) = (MEMBERS + round, round);
        let (add, drain) = (address(joins), address(drains));
        for index in [0, 1] {
            let node = lab.ingress(index);
            done(node, &["backend", "add", &add, "--pool", "web"])?;
            done(node, &["backend", "drain", &drain])?;
            more(&mut lab)?;
            route(&lab, &[1 - index])?;
            more(&mut lab)?;
        }
        reroute_until(&mut lab, |lab| {
            Ok(state(lab.ingress(0), joins)? == "active" && state(lab.ingress(1), joins)? == "active")
        })?;
    }
    let after = start(&mut lab)?;
    reroute_until(&mut lab, |_| Ok(true))?;
    let hops = hops(&mut lab)?;
    for (traffic, what) in [(before, "began before"), (after, "began after")] {
        let udp = traffic.finish()?.udp;
        println!("{what}: {udp:?}");
        ensure!(udp.moved == 0 && udp.corrupt == 0 && is_alive(&udp), "{what}: {udp:?}");
        let has = |backend: usize| udp.spread.contains_key(&format!("be{backend}"));
        let (first, last) = (has(0), has(MEMBERS));
        ensure!((first, last) == (what == "began before", what == "began after"), "{what}: {udp:?}");
    }
    ensure!(hops > 0, "nothing was sent on: the changes are too tame");
    println!("{hops} datagrams sent on; on the wires: {:?}", wire.finish()?);
    without_the_key(&mut lab)
}

fn start(lab: &mut Lab) -> Result<RunningTraffic> {
    let traffic = lab.traffic(&Spec { flows: 0, udp_flows: SOME, ..Spec::default() })?;
    more(lab)?;
    Ok(traffic)
}

/// Waits until backends have taken more datagrams.
fn more(lab: &mut Lab) -> Result<()> {
    const TAKEN: [&str; 2] = ["decap_gue", "decap_last"];
    let goal = on_backends(lab, &TAKEN)? + DATAGRAMS;
    until(DEADLINE, "datagrams to arrive", || Ok((on_backends(lab, &TAKEN)? >= goal).then_some(())))
}

/// Every flow was answered, and all but a few datagrams.
fn is_alive(udp: &Udp) -> bool {
    udp.spread.values().sum::<u64>() == SOME as u64 && udp.lost() * LOST_OF <= udp.sent
}

/// A new flow has a socket nowhere, and must come back to its owner.
fn the_owner_is_listed_twice(lab: &mut Lab) -> Result<()> {
    let capture = lab.capture_underlay("ing0")?;
    let traffic = start(lab)?;
    traffic.finish()?;
    let lists: Vec<_> = capture.finish()?.iter().filter_map(list).collect();
    ensure!(lists.len() as u64 > DATAGRAMS, "only {} datagrams were seen", lists.len());
    for list in lists {
        ensure!(list.len() == 1 + MEMBERS && list.last() == list.first(), "{list:?}");
    }
    Ok(())
}

/// The addresses in a tunnelled datagram: where it goes, and the hops.
fn list(frame: &Frame) -> Option<Vec<Ipv4Addr>> {
    const UDP: u8 = 17;
    let dissected = dissect(&frame.bytes);
    let [outer, inner] = &dissected.packets[..] else { return None };
    let (IpAddr::V4(first), UDP) = (outer.destination, inner.protocol) else { return None };
    let hops =
        outer.private.get(4..)?.chunks_exact(4).map(|hop| Ipv4Addr::new(hop[0], hop[1], hop[2], hop[3]));
    Some(std::iter::once(first).chain(hops).collect())
}

/// The same servers, and a VIP that does not say so.
fn without_the_key(lab: &mut Lab) -> Result<()> {
    let node: &Node = lab.ingress(0);
    // Once for each family.
    for _ in 0..2 {
        edit(node, "second_chance = true\n", "")?;
    }
    done(node, &["reload"])?;
    route(lab, &[0])?;
    let traffic = start(lab)?;
    done(lab.ingress(0), &["backend", "drain", &address(MEMBERS)])?;
    more(lab)?;
    let udp = traffic.finish()?.udp;
    println!("counter-check: {udp:?}");
    ensure!(udp.moved > 0, "no flow moved: {udp:?}");
    Ok(())
}

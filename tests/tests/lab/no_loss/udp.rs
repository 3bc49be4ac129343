//! UDP servers that connect a socket to each client have the second chance where their VIP says so:
//! no flow changes its server while backends join and drain and routes move.

use anyhow::{Result, ensure};
use xtask::lab::capture::Frame;
use xtask::lab::daemons::until;
use xtask::lab::traffic::{RunningTraffic, Spec, Udp};
use xtask::lab::{Lab, Node};

use super::super::stand::{done, edit, verdict};
use super::{DEADLINE, SOME, address, reroute_until, route, stage_of, state};

const FILL_TIME: &str = "fill_time = \"2s\"\n";
/// Backends that serve at first; one more joins than serve. With the owner twice, a packet lists all
/// of these.
const MEMBERS: usize = 4;
/// Rounds of a join and a drain.
const ROUNDS: usize = 2;
/// Datagrams that show that all flows are alive.
const DATAGRAMS: u64 = 500;
/// Of so many datagrams one may be lost: a flow that is alive is what counts.
const LOST_OF: u64 = 100;

#[test]
fn udp_with_connected_sockets_keeps_its_server() -> Result<()> {
    let builder = Lab::builder().members(MEMBERS).connected_udp();
    let mut lab = stage_of(builder, 2, MEMBERS + ROUNDS, FILL_TIME)?;
    the_owner_is_listed_twice(&mut lab)?;

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
    let hops = sum(&mut lab, &["hop"])?;
    for (traffic, what) in [(before, "began before"), (after, "began after")] {
        let udp = traffic.finish()?.udp;
        println!("{what}: {udp:?}");
        ensure!(udp.moved == 0 && udp.corrupt == 0 && is_alive(&udp), "{what}: {udp:?}");
        let has = |backend: usize| udp.spread.contains_key(&format!("be{backend}"));
        let (first, last) = (has(0), has(MEMBERS));
        ensure!((first, last) == (what == "began before", what == "began after"), "{what}: {udp:?}");
    }
    println!("{hops} datagrams sent on");
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
    let goal = sum(lab, &TAKEN)? + DATAGRAMS;
    until(DEADLINE, "datagrams to arrive", || Ok((sum(lab, &TAKEN)? >= goal).then_some(())))
}

/// Packets of verdicts on all backends.
fn sum(lab: &mut Lab, verdicts: &[&str]) -> Result<u64> {
    let mut sum = 0;
    for index in 0..lab.topology().backends.len() {
        for name in verdicts {
            sum += verdict(lab.backend(index), name)?;
        }
    }
    Ok(sum)
}

fn is_alive(udp: &Udp) -> bool {
    udp.answered > DATAGRAMS && udp.lost() * LOST_OF <= udp.sent
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

/// The last bytes of the addresses in a tunnelled datagram: where it goes, and the hops.
fn list(frame: &Frame) -> Option<Vec<u8>> {
    const OUTER: usize = 14;
    const UDP: usize = OUTER + 20;
    const COUNT: usize = UDP + 8 + 4 + 3;
    const GUE_PORT: [u8; 2] = 19523_u16.to_be_bytes();
    let bytes = &frame.bytes;
    if bytes.get(12..14)? != [8, 0] || bytes.get(UDP + 2..UDP + 4)? != GUE_PORT {
        return None;
    }
    let hops = bytes[COUNT + 1..].chunks(4).take((*bytes.get(COUNT)?).into()).map(|hop| hop[hop.len() - 1]);
    Some(std::iter::once(bytes[OUTER + 19]).chain(hops).collect())
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

//! What is kept of tables decides as the program did.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use anycast_lb::dataplane::{KnownTables, then};
use anycast_lb_common::abi::Verdict;
use anycast_lb_kept::{Beginning, Decider, Keeper, Limits, at};
use anyhow::{Result, ensure};

use super::*;

const CHANGES: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where all of these flows go now.
fn decided(dataplane: &mut Dataplane, flows: &[Flow]) -> Result<Vec<Trace>> {
    Ok(flows.iter().map(|flow| dataplane.trace(flow)).collect::<Result<_, _>>()?)
}

fn flows() -> Vec<Flow> {
    let v6 = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
    let mut flows: Vec<Flow> = (1..=3).flat_map(|n| (2000..2012).map(move |port| flow(n, port))).collect();
    for port in 3000..3012 {
        let (source, destination) = (SocketAddr::new(v6(7), port), SocketAddr::new(v6(1), 443));
        flows.push(Flow { protocol: Protocol::Tcp, source, destination });
        flows.push(Flow { protocol: Protocol::Udp, ..flow(2, port) });
        flows.push(Flow { protocol: Protocol::Any, ..flow(2, port) });
    }
    flows
}

/// Two pools, one rescued by another PoP, and VIPs of all kinds.
fn beginning(place: &Place) -> Config {
    let mut config = place.config();
    let mut rescued = pool("far", 21..27);
    rescued.rescue = vec!["sin1".into()];
    for backend in &mut rescued.backends[3..] {
        backend.pop = Some("sin1".into());
    }
    config.pools.push(rescued);
    let any = VipKey { port: None, protocol: Protocol::Any, ..vip(2, "far").key };
    let six = VipKey { address: "2001:db8::1".parse().expect("address"), ..vip(1, "web").key };
    let source = FlowHash::ALL.into_iter().find(|hash| hash.word() == "source").expect("it is one");
    config.vips.push(Vip { key: any, hash: source, second_chance: false, ..vip(2, "far") });
    config.vips.push(Vip { key: six, ..vip(1, "far") });
    config
}

/// Changes something, by chance.
fn change(config: &mut Config, random: &mut impl FnMut(usize) -> usize) {
    let pool = random(2);
    match random(8) {
        0 => {
            let address = IpAddr::from([10, 0, 1, random(200) as u8 + 1]);
            let backends = &mut config.pools[pool].backends;
            if backends.iter().all(|b| b.address != address) {
                backends.push(backend(address));
            }
        }
        1 if config.pools[pool].backends.len() > 1 => {
            let gone = random(config.pools[pool].backends.len());
            config.pools[pool].backends.remove(gone);
        }
        2 => {
            let which = random(config.pools[pool].backends.len());
            config.pools[pool].backends[which].weight = random(300) as u32 + 1;
        }
        3 => {
            let which = random(config.pools[pool].backends.len());
            let states = [BackendState::Filling, BackendState::Active, BackendState::Draining];
            config.pools[pool].backends[which].state = states[random(3)];
        }
        4 => {
            let new = Seed([random(250) as u8 + 1; 16]);
            config.seed_previous = config.seed.replace(new.clone()).filter(|old| *old != new);
        }
        5 => config.seed_previous = None,
        6 => {
            config.drained_pops =
                if config.drained_pops.is_empty() { vec!["fra1".into()] } else { Vec::new() };
        }
        _ => config.pools[pool].hops = random(8) as u8,
    }
}

#[test]
fn what_is_kept_decides_as_the_program_did() -> Result<()> {
    isolated(|place| {
        let mut config = beginning(place);
        let (mut dataplane, _) = attached(&config)?;
        let directory = place.directory.path().join("tables");
        let keeper = Keeper::start(directory.clone(), Limits::default())?;
        let mut known = KnownTables::default();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let flows = flows();
        let mut then_decided = Vec::new();
        for number in 0..CHANGES {
            if number > 0 {
                change(&mut config, &mut random);
            }
            dataplane.apply(&config)?;
            let mut snapshot = dataplane.snapshot(&mut known);
            snapshot.beginning = (number == 0).then_some(Beginning::Fresh);
            keeper.in_force(snapshot);
            then_decided.push((SystemTime::now(), decided(&mut dataplane, &flows)?));
            // A way is found, or lost again.
            let backends: Vec<IpAddr> =
                config.pools.iter().flat_map(|p| &p.backends).map(|b| b.address).collect();
            for backend in backends {
                let resolution = match random(4) {
                    0 => Resolution::Unresolved("no route".into()),
                    _ => way(),
                };
                dataplane.set_next_hop(backend, &resolution)?;
                keeper.members(SystemTime::now(), dataplane.members_at(backend));
            }
            keeper.settle(PATIENCE);
            then_decided.push((SystemTime::now(), decided(&mut dataplane, &flows)?));
        }
        ensure!(keeper.counts().lost == 0, "{:?}", keeper.counts());
        drop(keeper);
        let mut verdicts = std::collections::BTreeMap::<&str, usize>::new();
        for (number, (time, decided)) in then_decided.iter().enumerate() {
            let kept = at(&directory, *time)?;
            let decider = Decider::new(&kept.snapshot);
            for (flow, decided) in flows.iter().zip(decided) {
                let told = then(&decider, flow)?;
                ensure!(told == *decided, "moment {number}, {flow:?}: {told:?}, but it was {decided:?}");
                *verdicts.entry(told.verdict.name()).or_default() += 1;
            }
        }
        println!("{verdicts:?}");
        for verdict in [Verdict::ForwardedGue, Verdict::NoNeighbour, Verdict::UnmatchedPrefix] {
            ensure!(verdicts.contains_key(verdict.name()), "never {}", verdict.name());
        }
        Ok(())
    })
}

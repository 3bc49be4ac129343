//! The backends that packets name: those of other PoPs, and those under the previous hash seed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use anycast_lb::model::Pool;
use anyhow::{Context, Result, ensure};
use etherparse::{Ipv4HeaderSlice, PacketBuilder};

use super::content::Traffic;
use super::*;

const PORTS: std::ops::Range<u16> = 1000..1300;

/// Whom a packet past its SYN is sent to, and whom it names after that.
fn list(traffic: &Traffic, port: u16) -> Result<Vec<IpAddr>> {
    /// Ethernet, IPv4, UDP, GUE.
    const PRIVATE: usize = 14 + 20 + 8 + 4;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 0, 7])
        .ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64)
        .tcp(port, 443, 1, 1000)
        .ack(1)
        .write(&mut frame, &[])?;
    let sent = traffic.send(&frame)?;
    let first = Ipv4HeaderSlice::from_slice(&sent[14..])?.destination_addr();
    let count: usize = (*sent.get(PRIVATE + 3).context("no private word")?).into();
    let hops = sent.get(PRIVATE + 4..PRIVATE + 4 + 4 * count).context("no room for the hops")?;
    let hops = hops.chunks(4).map(|hop| Ipv4Addr::new(hop[0], hop[1], hop[2], hop[3]));
    Ok(std::iter::once(first).chain(hops).map(IpAddr::from).collect())
}

fn lists(traffic: &Traffic) -> Result<Vec<Vec<IpAddr>>> {
    PORTS.map(|port| list(traffic, port)).collect()
}

fn last(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

#[test]
fn packets_name_the_backends_of_other_pops() -> Result<()> {
    isolated(|place| {
        let mut config = place.config();
        let mut web = pool("web", [11, 12, 21, 22, 31, 32]);
        for backend in &mut web.backends {
            let pop = ["fra1", "sin1", "gru1"][usize::from(last(&backend.address) / 10 - 1)];
            backend.pop = Some(pop.into());
        }
        web.rescue = vec!["fra1".into(), "sin1".into(), "gru1".into()];
        config.pools = vec![web];
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let traffic = Traffic::load(place)?;
        let before = lists(&traffic)?;
        for (port, list) in PORTS.zip(&before) {
            let tens: Vec<u8> = list.iter().map(|a| last(a) / 10).collect();
            assert_eq!(tens, [1, 1, 2, 2, 3, 3], "{list:?}");
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), 6, "{list:?}");
            assert_eq!(dataplane.trace(&flow(1, port))?.backend, list.first().copied());
        }

        // A restart finds the wide table in place; a drained PoP sends new flows on.
        drop(dataplane);
        config.drained_pops = vec!["fra1".into()];
        let (mut dataplane, _) = attached(&config)?;
        for ((port, drained), before) in PORTS.zip(lists(&traffic)?).zip(&before) {
            assert_eq!(drained[0], before[2], "the owner in the first rescue PoP");
            assert_eq!(drained[1..3], before[..2], "then those that have the flows");
            assert_eq!(dataplane.trace(&flow(1, port))?.backend, drained.first().copied());
        }
        config.drained_pops.clear();
        dataplane.apply(&config)?;
        assert_eq!(lists(&traffic)?, before);
        Ok(())
    })
}

/// The configuration under one seed, and while it is being changed from another.
fn seeded(place: &Place, seed: u8, previous: Option<u8>) -> Config {
    Config {
        seed: Some(Seed([seed; 16])),
        seed_previous: previous.map(|n| Seed([n; 16])),
        pools: vec![Pool { hops: 1, ..pool("web", 11..31) }],
        ..place.config()
    }
}

#[test]
fn the_owner_under_the_previous_seed_is_the_first_hop() -> Result<()> {
    isolated(|place| {
        let config = seeded(place, 7, None);
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let traffic = Traffic::load(place)?;
        let old = lists(&traffic)?;

        let changing = seeded(place, 8, Some(7));
        dataplane.apply(&changing)?;
        let during = lists(&traffic)?;
        let mut moved = 0;
        for (during, old) in during.iter().zip(&old) {
            let at = usize::from(during[0] != old[0]);
            moved += at;
            assert_eq!(during[at], old[0], "{during:?}");
        }
        ensure!(moved > PORTS.len() / 2, "only {moved} flows have another owner");
        // The tables outlive the daemon, and changes of other things.
        drop(dataplane);
        let (mut dataplane, _) = attached(&changing)?;
        assert_eq!(lists(&traffic)?, during);
        let mut more = changing.clone();
        more.pools.extend((0..8).map(|n| pool(&format!("p{n}"), [41])));
        dataplane.apply(&more)?;
        assert_eq!(lists(&traffic)?, during);

        dataplane.apply(&seeded(place, 8, None))?;
        let after = lists(&traffic)?;
        for (after, during) in after.iter().zip(&during) {
            assert_eq!((after.len(), after[0]), (2, during[0]));
        }
        let named = after.iter().zip(&old).filter(|(after, old)| after.contains(&old[0])).count();
        ensure!(named < PORTS.len() / 2, "{named} old owners are still named");
        Ok(())
    })
}

#[test]
fn no_packet_misses_its_backend_while_the_seed_changes() -> Result<()> {
    const CHANGES: u8 = 60;
    isolated(|place| {
        let config = seeded(place, 7, None);
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let traffic = Traffic::load(place)?;
        for n in 0..CHANGES {
            let (now, next) = (7 + n % 2, 8 - n % 2);
            dataplane.apply(&seeded(place, now, None))?;
            let owners: Vec<IpAddr> = lists(&traffic)?.iter().map(|list| list[0]).collect();
            let done = AtomicBool::new(false);
            let seen = std::thread::scope(|scope| {
                let packets = scope.spawn(|| -> Result<()> {
                    for (port, owner) in PORTS.zip(&owners).cycle() {
                        let list = list(&traffic, port)?;
                        ensure!(list[..2].contains(owner), "{owner} is not in {list:?} (change {n})");
                        if done.load(Ordering::Relaxed) {
                            return Ok(());
                        }
                    }
                    Ok(())
                });
                let changed = dataplane.apply(&seeded(place, next, Some(now)));
                done.store(true, Ordering::Relaxed);
                let seen = packets.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                changed.map_err(anyhow::Error::from).and(seen)
            });
            seen?;
        }
        Ok(())
    })
}

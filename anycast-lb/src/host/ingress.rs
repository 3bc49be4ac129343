//! What bites on an ingress node: packets grow on their way through, and the VIPs are not its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::Facts;
use super::{Finding, Severity};
use crate::model::{Config, Encapsulation, Pool};

/// What clients send at most without a path MTU problem of their own, in bytes of IP.
const FULL_PACKET: u32 = 1500;
/// Headers in front of a TCP segment, for the MSS: IPv4 or IPv6, and TCP without options.
const TCP_HEADERS: (u32, u32) = (20 + 20, 40 + 20);
/// Outer headers without hops: IP; for GUE also UDP, GUE and the private word.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const GUE_HEADERS: u32 = 8 + 4 + 4;
/// A hop in the GUE private data.
const IPV4_HOP: u32 = 4;
const IPV6_HOP: u32 = 16;
/// Sysctls that bound the neighbour table; only the initial network namespace has them.
pub(super) const NEIGHBOUR_LIMIT: (&str, &str) =
    ("net.ipv4.neigh.default.gc_thresh3", "net.ipv6.neigh.default.gc_thresh3");

/// Checks addresses, and the ways to the backends.
pub(super) fn check(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = own_addresses(config, facts);
    findings.extend(config.pools.iter().flat_map(|pool| headroom(config, pool, facts)));
    findings.extend(
        config.pools.iter().filter(|p| p.encapsulation == Encapsulation::L2).flat_map(|p| on_link(p, facts)),
    );
    findings.extend(neighbour_limit(config, facts, true));
    findings.extend(neighbour_limit(config, facts, false));
    findings
}

fn own_addresses(config: &Config, facts: &Facts) -> Vec<Finding> {
    let vips: BTreeSet<IpAddr> = config.vips.iter().map(|vip| vip.key.address).collect();
    let mut findings = Vec::new();
    for vip in &vips {
        for (link, address) in facts.holders(*vip) {
            let length = address.network.prefix_len();
            findings.push(Finding {
                severity: Severity::Warning,
                what: format!("VIP {vip} is an address of this ingress node, on {}", link.name),
                why: "what XDP passes for it ends in this host's own sockets, and the node cannot reach the service itself; VIPs belong on the backends' lo".to_owned(),
                fix: Some(format!("ip addr del {vip}/{length} dev {}", link.name)),
            });
        }
    }
    for source in config.sources.iter().filter(|source| facts.holders(**source).next().is_none()) {
        let bits = if source.is_ipv4() { 32 } else { 128 };
        findings.push(Finding {
            severity: Severity::Warning,
            what: format!("source {source} is not an address of this host"),
            why: "routers cannot tell this node that a tunnel packet was too big or found no way".to_owned(),
            fix: Some(format!("ip addr add {source}/{bits} dev lo")),
        });
    }
    findings
}

/// Bytes that a pool's outer headers add at most, towards backends of one family.
fn overhead(config: &Config, pool: &Pool, ipv4: bool) -> u32 {
    let second_chance = config.vips.iter().any(|vip| vip.pool == pool.name && vip.second_chance);
    let hops = if second_chance { u32::from(pool.hops) } else { 0 };
    let (header, hop) = if ipv4 { (IPV4_HEADER, IPV4_HOP) } else { (IPV6_HEADER, IPV6_HOP) };
    match pool.encapsulation {
        Encapsulation::Gue => header + GUE_HEADERS + hops * hop,
        Encapsulation::Ipip => header,
        Encapsulation::L2 => 0,
    }
}

/// A full packet, once encapsulated, fits on the way to the backends: one finding for each egress
/// interface on which it does not.
fn headroom(config: &Config, pool: &Pool, facts: &Facts) -> Vec<Finding> {
    // Smallest MTU and the overhead on each egress interface.
    let mut tight: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for backend in &pool.backends {
        let Some((link, route)) = facts.route(backend.address) else { continue };
        let mtu = route.mtu.map_or(link.mtu, |metric| metric.min(link.mtu));
        let overhead = overhead(config, pool, backend.address.is_ipv4());
        if overhead > 0 && mtu < FULL_PACKET + overhead {
            let entry = tight.entry(&link.name).or_insert((mtu, overhead));
            *entry = (entry.0.min(mtu), entry.1.max(overhead));
        }
    }
    let inner_ipv6 = config.vips.iter().any(|vip| vip.pool == pool.name && vip.key.address.is_ipv6());
    let headers = if inner_ipv6 { TCP_HEADERS.1 } else { TCP_HEADERS.0 };
    let finding = |(interface, (mtu, overhead)): (&str, (u32, u32))| {
        let need = FULL_PACKET + overhead;
        let fits = mtu.saturating_sub(overhead);
        let mss = fits.saturating_sub(headers);
        Finding {
            severity: Severity::Warning,
            what: format!(
                "{interface} carries {mtu} bytes to pool {}, a full packet needs {need}",
                pool.name
            ),
            why: format!(
                "encapsulation adds up to {overhead} bytes to the {FULL_PACKET} a client may send, so packets above {fits} lose a part of their list, and larger ones still are not sent: their senders are told (too_big_answered), and who does not listen loses them; where the network cannot carry {need}, give the backends' routes to clients `advmss {mss}`"
            ),
            fix: Some(format!("ip link set dev {interface} mtu {need}")),
        }
    };
    tight.into_iter().map(finding).collect()
}

/// L2 forwarding rewrites MAC addresses, so the backend itself must be the next hop.
fn on_link(pool: &Pool, facts: &Facts) -> Vec<Finding> {
    let behind = |address: IpAddr| Some((address, facts.route(address)?.1.gateway?));
    pool.backends
        .iter()
        .filter_map(|backend| behind(backend.address))
        .map(|(address, gateway)| Finding {
            severity: Severity::Error,
            what: format!("backend {address} of the l2 pool {} is behind the router {gateway}", pool.name),
            why: "the router would send the packets, which still bear the VIP as destination, back to the ingress nodes; use encapsulation = \"gue\" or \"ipip\", or a backend on the same segment".to_owned(),
            fix: None,
        })
        .collect()
}

/// Each backend on the link takes a place in the kernel's neighbour table.
fn neighbour_limit(config: &Config, facts: &Facts, ipv4: bool) -> Option<Finding> {
    let name = if ipv4 { NEIGHBOUR_LIMIT.0 } else { NEIGHBOUR_LIMIT.1 };
    let limit = usize::try_from(*facts.sysctls.get(name)?).ok()?;
    let hops: BTreeSet<_> = config
        .pools
        .iter()
        .flat_map(|pool| &pool.backends)
        .filter_map(|backend| Some(facts.route(backend.address)?.1.gateway.unwrap_or(backend.address)))
        .filter(|hop| hop.is_ipv4() == ipv4)
        .collect();
    // The other half is for everybody else on the segment.
    (hops.len() > limit / 2).then(|| Finding {
        severity: Severity::Warning,
        what: format!("{} next hops, but the neighbour table holds {limit} entries ({name})", hops.len()),
        why: "when it is full the kernel learns no further MAC addresses, and backends become unreachable"
            .to_owned(),
        fix: Some(format!("sysctl -w {name}={}", (4 * hops.len()).next_power_of_two())),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::{healthy, via};
    use super::*;
    use crate::host::tests::config;
    use crate::model::Role;

    fn good() -> Facts {
        let mut facts = healthy();
        facts.routes.insert(IpAddr::from([10, 0, 0, 11]), via(2, None));
        facts
    }

    fn only(config: &Config, facts: &Facts) -> Finding {
        let findings = check(config, facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].clone()
    }

    #[test]
    fn a_good_ingress_has_no_findings() {
        assert_eq!(check(&config(Role::Ingress), &good()), []);
    }

    #[test]
    fn a_vip_of_our_own_is_wrong() {
        let mut facts = good();
        facts.add("203.0.113.1/32", 1);
        assert_eq!(
            only(&config(Role::Ingress), &facts).fix.as_deref(),
            Some("ip addr del 203.0.113.1/32 dev lo")
        );
    }

    #[test]
    fn a_source_should_be_our_own() {
        let mut config = config(Role::Ingress);
        config.sources = vec![IpAddr::from([10, 0, 0, 2])];
        assert_eq!(check(&config, &good()), []);
        config.sources = vec![IpAddr::from([10, 0, 0, 99])];
        assert_eq!(only(&config, &good()).fix.as_deref(), Some("ip addr add 10.0.0.99/32 dev lo"));
    }

    #[test]
    fn a_full_packet_must_fit_with_all_its_headers() {
        let mut facts = good();
        // GUE over IPv4 with three hops: 20 + 8 + 4 + 4 + 3 * 4.
        facts.links[1].mtu = 1548;
        assert_eq!(check(&config(Role::Ingress), &facts), []);
        facts.links[1].mtu = 1547;
        assert!(only(&config(Role::Ingress), &facts).what.ends_with("a full packet needs 1548"));
        facts.links[1].mtu = 1500;
        let finding = only(&config(Role::Ingress), &facts);
        assert_eq!(finding.what, "eth0 carries 1500 bytes to pool web, a full packet needs 1548");
        assert!(finding.why.contains("packets above 1452 lose a part of their list"), "{finding:?}");
        assert!(finding.why.contains("`advmss 1392`"), "an IPv6 VIP is in the pool: {finding:?}");
        assert_eq!(finding.fix.as_deref(), Some("ip link set dev eth0 mtu 1548"));
    }

    #[test]
    fn the_overhead_follows_encapsulation_family_and_hops() {
        let mut config = config(Role::Ingress);
        let mut expect = |encapsulation, second_chance, v4, v6| {
            config.pools[0].encapsulation = encapsulation;
            config.vips.iter_mut().for_each(|vip| vip.second_chance = second_chance);
            let pool = &config.pools[0];
            assert_eq!((overhead(&config, pool, true), overhead(&config, pool, false)), (v4, v6));
        };
        expect(Encapsulation::Gue, true, 36 + 3 * 4, 56 + 3 * 16);
        expect(Encapsulation::Gue, false, 36, 56);
        expect(Encapsulation::Ipip, true, 20, 40);
        expect(Encapsulation::L2, true, 0, 0);
    }

    #[test]
    fn a_route_with_a_smaller_mtu_counts() {
        let mut facts = good();
        let route = crate::neighbour::Route { ifindex: 2, gateway: None, source: None, mtu: Some(1400) };
        facts.routes.insert(IpAddr::from([10, 0, 0, 11]), crate::neighbour::Answer::Via(route));
        assert!(only(&config(Role::Ingress), &facts).what.starts_with("eth0 carries 1400 bytes"));
    }

    #[test]
    fn an_l2_backend_behind_a_router_is_refused() {
        let mut config = config(Role::Ingress);
        config.pools[0].encapsulation = Encapsulation::L2;
        assert_eq!(check(&config, &good()), []);
        let mut facts = good();
        facts.routes.insert(IpAddr::from([10, 0, 0, 11]), via(2, Some("10.0.0.254")));
        let finding = only(&config, &facts);
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.what, "backend 10.0.0.11 of the l2 pool web is behind the router 10.0.0.254");
    }

    #[test]
    fn the_neighbour_table_must_hold_the_backends() {
        let mut facts = good();
        facts.set(NEIGHBOUR_LIMIT.0, 2);
        assert_eq!(check(&config(Role::Ingress), &facts), [], "one of two is fine");
        facts.set(NEIGHBOUR_LIMIT.0, 1);
        assert_eq!(
            only(&config(Role::Ingress), &facts).fix.as_deref(),
            Some("sysctl -w net.ipv4.neigh.default.gc_thresh3=4")
        );
    }
}

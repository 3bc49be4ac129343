//! What bites on a backend: it must have the VIPs, but must not be found by them.
//!
//! A decapsulated packet looks as if the client had sent it straight to this host. The kernel takes
//! it only if the VIP is one of its addresses and the reverse path filter lets the client through.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::{Facts, Link, TYPICAL_CLIENT, disable_ipv6_name, ipv4_name};
use super::{Finding, Severity};
use crate::model::Config;

/// `rp_filter`: strict reverse path filtering (RFC 3704).
const STRICT: i64 = 1;
/// Smallest `arp_ignore` with which only addresses of the asked interface are answered for.
const ANSWER_OWN_ONLY: i64 = 1;
/// Smallest `arp_announce` with which questions never name an address of another interface.
const ANNOUNCE_BEST: i64 = 2;

/// Checks addresses and settings.
pub(super) fn check(config: &Config, facts: &Facts) -> Vec<Finding> {
    let vips: BTreeSet<IpAddr> = config.vips.iter().map(|vip| vip.key.address).collect();
    let underlay: Vec<&Link> = config.interfaces.iter().filter_map(|i| facts.link(&i.name)).collect();
    let mut findings = Vec::new();
    for vip in &vips {
        findings.extend(address(*vip, facts));
    }
    if let Some(lo) = facts.links.iter().find(|link| link.loopback && !link.up) {
        findings.push(Finding {
            severity: Severity::Error,
            what: format!("{} is down", lo.name),
            why: "its addresses, where the VIPs belong, are not in use".to_owned(),
            fix: Some(format!("ip link set dev {} up", lo.name)),
        });
    }
    if vips.iter().any(IpAddr::is_ipv4) {
        findings.extend(underlay.iter().filter_map(|link| reverse_path(link, facts)));
        findings.extend(underlay.iter().flat_map(|link| arp(link, &vips, facts)));
    }
    if vips.iter().any(IpAddr::is_ipv6) {
        let interfaces = facts.links.iter().filter(|l| l.loopback).chain(underlay.iter().copied());
        findings.extend(interfaces.filter_map(|link| ipv6_off(link, facts)));
    }
    findings
}

/// The VIP is an address of this host, and on an interface that does not answer for it.
fn address(vip: IpAddr, facts: &Facts) -> Vec<Finding> {
    let add = format!("ip addr add {}/{} dev lo", vip, host_bits(vip));
    let mut found = false;
    let mut findings = Vec::new();
    for (link, address) in facts.holders(vip) {
        found = true;
        let length = address.network.prefix_len();
        let on = &link.name;
        let moved = Some(format!("ip addr del {vip}/{length} dev {on} && {add}"));
        if address.duplicate {
            findings.push(Finding {
                severity: Severity::Error,
                what: format!(
                    "VIP {vip} on {on} is not in use: another host has it (duplicate address detection)"
                ),
                why: "all backends have the same VIP; on lo nobody looks for duplicates".to_owned(),
                fix: moved,
            });
        } else if !link.loopback && !link.noarp {
            let question = if vip.is_ipv4() { "ARP" } else { "neighbour discovery" };
            findings.push(Finding {
                severity: Severity::Warning,
                what: format!("VIP {vip} is on {on}"),
                why: format!(
                    "this host answers {question} for it there and draws packets that are meant for the ingress nodes; on lo it does not"
                ),
                fix: moved,
            });
        }
    }
    if !found {
        findings.push(Finding {
            severity: Severity::Error,
            what: format!("VIP {vip} is not an address of this host"),
            why: "the kernel does not take decapsulated packets, they are routed away or dropped".to_owned(),
            fix: Some(add),
        });
    }
    findings
}

fn host_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Decapsulated packets come in by the underlay with a client's address as source: a strict filter
/// drops them wherever the way back to that client is another interface (direct server return).
fn reverse_path(link: &Link, facts: &Facts) -> Option<Finding> {
    let name = &link.name;
    if facts.ipv4_setting(name, "rp_filter") != Some(STRICT) {
        return None;
    }
    let (severity, back) = match facts.route(TYPICAL_CLIENT) {
        Some((out, _)) if out.name == *name => (
            Severity::Info,
            format!(
                "the default route leaves by {name} as well, so only clients behind another interface suffer"
            ),
        ),
        Some((out, _)) => {
            (Severity::Error, format!("the way back to clients is {}, so they all are dropped", out.name))
        }
        None => {
            (Severity::Error, "there is no default route back to clients, so they are dropped".to_owned())
        }
    };
    Some(Finding {
        severity,
        what: format!(
            "strict reverse path filtering is in force on {name} (rp_filter is 1 there or in `all`)"
        ),
        why: format!(
            "decapsulated packets come in by {name} with a client as source, and are dropped without a trace where the route to that client is another interface; {back}"
        ),
        // The larger of `all` and the interface's own counts, and loose (2) is larger than strict (1).
        fix: Some(format!("sysctl -w {}=2", ipv4_name(name, "rp_filter"))),
    })
}

/// With L2 forwarding the backends share a segment with those who ask for the VIP by ARP.
fn arp(link: &Link, vips: &BTreeSet<IpAddr>, facts: &Facts) -> Vec<Finding> {
    let name = &link.name;
    let held: Vec<_> = vips
        .iter()
        .filter(|vip| vip.is_ipv4())
        .filter(|vip| facts.holders(**vip).any(|(holder, _)| holder.loopback || holder.noarp))
        .collect();
    let Some(example) = held.first() else { return Vec::new() };
    let on_link = |vip: &IpAddr| {
        let mut here = facts.addresses.iter().filter(|a| a.interface == link.index);
        here.any(|a| a.network.prefix_len() < host_bits(*vip) && a.network.contains(vip))
    };
    let shared = held.iter().find(|vip| on_link(vip));
    let (severity, when) = match shared {
        Some(vip) => {
            (Severity::Warning, format!("{vip} is inside the subnet of {name}, so its neighbours do ask"))
        }
        None => (
            Severity::Info,
            format!("it matters with L2 forwarding, where neighbours on {name} ask for {example}"),
        ),
    };
    let finding = |setting: &str, least: i64, what: String, why: String| {
        (facts.ipv4_setting(name, setting)? < least).then(|| Finding {
            severity,
            what,
            why: format!("{why}; {when}"),
            fix: Some(format!("sysctl -w {}={least}", ipv4_name("all", setting))),
        })
    };
    let ignore = finding(
        "arp_ignore",
        ANSWER_OWN_ONLY,
        format!("this host answers ARP on {name} for VIPs that are not there (arp_ignore is 0)"),
        "it draws packets that are meant for the ingress nodes".to_owned(),
    );
    let announce = finding(
        "arp_announce",
        ANNOUNCE_BEST,
        format!("this host's own ARP questions on {name} name VIPs as sender (arp_announce is below 2)"),
        "neighbours then learn this host's MAC address for the VIP".to_owned(),
    );
    ignore.into_iter().chain(announce).collect()
}

fn ipv6_off(link: &Link, facts: &Facts) -> Option<Finding> {
    let name = disable_ipv6_name(&link.name);
    (facts.sysctls.get(&name) == Some(&1)).then(|| Finding {
        severity: Severity::Error,
        what: format!("IPv6 is switched off on {}", link.name),
        why: "packets to IPv6 VIPs are dropped".to_owned(),
        fix: Some(format!("sysctl -w {name}=0")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::{healthy, via};
    use super::*;
    use crate::host::tests::config;
    use crate::model::Role;

    /// A backend with both VIPs where they belong.
    fn good() -> Facts {
        let mut facts = healthy();
        facts.add("203.0.113.1/32", 1);
        facts.add("2001:db8::1/128", 1);
        for setting in ["rp_filter", "arp_ignore", "arp_announce"] {
            facts.set(&format!("net.ipv4.conf.all.{setting}"), 0);
            facts.set(&format!("net.ipv4.conf.eth0.{setting}"), 2);
        }
        facts
    }

    fn findings(facts: &Facts) -> Vec<Finding> {
        check(&config(Role::Backend), facts)
    }

    fn only(facts: &Facts) -> Finding {
        let findings = findings(facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].clone()
    }

    #[test]
    fn a_good_backend_has_no_findings() {
        assert_eq!(findings(&good()), []);
    }

    #[test]
    fn a_missing_vip_comes_with_the_command_that_adds_it() {
        let mut facts = good();
        facts.addresses.retain(|a| a.interface != 1);
        let found = findings(&facts);
        assert_eq!(found[0].severity, Severity::Error);
        assert_eq!(found[0].fix.as_deref(), Some("ip addr add 203.0.113.1/32 dev lo"));
        assert_eq!(found[1].fix.as_deref(), Some("ip addr add 2001:db8::1/128 dev lo"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_vip_on_a_nic_draws_traffic() {
        let mut facts = good();
        facts.addresses.retain(|a| a.interface != 1);
        facts.add("203.0.113.1/24", 2);
        facts.add("2001:db8::1/64", 2);
        let found = findings(&facts);
        assert!(found[0].why.contains("answers ARP"), "{found:?}");
        assert_eq!(
            found[0].fix.as_deref(),
            Some("ip addr del 203.0.113.1/24 dev eth0 && ip addr add 203.0.113.1/32 dev lo")
        );
        assert!(found[1].why.contains("answers neighbour discovery"), "{found:?}");
        facts.links[1].noarp = true;
        assert!(
            findings(&facts).iter().all(|f| !f.what.starts_with("VIP")),
            "a dummy device is as good as lo"
        );
    }

    #[test]
    fn a_duplicate_vip_is_an_error() {
        let mut facts = good();
        facts.addresses.retain(|a| a.network.addr().is_ipv4());
        facts.add("2001:db8::1/64", 2);
        if let Some(last) = facts.addresses.last_mut() {
            last.duplicate = true;
        }
        let finding = only(&facts);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.what.contains("another host has it"), "{finding:?}");
    }

    #[test]
    fn strict_filtering_is_as_bad_as_the_way_back_is_different() {
        let mut facts = good();
        facts.set("net.ipv4.conf.eth0.rp_filter", 0);
        facts.set("net.ipv4.conf.all.rp_filter", 1);
        let finding = only(&facts);
        assert_eq!(finding.severity, Severity::Info, "the default route is eth0");
        assert_eq!(finding.fix.as_deref(), Some("sysctl -w net.ipv4.conf.eth0.rp_filter=2"));

        facts.links.push(Link { index: 3, name: "eth1".into(), ..facts.links[1].clone() });
        facts.routes.insert(TYPICAL_CLIENT, via(3, None));
        let finding = only(&facts);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.why.contains("the way back to clients is eth1"), "{finding:?}");
        facts.routes.clear();
        assert_eq!(only(&facts).severity, Severity::Error);
        facts.set("net.ipv4.conf.eth0.rp_filter", 2);
        assert_eq!(findings(&facts), [], "loose wins over strict");
    }

    #[test]
    fn arp_settings_matter_most_where_neighbours_ask_for_the_vip() {
        let mut facts = good();
        facts.set("net.ipv4.conf.eth0.arp_ignore", 0);
        facts.set("net.ipv4.conf.eth0.arp_announce", 1);
        let found = findings(&facts);
        let fixes: Vec<_> = found.iter().filter_map(|f| f.fix.as_deref()).collect();
        assert_eq!(
            fixes,
            ["sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_announce=2"]
        );
        assert!(found.iter().all(|f| f.severity == Severity::Info), "{found:?}");
        facts.add("203.0.113.9/24", 2);
        assert!(findings(&facts).iter().all(|f| f.severity == Severity::Warning));
    }

    #[test]
    fn ipv6_must_be_on_and_lo_up() {
        let mut facts = good();
        facts.set("net.ipv6.conf.lo.disable_ipv6", 1);
        assert_eq!(only(&facts).fix.as_deref(), Some("sysctl -w net.ipv6.conf.lo.disable_ipv6=0"));
        let mut facts = good();
        facts.links[0].up = false;
        assert_eq!(only(&facts).fix.as_deref(), Some("ip link set dev lo up"));
    }
}

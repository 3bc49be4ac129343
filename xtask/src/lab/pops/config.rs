//! Configuration text of the nodes and routers of three PoPs.

use std::fmt::Write as _;
use std::path::Path;

use super::super::Family;
use super::super::services::session;
use super::super::topology::{Addresses, EDGE, FABRIC, HTTP_PORT, PREFIX_V4, PREFIX_V6, VIP_V4, VIP_V6};
use super::Forwarding;
use super::plan::{self, NAMES};

/// The pools, and the VIPs that they serve: each travels in its own family.
pub const POOLS: [(&str, Family); 2] = [("web", Family::V4), ("web6", Family::V6)];
/// Nodes are not connected here: a backend that joins fills for so long.
const FILL_TIME: &str = "2s";

/// The address of a family, as text.
pub fn of(addresses: Addresses, family: Family) -> String {
    match family {
        Family::V4 => addresses.v4.to_string(),
        Family::V6 => addresses.v6.to_string(),
    }
}

/// Configuration of an ingress node. Without rescue, a flow is asked for at its owner alone.
pub fn ingress(node: &str, pop: usize, index: usize, run: &Path, forwarding: Forwarding) -> String {
    let source = plan::ingress(pop, index);
    let mut text = head("ingress", node, pop, run);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "hash_seed_file = \"{}/seed\"\nsource = [\"{}\", \"{}\"]\n{}{}{}",
        run.display(),
        source.v4,
        source.v6,
        interface(EDGE),
        interface(FABRIC),
        control(node, run)
    );
    let hops = match forwarding {
        Forwarding::Rescue => "rescue = [\"fra\", \"sin\", \"gru\"]\n",
        _ => "hops = 0\n",
    };
    for (pool, family) in POOLS {
        let _ = write!(
            text,
            "\n[[pool]]\nname = \"{pool}\"\nencapsulation = \"gue\"\nfill_time = \"{FILL_TIME}\"\n{hops}"
        );
        for (site, name) in NAMES.iter().enumerate() {
            for index in 0..plan::MEMBERS {
                let address = of(plan::backend(site, index), family);
                let _ = write!(text, "[[pool.backend]]\naddress = \"{address}\"\npop = \"{name}\"\n");
            }
        }
        let _ = writeln!(text, "{}pool = \"{pool}\"", vip(family));
    }
    for prefix in [PREFIX_V4, PREFIX_V6] {
        let _ = write!(text, "\n[[prefix]]\nprefix = \"{prefix}\"\n");
    }
    text
}

/// Configuration of a backend.
pub fn backend(node: &str, pop: usize, run: &Path) -> String {
    let senders: Vec<String> =
        (0..NAMES.len()).flat_map(plan::underlays).map(|prefix| format!("\"{prefix}\"")).collect();
    head("backend", node, pop, run)
        + &format!("allowed_senders = [{}]\n", senders.join(", "))
        + &interface(FABRIC)
        + &control(node, run)
        + &POOLS.map(|(_, family)| vip(family)).concat()
}

fn head(role: &str, node: &str, pop: usize, run: &Path) -> String {
    let (run, pop) = (run.display(), NAMES[pop]);
    format!(
        "role = \"{role}\"\nnode = \"{node}\"\npop = \"{pop}\"\ninstance = \"{node}\"\nbpffs = \"{run}/bpf\"\nstate_dir = \"{run}/state/{node}\"\n"
    )
}

fn interface(name: &str) -> String {
    format!("\n[[interface]]\nname = \"{name}\"\nmode = \"native\"\n")
}

fn control(node: &str, run: &Path) -> String {
    format!("\n[control]\nsocket = \"{}/{node}.sock\"\n", run.display())
}

fn vip(family: Family) -> String {
    let address = match family {
        Family::V4 => VIP_V4.to_string(),
        Family::V6 => VIP_V6.to_string(),
    };
    format!("\n[[vip]]\naddress = \"{address}\"\nport = {HTTP_PORT}\nprotocol = \"tcp\"\n")
}

/// BIRD of a PoP's router: who announces in the PoP, and the other routers.
pub fn router_bird(pop: usize, announcers: &[Addresses]) -> String {
    let mut text = format!(
        "log stderr all;
router id {};
protocol device {{ scan time 10; }}
protocol kernel kernel4 {{ merge paths on limit 16; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel kernel6 {{ merge paths on limit 16; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
",
        plan::router(pop).v4
    );
    let own = plan::router_as(pop);
    for (name, family) in [("v4", Family::V4), ("v6", Family::V6)] {
        let channel = channel(family);
        for (index, announcer) in announcers.iter().enumerate() {
            let neighbor = of(*announcer, family);
            let name = format!("n{index}{name}");
            text += &session(&name, own, &neighbor, plan::SERVICE_AS, channel, "all", "none");
        }
        for (other, site) in NAMES.iter().enumerate().filter(|&(other, _)| other != pop) {
            let neighbor = of(plan::exchange(other), family);
            let (name, export) = (format!("{site}{name}"), plan::export(pop, family));
            text += &session(&name, own, &neighbor, plan::router_as(other), channel, "all", &export);
        }
    }
    text
}

fn channel(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// BIRD of a node that announces the service's prefixes to its PoP's router, at once if it `serves`.
/// Protocols `announce4` and `announce6` are switched off and on to withdraw and announce.
pub fn announcing_bird(pop: usize, id: Addresses, router: Addresses, serves: bool) -> String {
    let disabled = if serves { "" } else { " disabled;" };
    let mut text = format!(
        "log stderr all;
router id {};
protocol device {{ scan time 10; }}
protocol static announce4 {{{disabled} ipv4; route {PREFIX_V4} blackhole; }}
protocol static announce6 {{{disabled} ipv6; route {PREFIX_V6} blackhole; }}
",
        id.v4
    );
    let export = "where source = RTS_STATIC";
    for (name, family) in [("router4", Family::V4), ("router6", Family::V6)] {
        let (router, remote) = (of(router, family), plan::router_as(pop));
        text += &session(name, plan::SERVICE_AS, &router, remote, channel(family), "none", export);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_backends_of_one_family_in_all_pops() {
        let text = ingress("fra-ing0", 0, 0, Path::new("/run/lab"), Forwarding::Rescue);
        let (first, second) = text.split_once("name = \"web6\"").unwrap_or_default();
        assert!(first.contains("\"10.2.0.12\"") && !first.contains("\"fd00:2::12\""));
        assert!(second.contains("\"fd00:2::12\"") && !second.contains("\"10.2.0.12\""));
        assert_eq!(text.matches("[[pool.backend]]").count(), 2 * NAMES.len() * plan::MEMBERS);
    }

    #[test]
    fn only_with_rescue_are_others_asked() {
        let text = |forwarding| ingress("fra-ing0", 0, 0, Path::new("/run/lab"), forwarding);
        let (with, without) = (text(Forwarding::Rescue), text(Forwarding::OwnerOnly));
        assert!(with.contains("rescue =") && !with.contains("hops = 0"));
        assert!(!without.contains("rescue =") && without.contains("hops = 0"));
    }

    #[test]
    fn a_router_has_a_session_a_family_and_neighbour() {
        let text = router_bird(0, &[plan::edge(0, 0, false), plan::edge(0, 1, false)]);
        assert_eq!(text.matches("protocol bgp").count(), 2 * (2 + NAMES.len() - 1));
        assert!(
            text.contains("neighbor 10.100.1.2 as 64500") && text.contains("neighbor fd01:0:1::2 as 64500")
        );
    }
}

//! VIPs, and how they fit their pools.

use std::collections::HashMap;

use crate::config::report::Report;
use crate::config::scalar::family;
use crate::config::schema::{Draft, PoolDraft, TOP, VipDraft};
use crate::config::suggest::nearest;
use crate::model::{Encapsulation, Role};

pub(super) fn check(draft: &Draft, role: Option<Role>, report: &Report<'_>) {
    let mut seen = HashMap::new();
    for vip in &draft.vips {
        if let Some(first) = seen.insert(vip.key, vip.spot) {
            report.problem(
                vip.spot,
                &vip.path,
                format!("stands already at {}", report.place(first)),
                "take one of the two out",
            );
        }
        if role == Some(Role::Ingress) {
            pool_of(vip, &draft.pools, report);
        }
    }
    if draft.vips.is_empty() && !report.is_incomplete() {
        report.notice(TOP, "vip", "there is no VIP: no packet is balanced; add one with [[vip]]");
    }
    no_backend_is_a_vip(draft, report);
}

fn pool_of(vip: &VipDraft, pools: &[PoolDraft], report: &Report<'_>) {
    let key = format!("{} pool", vip.path);
    let Some(name) = &vip.pool else {
        if !report.has_problem(|refused| refused == key) {
            report.problem(vip.spot, &key, "is missing", "write pool = \"web\" with the name of a [[pool]]");
        }
        return;
    };
    match pools.iter().find(|p| p.name == name.value) {
        Some(pool) => {
            family_fits(vip, pool, report);
            chance_is_carried(vip, pool, report);
        }
        // It may be in a file that could not be read, or be the pool whose name was refused.
        None if report.is_incomplete() || report.has_problem(is_name_of_pool) => {}
        None => {
            let hint = match nearest(&name.value, pools.iter().map(|p| p.name.as_str())) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("add [[pool]] with name = {:?}, or name one that is there", name.value),
            };
            report.problem(name.spot, &key, format!("there is no pool {:?}", name.value), hint);
        }
    }
}

fn is_name_of_pool(key: &str) -> bool {
    key.starts_with("pool ") && key.ends_with(" name")
}

/// By default TCP has the second chance where it can be had; who asks for it should know that it cannot.
fn chance_is_carried(vip: &VipDraft, pool: &PoolDraft, report: &Report<'_>) {
    if let Some(spot) = vip.chance_wanted
        && pool.encapsulation != Encapsulation::Gue
    {
        report.notice(
            spot,
            &format!("{} second_chance", vip.path),
            format!(
                "has no effect: only encapsulation \"gue\" carries a list of backends to try, not that of {}",
                pool.path
            ),
        );
    }
}

/// What an encapsulation cannot carry is refused here, so that no malformed frame is ever sent.
fn family_fits(vip: &VipDraft, pool: &PoolDraft, report: &Report<'_>) {
    let Some(backend) = pool.backends.first().map(|b| b.backend.address) else { return };
    let address = vip.key.address;
    let (vip_family, backend_family) = (family(address), family(backend));
    let hint = match pool.encapsulation {
        Encapsulation::Gue => return,
        Encapsulation::Ipip if address.is_ipv4() || backend.is_ipv6() => return,
        Encapsulation::L2 if address.is_ipv4() == backend.is_ipv4() => return,
        Encapsulation::Ipip => {
            "write encapsulation = \"gue\" in the pool, or use a pool with IPv6 backends".to_owned()
        }
        Encapsulation::L2 => {
            format!("use a pool with {vip_family} backends, or encapsulation = \"gue\" in this one")
        }
    };
    let word = match pool.encapsulation {
        Encapsulation::L2 => "l2",
        _ => "ipip",
    };
    report.problem(
        vip.spot,
        &vip.path,
        format!(
            "{vip_family} cannot be carried to the {backend_family} backends of {} by encapsulation \"{word}\"",
            pool.path
        ),
        hint,
    );
}

/// A tunnel to a VIP would come back to a balancer, for ever.
fn no_backend_is_a_vip(draft: &Draft, report: &Report<'_>) {
    let vips: HashMap<_, _> = draft.vips.iter().map(|v| (v.key.address, v)).collect();
    for backend in draft.pools.iter().flat_map(|p| &p.backends) {
        if let Some(vip) = vips.get(&backend.backend.address) {
            report.problem(
                backend.spot,
                &backend.path,
                format!("is the address of a VIP ({}, {})", vip.key, report.place(vip.spot)),
                "write the backend's own address; the VIP belongs on its loopback interface",
            );
        }
    }
}

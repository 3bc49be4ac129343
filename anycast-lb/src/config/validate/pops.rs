//! PoPs: where flows are rescued, and which take no new ones.

use crate::config::report::{At, Report};
use crate::config::schema::{Draft, PoolDraft};
use crate::model::Encapsulation;
use crate::plan::MOST_SITES;

/// The names, each once.
pub(super) fn distinct(names: &[At<String>]) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.contains(&name.value) {
            distinct.push(name.value.clone());
        }
    }
    distinct
}

/// `home` is the node's own PoP.
pub(super) fn check(draft: &Draft, home: &str, report: &Report<'_>) {
    for pool in &draft.pools {
        rescue(pool, home, report);
    }
    let drained = &draft.global.drained_pops;
    let is_drained = |site: &str| drained.iter().any(|d| d.value == site);
    for name in drained {
        let is_known = |pool: &PoolDraft| {
            let has_backend = pool.backends.iter().any(|b| b.backend.site(home) == name.value);
            has_backend || pool.rescue.iter().any(|r| r.value == name.value)
        };
        if name.value != home && !draft.pools.iter().any(is_known) {
            report.notice(
                name.spot,
                "drained_pops",
                format!("no backend and no `rescue` names the PoP {:?}", name.value),
            );
        }
    }
    let Some(own) = drained.iter().find(|name| name.value == home) else { return };
    for pool in &draft.pools {
        if !pool.rescue.iter().any(|r| r.value != home && !is_drained(&r.value)) {
            report.notice(
                own.spot,
                "drained_pops",
                format!("{} has no `rescue` PoP to take its new flows: they stay in {home:?}", pool.path),
            );
        }
    }
}

fn rescue(pool: &PoolDraft, home: &str, report: &Report<'_>) {
    let mut others = pool.rescue.iter().filter(|r| r.value != home);
    let key = format!("{} rescue", pool.path);
    if let Some(first) = others.clone().next()
        && pool.encapsulation != Encapsulation::Gue
    {
        report.notice(
            first.spot,
            &key,
            "rescues no flow: only encapsulation \"gue\" carries a list of backends to try",
        );
        return;
    }
    if let Some(beyond) = others.nth(MOST_SITES) {
        let what =
            format!("from {:?} on the PoPs have no place in a packet: it names {MOST_SITES}", beyond.value);
        report.notice(beyond.spot, &key, what);
    }
}

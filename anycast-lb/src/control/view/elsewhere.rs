//! What other hosts want to know.

use std::time::Instant;

use anycast_lb_common::abi;

use crate::control::api::{self, ListedBackend, NodeReport, PoolReport};
use crate::daemon::Failure;
use crate::daemon::run::View;
use crate::flows::VipFlows;
use crate::membership::{Health, InForce, State};
use crate::plan::Sites;

/// What other nodes want to know of this one.
pub fn node(view: &View<'_>) -> Result<NodeReport, Failure> {
    let config = view.core.config();
    let now = Instant::now();
    let in_force = view.core.in_force();
    let InForce { config: effective, standings } = &in_force;
    let new_flows = |name: &str| {
        let pool = effective.pools.iter().find(|p| p.name == name)?;
        Some(Sites::in_force(pool, &config.pop, &config.drained_pops, standings).owner.to_owned())
    };
    let pools = config.pools.iter().map(|p| {
        let owners = view.dataplane.owners(&p.name)?;
        let in_force =
            p.backends.iter().filter_map(|b| Some((b, view.core.report(now, &p.name, b.address)?)));
        let listed =
            in_force.filter(|(_, report)| report.state != State::Gone).map(|(b, report)| ListedBackend {
                address: b.address,
                pop: Some(b.site(&config.pop).to_owned()),
                state: report.state.name().to_owned(),
                weight: Some(report.coming_weight.unwrap_or(report.weight)),
                down: report.health == Health::Down,
            });
        Ok(PoolReport {
            pool: p.name.clone(),
            owners: owners.fingerprint,
            hops: owners.hops,
            new_flows: new_flows(&p.name),
            listed: listed.collect(),
        })
    });
    Ok(NodeReport {
        node: config.node.clone(),
        pop: config.pop.clone(),
        generation: view.core.generation(),
        placement: abi::PLACEMENT,
        seed_fingerprint: config.seed.as_ref().map(crate::model::Seed::fingerprint),
        pools: pools.collect::<Result<_, Failure>>()?,
    })
}

/// Flows of this host, as they travel.
pub fn flows(counted: Vec<VipFlows>) -> api::Flows {
    let vips: Vec<api::VipFlows> =
        counted.into_iter().map(|f| api::VipFlows { vip: f.vip, tcp: f.tcp, udp: f.udp }).collect();
    api::Flows { total: vips.iter().map(|f| f.tcp + f.udp).sum(), vips }
}

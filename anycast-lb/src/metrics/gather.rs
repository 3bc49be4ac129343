//! Collects the facts: what the daemon's loop has to say is read there as plain values, all else outside of it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anycast_lb_common::abi::Program;

use super::facts::{Changes, Facts, Fingerprints};
use super::process;
use crate::control::api::{BackendRow, Bgp, PoolRow, Status, VerdictCount, VipRow};
use crate::control::server::Api;
use crate::control::view;
use crate::daemon::Failure;
use crate::daemon::run::View;
use crate::dataplane::Occupancy;
use crate::host::Finding;
use crate::model::{Config, Role};

/// Checks the host, as [`crate::host::check`] does.
pub type Check = fn(&Config) -> Vec<Finding>;

/// What the loop tells.
struct Inside {
    config: Arc<Config>,
    status: Status,
    verdicts: Vec<VerdictCount>,
    vips: Vec<VipRow>,
    pools: Vec<PoolRow>,
    tables: Vec<Fingerprints>,
    backends: Vec<BackendRow>,
    occupancy: Vec<Occupancy>,
    changes: Changes,
    bgp: Bgp,
}

/// All facts of this moment.
///
/// # Errors
/// The daemon is stopping, or its maps cannot be read.
pub async fn gather(api: &Api, check: Check) -> Result<Facts, Failure> {
    let inside = api.daemon.inspect(|v| inside(v)).await??;
    let config = Arc::clone(&inside.config);
    // It reads files and asks the kernel for some milliseconds.
    let outside = tokio::task::spawn_blocking(move || (check(&config), process::read())).await;
    let (findings, process) = outside.map_err(|_| Failure::unavailable())?;
    let role = inside.config.role;
    Ok(Facts {
        now: SystemTime::now(),
        role,
        program: match program(role) {
            Program::Ingress => "ingress",
            Program::Backend => "backend",
        },
        status: inside.status,
        verdicts: inside.verdicts,
        vips: inside.vips,
        pools: inside.pools,
        tables: inside.tables,
        backends: inside.backends,
        occupancy: inside.occupancy,
        changes: inside.changes,
        bgp: inside.bgp,
        rpki: view::rpki(&api.rpki),
        hijacks: view::hijacks(api.station.status()),
        peers: api.peers.lock().rows(Instant::now()),
        findings: findings.into_iter().map(view::finding).collect(),
        process,
    })
}

fn inside(view: &View<'_>) -> Result<Inside, Failure> {
    let pools = view::pools(view)?.pools;
    let tables = pools.iter().map(|p| {
        let hops = view.dataplane.owners(&p.pool)?.hops;
        Ok(Fingerprints { pool: p.pool.clone(), owners: p.owners.clone(), hops })
    });
    let tables = tables.collect::<Result<_, Failure>>()?;
    let tally = view.core.tally();
    Ok(Inside {
        config: view.core.shared_config(),
        status: view::status_without_findings(view)?,
        verdicts: view::verdicts(view)?,
        vips: view::vips(view)?.vips,
        pools,
        tables,
        backends: view::backends(view)?.backends,
        occupancy: view.dataplane.occupancy(),
        changes: Changes {
            commands: tally.commands,
            reloads: tally.reloads,
            last_reload_refused: tally.last_reload_refused,
            last_reload_age: tally.last_reload.map(|at| at.elapsed().as_secs()),
        },
        bgp: view::bgp(view),
    })
}

const fn program(role: Role) -> Program {
    match role {
        Role::Ingress => Program::Ingress,
        Role::Backend => Program::Backend,
    }
}

//! Collects the facts: what the daemon's loop has to say is read there as plain values, all else outside of it.

use std::sync::{Arc, OnceLock};
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
    started: f64,
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
        started: inside.started,
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
        started: moment(view.since),
        config: view.core.shared_config(),
        status: view::condition(view)?,
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
            last_reload: tally.last_reload.map(moment),
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

/// Seconds since 1970 at that instant: the same at every scrape, so that it does not look as if it had changed.
/// Where somebody sets the clock, what it said before counts.
fn moment(at: Instant) -> f64 {
    static CLOCKS: OnceLock<(Instant, f64)> = OnceLock::new();
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), since.as_secs_f64())
    };
    let (instant, seconds) = *CLOCKS.get_or_init(now);
    match at.checked_duration_since(instant) {
        Some(later) => seconds + later.as_secs_f64(),
        None => seconds - instant.saturating_duration_since(at).as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_stays_what_it_was() {
        let now = Instant::now();
        let [first, later, again] = [now, now + Duration::from_secs(10), now].map(moment);
        assert_eq!(first, again);
        assert!((later - first - 10.0).abs() < 1e-3, "{first} {later}");
        assert!(first > 1.6e9);
    }
}

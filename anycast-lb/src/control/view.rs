//! Reads answers out of the daemon.

mod advice;
mod bgp;
mod elsewhere;
mod explain;
mod routes;
mod trace;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anycast_lb_common::abi::{self, Counter, Kind, Program, Verdict};

use super::api::{
    BackendCount, BackendRow, Backends, ChangeRow, Changed, HostFinding, InterfaceStatus, MemberStatus,
    NextHopStatus, PoolDetail, PoolFingerprint, PoolRow, Pools, PopRow, Pops, Stats, Status, Unresolved,
    VerdictCount, VipCount, VipRow, Vips,
};
use crate::daemon::core::Outcome;
use crate::daemon::diff::{encapsulation_name, state_name, table_name};
use crate::daemon::run::View;
use crate::daemon::{Code, Failure};
use crate::dataplane::Start;
use crate::frame::mac_text;
use crate::host::{Finding, Severity};
use crate::membership::{Health, Known, Source};
use crate::model::{Backend, BackendState, Config, Pool, Role, VipKey};
use crate::neighbour::{NextHop, Resolution};
use crate::plan::{Sites, candidates};

pub use bgp::bgp;
pub use elsewhere::{flows, node};
pub use explain::explain;
pub use routes::{alarms, check, hijacks, rpki};
pub use trace::{flow, refuse_backend, trace, traced_then};

/// What is said of a backend that the resolver has not spoken of.
const NO_ANSWER: &str = "not looked up yet";

/// The whole of `status`, but for its alarms.
pub fn status(view: &View<'_>) -> Result<Status, Failure> {
    Ok(Status { findings: findings(view), ..condition(view)? })
}

/// `status` without what it takes time to look at: findings on the host.
pub fn condition(view: &View<'_>) -> Result<Status, Failure> {
    let config = view.core.config();
    let pools = config.pools.iter().map(|p| {
        let servable = view.core.servable(Instant::now(), &p.name);
        Ok(PoolFingerprint {
            pool: p.name.clone(),
            backends: p.backends.len(),
            active: servable.map_or(0, |s| s.healthy),
            service: servable.map_or("down", |s| s.word()).to_owned(),
            owners: view.dataplane.owners(&p.name)?.fingerprint,
        })
    });
    Ok(Status {
        role: role_name(config.role).to_owned(),
        node: config.node.clone(),
        pop: config.pop.clone(),
        instance: config.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: abi::VERSION,
        placement: abi::PLACEMENT,
        generation: view.core.generation(),
        uptime_seconds: view.since.elapsed().as_secs(),
        start: match view.start {
            Start::Fresh => "fresh",
            Start::Adopted => "adopted",
        }
        .to_owned(),
        seed_fingerprint: config.seed.as_ref().map(crate::model::Seed::fingerprint),
        interfaces: interfaces(view),
        config_files: view.config.files(),
        notices: view.config.notices(),
        pools: pools.collect::<Result<_, Failure>>()?,
        members: unsettled(view),
        unresolved: unresolved(view),
        findings: Vec::new(),
        // These are not the loop's to tell.
        alarms: Vec::new(),
    })
}

fn interfaces(view: &View<'_>) -> Vec<InterfaceStatus> {
    let attachments = view.dataplane.attachments().into_iter();
    attachments
        .map(|a| InterfaceStatus {
            interface: a.interface,
            ifindex: a.ifindex,
            mode: a.mode.map(|mode| mode.to_string()),
            reason: a.reason,
            program_id: a.program_id,
        })
        .collect()
}

/// Backends of which there is more to say than that they serve.
fn unsettled(view: &View<'_>) -> Vec<MemberStatus> {
    let now = Instant::now();
    let members = view.core.config().pools.iter().flat_map(|p| p.backends.iter().map(move |b| (p, b)));
    members
        .filter_map(|(pool, b)| {
            let report = view.core.report(now, &pool.name, b.address)?;
            let known = view.core.known(&pool.name, b.address)?;
            let by_check = known.source() == Some(Source::Check) && report.health == Health::Down;
            (!report.serves() || report.left.is_some()).then(|| MemberStatus {
                pool: pool.name.clone(),
                address: b.address,
                state: report.state.name().to_owned(),
                configured: state_name(b.state).to_owned(),
                health: report.health.name().to_owned(),
                health_by: known.source().map(|by| by.name().to_owned()),
                reason: known.reason().filter(|_| by_check).map(str::to_owned),
                remaining: report.remaining,
                seconds_left: report.left.map(whole_seconds),
            })
        })
        .collect()
}

/// Rounded up: what takes any time does not take none.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn unresolved(view: &View<'_>) -> Vec<Unresolved> {
    let mut backends: Vec<IpAddr> =
        view.core.config().pools.iter().flat_map(|p| p.backends.iter().map(|b| b.address)).collect();
    backends.sort_unstable();
    backends.dedup();
    let reason = |backend| match view.core.resolution(backend) {
        Some(Resolution::Resolved(_)) => None,
        Some(Resolution::Unresolved(reason) | Resolution::Pending(reason)) => Some(reason.clone()),
        None => Some(NO_ANSWER.to_owned()),
    };
    backends
        .into_iter()
        .filter_map(|backend| reason(backend).map(|reason| Unresolved { backend, reason }))
        .collect()
}

/// What on this host will bite; takes some milliseconds.
pub fn findings(view: &View<'_>) -> Vec<HostFinding> {
    view.host.findings(view.core.config()).into_iter().map(finding).collect()
}

/// A host check's finding, as it travels.
pub fn finding(finding: Finding) -> HostFinding {
    HostFinding {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
        .to_owned(),
        what: finding.what,
        why: finding.why,
        fix: finding.fix,
    }
}

/// Counters of all ways out of the role's program.
pub fn verdicts(view: &View<'_>) -> Result<Vec<VerdictCount>, Failure> {
    let program = match view.core.config().role {
        Role::Ingress => Program::Ingress,
        Role::Backend => Program::Backend,
    };
    let verdicts = view.dataplane.verdicts()?.into_iter().filter(|(v, _)| v.program() == program);
    let row = |(v, count): (Verdict, Counter)| VerdictCount {
        verdict: v.name().to_owned(),
        kind: kind_name(v.kind()).to_owned(),
        packets: count.packets,
        bytes: count.bytes,
        explanation: v.explanation().to_owned(),
    };
    Ok(verdicts.map(row).collect())
}

/// All counters.
pub fn stats(view: &View<'_>) -> Result<Stats, Failure> {
    Ok(Stats {
        generation: view.core.generation(),
        verdicts: verdicts(view)?,
        vips: view
            .dataplane
            .vip_counters()?
            .into_iter()
            .map(|(vip, c)| VipCount { vip, packets: c.packets, bytes: c.bytes })
            .collect(),
        backends: view
            .dataplane
            .backend_counters()?
            .into_iter()
            .map(|(pool, address, c)| BackendCount { pool, address, packets: c.packets, bytes: c.bytes })
            .collect(),
        identity: None,
    })
}

/// All VIPs.
pub fn vips(view: &View<'_>) -> Result<Vips, Failure> {
    let counters: HashMap<VipKey, Counter> = view.dataplane.vip_counters()?.into_iter().collect();
    let vips = view.core.config().vips.iter().map(|v| {
        let count = counters.get(&v.key).copied().unwrap_or_default();
        VipRow {
            vip: v.key,
            pool: (!v.pool.is_empty()).then(|| v.pool.clone()),
            second_chance: v.second_chance,
            hash: v.hash.word().to_owned(),
            quic: v.quic,
            mss_clamp: v.mss_clamp,
            identity: v.identity.word().to_owned(),
            packets: count.packets,
            bytes: count.bytes,
        }
    });
    Ok(Vips { vips: vips.collect() })
}

/// All pools.
pub fn pools(view: &View<'_>) -> Result<Pools, Failure> {
    let config = view.core.config();
    let rows = config.pools.iter().map(|p| pool_row(view, config, p));
    Ok(Pools { pools: rows.collect::<Result<_, _>>()? })
}

/// One pool.
pub fn pool(view: &View<'_>, name: &str) -> Result<PoolDetail, Failure> {
    let config = view.core.config();
    let pool = config.pools.iter().find(|p| p.name == name).ok_or_else(|| {
        let known: Vec<&str> = config.pools.iter().map(|p| p.name.as_str()).collect();
        let hint = if known.is_empty() {
            "there are no pools".to_owned()
        } else {
            format!("known: {}", known.join(", "))
        };
        Failure::new(Code::NotFound, format!("there is no pool \"{name}\"")).hint(hint)
    })?;
    let counters = member_counters(view)?;
    Ok(PoolDetail { row: pool_row(view, config, pool)?, members: members(view, &counters, pool)? })
}

/// All PoPs.
pub fn pops(config: &Config) -> Pops {
    let home = config.pop.as_str();
    let row = |pop: &str| {
        let backends = || config.pools.iter().flat_map(|p| &p.backends).filter(|b| b.site(home) == pop);
        let rescues = |p: &&Pool| Sites::of(p, home, &config.drained_pops).rescue.contains(&pop);
        PopRow {
            pop: pop.to_owned(),
            own: pop == home,
            state: if config.drained_pops.iter().any(|d| d == pop) { "drained" } else { "active" }.to_owned(),
            backends: backends().count(),
            active: backends().filter(|b| b.state == BackendState::Active).count(),
            rescues: config.pools.iter().filter(rescues).count(),
        }
    };
    Pops { pops: config.pops().into_iter().map(row).collect() }
}

/// All backends.
pub fn backends(view: &View<'_>) -> Result<Backends, Failure> {
    let counters = member_counters(view)?;
    let mut backends = Vec::new();
    for pool in &view.core.config().pools {
        backends.extend(members(view, &counters, pool)?);
    }
    Ok(Backends { backends })
}

fn pool_row(view: &View<'_>, config: &Config, pool: &Pool) -> Result<PoolRow, Failure> {
    let now = Instant::now();
    let serves = |address| view.core.report(now, &pool.name, address).is_some_and(|r| r.serves());
    let owner = Sites::where_fit(pool, &config.pop, &config.drained_pops, serves).owner;
    let servable = view.core.servable(now, &pool.name);
    Ok(PoolRow {
        pool: pool.name.clone(),
        encapsulation: encapsulation_name(pool.encapsulation).to_owned(),
        table: table_name(pool.table).to_owned(),
        slots: pool.slots,
        vips: config.vips.iter().filter(|v| v.pool == pool.name).count(),
        backends: pool.backends.len(),
        active: candidates(pool, &config.pop, owner).iter().filter(|c| serves(c.identity)).count(),
        service: servable.map_or("down", |s| s.word()).to_owned(),
        minimum_healthy: pool.health.minimum,
        check: pool.health.check.as_ref().map(ToString::to_string),
        owners: view.dataplane.owners(&pool.name)?.fingerprint,
    })
}

type MemberCounters = HashMap<(String, IpAddr), Counter>;

fn member_counters(view: &View<'_>) -> Result<MemberCounters, Failure> {
    Ok(view.dataplane.backend_counters()?.into_iter().map(|(pool, b, c)| ((pool, b), c)).collect())
}

fn members(view: &View<'_>, counters: &MemberCounters, pool: &Pool) -> Result<Vec<BackendRow>, Failure> {
    let owners = view.dataplane.owners(&pool.name)?;
    let now = Instant::now();
    let row = |b: &Backend| {
        let report = view.core.report(now, &pool.name, b.address);
        let known = view.core.known(&pool.name, b.address);
        let count = counters.get(&(pool.name.clone(), b.address)).copied().unwrap_or_default();
        let owned_slots = owners.slots.get(&b.address).copied().unwrap_or(0);
        BackendRow {
            pool: pool.name.clone(),
            address: b.address,
            weight: b.weight,
            weight_in_force: report.map_or(b.weight, |r| r.weight),
            state: report.map_or(state_name(b.state), |r| r.state.name()).to_owned(),
            configured: state_name(b.state).to_owned(),
            seconds_left: report.and_then(|r| r.left).map(whole_seconds),
            health: report.map(|r| r.health).unwrap_or_default().name().to_owned(),
            health_by: known.and_then(Known::source).map(|by| by.name().to_owned()),
            health_seconds: known
                .and_then(Known::since)
                .map(|since| now.saturating_duration_since(since).as_secs()),
            last_failure: known.and_then(Known::reason).map(str::to_owned),
            remaining: report.and_then(|r| r.remaining),
            pop: b.pop.clone(),
            server_id: pool.quic.as_ref().and_then(|quic| quic.server_id(b.address)),
            owned_slots,
            share_ppm: share_ppm(owned_slots, pool.slots),
            packets: count.packets,
            bytes: count.bytes,
            next_hop: match view.core.resolution(b.address) {
                Some(Resolution::Resolved(hop)) => next_hop(hop),
                Some(Resolution::Unresolved(reason)) => NextHopStatus::Unresolved { reason: reason.clone() },
                Some(Resolution::Pending(reason)) => NextHopStatus::Pending { reason: reason.clone() },
                None => NextHopStatus::Pending { reason: NO_ANSWER.to_owned() },
            },
        }
    };
    Ok(pool.backends.iter().map(row).collect())
}

fn share_ppm(owned: u32, slots: u32) -> u32 {
    let ppm = u64::from(owned) * 1_000_000 / u64::from(slots.max(1));
    u32::try_from(ppm).unwrap_or(u32::MAX)
}

fn next_hop(hop: &NextHop) -> NextHopStatus {
    NextHopStatus::Resolved {
        interface: hop.interface.clone(),
        mac: mac_text(hop.destination_mac),
        mtu: hop.mtu,
    }
}

/// What a change did, as it travels.
pub fn changed(outcome: Outcome, dry_run: bool) -> Changed {
    let row = |d: crate::daemon::diff::Difference| ChangeRow {
        subject: d.subject.to_owned(),
        name: d.name,
        what: d.what.name().to_owned(),
        detail: d.detail,
    };
    Changed {
        generation: outcome.generation,
        dry_run,
        changes: outcome.differences.into_iter().map(row).collect(),
        files: outcome.files,
        warnings: outcome.warnings,
    }
}

/// The word of the configuration language.
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Ingress => "ingress",
        Role::Backend => "backend",
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Transmit => "transmit",
        Kind::Pass => "pass",
        Kind::Drop => "drop",
    }
}

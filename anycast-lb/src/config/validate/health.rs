//! Health checks: what they need of the host and of the VIPs.

use anycast_lb_health::probe::{Check, Prepared, Verify};

use super::Surroundings;
use crate::config::report::Report;
use crate::config::schema::{Draft, PoolDraft, VipDraft};
use crate::config::source::{MAIN, SourceFile, beside};
use crate::health::{Place, place};
use crate::model::{HealthCheck, PoolHealth, Via};

/// For an ingress node, which makes the checks.
pub(super) fn check(draft: &Draft, files: &[SourceFile], surroundings: &Surroundings, report: &Report<'_>) {
    for pool in &draft.pools {
        few(pool, report);
        let health = finished(pool, files);
        let Some(check) = &health.check else { continue };
        if !surroundings.certificates_read {
            makeable(pool, check, report);
        }
        reachable(pool, &draft.vips, check, report);
    }
}

/// The health of a pool with the whole path of its certificates.
pub(super) fn finished(pool: &PoolDraft, files: &[SourceFile]) -> PoolHealth {
    let mut health = pool.health.health.clone();
    if let Some(HealthCheck { check: Check::Http(http), .. }) = &mut health.check
        && let Some(Verify::Ca(ca)) = &mut http.tls
    {
        *ca = beside(&files[MAIN].path, ca);
    }
    health
}

fn few(pool: &PoolDraft, report: &Report<'_>) {
    let Some(spot) = pool.health.minimum else { return };
    let (wanted, there) = (usize::from(pool.health.health.minimum), pool.backends.len());
    if wanted > there {
        report.notice(
            spot,
            &format!("{} minimum_healthy", pool.path),
            format!("{wanted} healthy backends are never there: the pool has {there}"),
        );
    }
}

/// Files and users that a check names must be there. What the host itself may lack, its own certificate
/// authorities, shows as a failing check that says so.
fn makeable(pool: &PoolDraft, check: &HealthCheck, report: &Report<'_>) {
    let (key, spot) = match &check.check {
        Check::Http(http) if matches!(http.tls, Some(Verify::Ca(_))) => {
            ("ca", pool.health.ca.as_ref().map_or(pool.health.spot, |ca| ca.spot))
        }
        Check::Command(_) => ("command", pool.health.spot),
        _ => return,
    };
    if let Err(error) = Prepared::new(&check.check) {
        report.problem(
            spot,
            &format!("{}.{key}", pool.health.path),
            error.to_string(),
            "the checks of this pool could not be made",
        );
    }
}

fn reachable(pool: &PoolDraft, vips: &[VipDraft], check: &HealthCheck, report: &Report<'_>) {
    let of_pool = vips.iter().filter(|v| v.pool.as_ref().is_some_and(|name| name.value == pool.name));
    match place(check, of_pool.map(|v| v.key)) {
        Ok(_) => {}
        Err(Place::NoVip) if report.is_incomplete() => {}
        Err(Place::NoVip) => {
            let hint = match check.via {
                Via::Tunnel => "probes go to a VIP",
                Via::Direct => "no VIP tells the port, and there is no `port`",
            };
            report.notice(
                pool.health.spot,
                &pool.health.path,
                format!(
                    "its backends are not checked: no VIP of this pool takes {}, and {hint}",
                    check.check.word()
                ),
            );
        }
        Err(Place::NoPort) => report.problem(
            pool.health.spot,
            &format!("{}.port", pool.health.path),
            "is missing: the VIP of this pool takes every port",
            "write the port that is checked: port = 80",
        ),
    }
}

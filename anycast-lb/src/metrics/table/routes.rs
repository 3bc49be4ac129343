//! What validators and routers say of our prefixes.
//!
//! A stranger decides how many more-specific routes of ours he announces, and from where: neither is a label.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Kind, Metric, Roles, Samples, Value};
use crate::control::api::{HijackRow, RouterRow, ValidatorRow};
use crate::metrics::Facts;

const VALIDATOR: &[&str] = &["validator"];
const ORIGIN: &[&str] = &["prefix", "origin_as"];
const ROUTER: &[&str] = &["router"];

/// What validators may say together.
pub(in crate::metrics) const VERDICTS: &[&str] =
    &["valid", "not found", "invalid", "disagreement", "unknown"];
/// How bad an alarm may be.
pub(in crate::metrics) const SEVERITIES: &[&str] = &["error", "warning"];

pub(super) const METRICS: &[Metric] = &[
    of_validator(
        "anycast_lb_rpki_validator_up",
        "1 where an RPKI validator answers. Absent = that is not known yet.",
        |facts, out| validator(facts, out, |v| v.live.map(Value::from)),
    ),
    of_validator(
        "anycast_lb_rpki_validator_vrps",
        "Validated ROA payloads that a validator has. Absent = it has given none yet.",
        |facts, out| validator(facts, out, |v| v.vrps.map(Value::from)),
    ),
    of_validator("anycast_lb_rpki_validator_serial", "Serial number of a validator's data.", |facts, out| {
        validator(facts, out, |v| v.serial.map(Value::from));
    }),
    of_validator(
        "anycast_lb_rpki_validator_confirmed_age_seconds",
        "How long ago a validator confirmed its data.",
        |facts, out| validator(facts, out, |v| v.confirmed_seconds_ago.map(Value::from)),
    ),
    of_validator(
        "anycast_lb_rpki_validator_expires_seconds",
        "For how long a validator's data count without another word from it. Absent = it gave none, or they have expired.",
        |facts, out| validator(facts, out, |v| v.expires_in_seconds.map(Value::from)),
    ),
    Metric {
        name: "anycast_lb_rpki_prefix_verdict",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["prefix", "origin_as", "verdict"],
        help: "What the validators say together of a prefix and its origin: valid, not found, invalid, disagreement \
               or unknown. 1 for what holds.",
        read: |facts, out| {
            for p in &facts.rpki.prefixes {
                out.put_state(&[&p.prefix, &p.origin_as], VERDICTS, &p.verdict);
            }
        },
    },
    Metric {
        name: "anycast_lb_rpki_prefix_permitted",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: ORIGIN,
        help: "1 where RPKI lets a prefix be announced.",
        read: |facts, out| {
            for p in &facts.rpki.prefixes {
                out.put(&[&p.prefix, &p.origin_as], p.permitted);
            }
        },
    },
    Metric {
        name: "anycast_lb_rpki_prefix_withholding_seconds",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: ORIGIN,
        help: "How long until a prefix is withheld if nothing changes. Absent = it will not be.",
        read: |facts, out| {
            for p in &facts.rpki.prefixes {
                out.put_some(&[&p.prefix, &p.origin_as], p.withheld_in_seconds);
            }
        },
    },
    Metric {
        name: "anycast_lb_rpki_alarms",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["severity"],
        help: "What is wrong now by RPKI, by severity: error or warning. For what it is: anycast-lb rpki status.",
        read: |facts, out| {
            for severity in SEVERITIES {
                let alarms = facts.rpki.alarms.iter().filter(|a| a.severity == *severity);
                out.put(&[severity], alarms.count());
            }
        },
    },
    Metric {
        name: "anycast_lb_hijacks",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["prefix"],
        help: "Announcements from elsewhere of a prefix of ours or of parts of it, as routers tell by BMP. For what \
               they are: anycast-lb hijack list.",
        read: |facts, out| hijacks(facts, out, |_| 1),
    },
    Metric {
        name: "anycast_lb_hijack_sightings",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["prefix"],
        help: "In how many tables of routers such announcements are seen.",
        read: |facts, out| hijacks(facts, out, |h| h.seen),
    },
    Metric {
        name: "anycast_lb_bmp_listening",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &[],
        help: "1 where routers are listened to as [bmp] says. Absent = there is no [bmp].",
        read: |facts, out| {
            out.put_some(&[], facts.hijacks.listen.map(|_| facts.hijacks.problem.is_none()));
        },
    },
    Metric {
        name: "anycast_lb_bmp_routers",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &[],
        help: "BMP sessions of routers. Absent = there is no [bmp].",
        read: |facts, out| {
            out.put_some(&[], facts.hijacks.listen.map(|_| facts.hijacks.routers.len()));
        },
    },
    Metric {
        name: "anycast_lb_bmp_router_peers",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: ROUTER,
        help: "Peers of a router that are up.",
        read: |facts, out| routers(facts, out, |r| r.peers as u64),
    },
    Metric {
        name: "anycast_lb_bmp_router_unkept_routes_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: ROUTER,
        help: "Foreign routes that a router showed beyond those that are kept.",
        read: |facts, out| routers(facts, out, |r| r.unkept),
    },
    Metric {
        name: "anycast_lb_bmp_router_unread_updates_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: ROUTER,
        help: "UPDATEs of a router that could not be understood.",
        read: |facts, out| routers(facts, out, |r| r.unread),
    },
];

const fn of_validator(
    name: &'static str,
    help: &'static str,
    read: fn(&Facts, &mut Samples<'_, '_>),
) -> Metric {
    Metric { name, kind: Kind::Gauge, roles: Roles::Ingress, labels: VALIDATOR, help, read }
}

fn validator(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&ValidatorRow) -> Option<Value>) {
    for v in &facts.rpki.validators {
        out.put_some(&[&v.name], value(v));
    }
}

/// One sample for each prefix that is watched.
fn hijacks(facts: &Facts, out: &mut Samples<'_, '_>, weight: fn(&HijackRow) -> usize) {
    let mut sums: BTreeMap<IpNet, usize> = facts.hijacks.prefixes.iter().map(|p| (*p, 0)).collect();
    for hijack in &facts.hijacks.hijacks {
        *sums.entry(hijack.own_prefix).or_default() += weight(hijack);
    }
    for (prefix, sum) in sums {
        out.put(&[&prefix], sum);
    }
}

/// One sample for each router, however many sessions it has.
fn routers(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&RouterRow) -> u64) {
    let mut sums: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for router in &facts.hijacks.routers {
        *sums.entry(router.address).or_default() += value(router);
    }
    for (router, sum) in sums {
        out.put(&[&router], sum);
    }
}

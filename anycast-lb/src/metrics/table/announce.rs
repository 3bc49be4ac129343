//! What this node announces, and to whom.

use super::{Kind, Metric, Roles, Samples, Value};
use crate::control::api::NeighborRow;
use crate::metrics::Facts;

const NEIGHBOR: &[&str] = &["neighbor", "remote_as"];

/// States of the node's maintenance.
pub(in crate::metrics) const MAINTENANCE: &[&str] = &["in-service", "draining", "drained"];
/// States of a prefix.
pub(in crate::metrics) const PREFIX: &[&str] = &["announced", "draining", "withdrawn"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "anycast_lb_node_maintenance",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["state"],
        help: "Maintenance of this node: in-service, draining or drained. 1 for what holds.",
        read: |facts, out| out.put_state(&[], MAINTENANCE, &facts.bgp.maintenance),
    },
    Metric {
        name: "anycast_lb_node_drain_seconds",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &[],
        help: "How long until a draining node withdraws its routes. Absent = it is not draining.",
        read: |facts, out| out.put_some(&[], facts.bgp.seconds_left),
    },
    Metric {
        name: "anycast_lb_prefix_state",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["prefix", "method", "state"],
        help: "What this node does about a prefix: announced, draining (announced with the marks of a drain) or \
               withdrawn. 1 for what holds. For the reason: anycast-lb bgp status.",
        read: |facts, out| {
            for p in &facts.bgp.prefixes {
                out.put_state(&[&p.prefix, &p.method], PREFIX, &p.state);
            }
        },
    },
    gauge(
        "anycast_lb_bgp_session_up",
        "1 where the session with a BGP neighbour is established.",
        |facts, out| {
            neighbor(facts, out, |n| Some((n.state == "Established").into()));
        },
    ),
    gauge(
        "anycast_lb_bgp_session_state_seconds",
        "For how long a session has been in the state that it is in.",
        |facts, out| neighbor(facts, out, |n| n.since_seconds.map(Value::from)),
    ),
    counter(
        "anycast_lb_bgp_sessions_established_total",
        "How many times a session was established since the daemon started.",
        |facts, out| neighbor(facts, out, |n| Some(n.established.into())),
    ),
    gauge(
        "anycast_lb_bgp_hold_time_seconds",
        "The hold time in force of a session. Absent = there is no session.",
        |facts, out| neighbor(facts, out, |n| n.hold_time.map(|t| u64::from(t).into())),
    ),
    gauge("anycast_lb_bgp_announced_prefixes", "Prefixes that a neighbour was told.", |facts, out| {
        neighbor(facts, out, |n| Some(n.announced.len().into()));
    }),
    gauge(
        "anycast_lb_bgp_unannounced_prefixes",
        "Prefixes that a neighbour should be told and cannot be, because of the session's families or next hop.",
        |facts, out| neighbor(facts, out, |n| Some(n.unannounced.len().into())),
    ),
    counter(
        "anycast_lb_bgp_skipped_updates_total",
        "UPDATEs of a neighbour, none of which is looked at.",
        |facts, out| neighbor(facts, out, |n| Some(n.skipped_updates.into())),
    ),
    Metric {
        name: "anycast_lb_outlet_done",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["method"],
        help: "1 where another outlet of announcements (bird, exabgp or command) has done all that it was told.",
        read: |facts, out| {
            for o in &facts.bgp.outlets {
                out.put(&[&o.method], o.done);
            }
        },
    },
];

const fn gauge(name: &'static str, help: &'static str, read: fn(&Facts, &mut Samples<'_, '_>)) -> Metric {
    Metric { name, kind: Kind::Gauge, roles: Roles::Ingress, labels: NEIGHBOR, help, read }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Facts, &mut Samples<'_, '_>)) -> Metric {
    Metric { name, kind: Kind::Counter, roles: Roles::Ingress, labels: NEIGHBOR, help, read }
}

fn neighbor(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&NeighborRow) -> Option<Value>) {
    for n in &facts.bgp.neighbors {
        out.put_some(&[&n.neighbor, &n.remote_as], value(n));
    }
}

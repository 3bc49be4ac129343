//! Pools, their tables and their backends.

use super::{Kind, Metric, Roles, Samples, Value};
use crate::control::api::{BackendRow, NextHopStatus, PoolRow};
use crate::metrics::Facts;

const POOL: &[&str] = &["pool"];
const BACKEND: &[&str] = &["pool", "backend", "pop"];

/// States of a pool's service.
pub(in crate::metrics) const SERVICES: &[&str] = &["healthy", "kept", "down"];
/// States in force of a backend.
pub(in crate::metrics) const STATES: &[&str] = &["filling", "active", "draining", "gone"];
/// What is known of a backend's health.
pub(in crate::metrics) const HEALTH: &[&str] = &["up", "down", "unknown"];

pub(super) const METRICS: &[Metric] = &[
    of_pool("anycast_lb_pool_vips", "VIPs that lead to a pool.", |facts, out| {
        pool(facts, out, |p| p.vips.into());
    }),
    of_pool("anycast_lb_pool_backends", "Backends in a pool, of whatever state.", |facts, out| {
        pool(facts, out, |p| p.backends.into());
    }),
    of_pool(
        "anycast_lb_pool_active_backends",
        "Backends of a pool that take new flows of this node.",
        |facts, out| {
            pool(facts, out, |p| p.active.into());
        },
    ),
    of_pool(
        "anycast_lb_pool_minimum_healthy",
        "How many healthy backends a pool needs (minimum_healthy).",
        |facts, out| pool(facts, out, |p| u64::from(p.minimum_healthy).into()),
    ),
    of_pool("anycast_lb_pool_slots", "Slots of a pool's table.", |facts, out| {
        pool(facts, out, |p| p.slots.into());
    }),
    Metric {
        name: "anycast_lb_pool_service",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["pool", "service"],
        help: "Whether a pool can be served: healthy, kept (too few backends are healthy, and all_down = \
               keep_serving) or down. 1 for what holds.",
        read: |facts, out| {
            for p in &facts.pools {
                out.put_state(&[&p.pool], SERVICES, &p.service);
            }
        },
    },
    Metric {
        name: "anycast_lb_pool_owners_info",
        kind: Kind::Info,
        roles: Roles::Ingress,
        labels: &["pool", "pop", "owners"],
        help: "Fingerprint of who owns the slots of a pool's table. Nodes of one PoP that differ send new flows to \
               different backends.",
        read: |facts, out| {
            for t in &facts.tables {
                out.put(&[&t.pool, &facts.status.pop, &t.owners], true);
            }
        },
    },
    Metric {
        name: "anycast_lb_pool_hops_info",
        kind: Kind::Info,
        roles: Roles::Ingress,
        labels: &["pool", "pop", "hops"],
        help: "Fingerprint of whom the slots of a pool's table list after the owner. It may differ between nodes \
               that remember different things.",
        read: |facts, out| {
            for t in &facts.tables {
                out.put(&[&t.pool, &facts.status.pop, &t.hops], true);
            }
        },
    },
    Metric {
        name: "anycast_lb_backend_state",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["pool", "backend", "pop", "state"],
        help: "State in force of a backend: filling, active, draining or gone. 1 for what holds.",
        read: |facts, out| {
            for b in &facts.backends {
                out.put_state(&[&b.pool, &b.address, &facts.pop(b)], STATES, &b.state);
            }
        },
    },
    Metric {
        name: "anycast_lb_backend_health",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &["pool", "backend", "pop", "health"],
        help: "What is known of a backend's health: up, down or unknown. 1 for what holds. For the reason: anycast-lb \
               backend list.",
        read: |facts, out| {
            for b in &facts.backends {
                out.put_state(&[&b.pool, &b.address, &facts.pop(b)], HEALTH, &b.health);
            }
        },
    },
    of_backend(
        "anycast_lb_backend_health_by_hand",
        "1 where somebody said by command how a backend is, which counts more than its checks.",
        |facts, out| backend(facts, out, |b| Some((b.health_by.as_deref() == Some("hand")).into())),
    ),
    of_backend(
        "anycast_lb_backend_health_seconds",
        "For how long a backend's health has been what it is. Absent = since the daemon started.",
        |facts, out| backend(facts, out, |b| b.health_seconds.map(Value::from)),
    ),
    of_backend("anycast_lb_backend_weight", "Configured weight of a backend.", |facts, out| {
        backend(facts, out, |b| Some(b.weight.into()));
    }),
    of_backend(
        "anycast_lb_backend_weight_in_force",
        "Weight in force of a backend: while a raised one waits, the old one.",
        |facts, out| backend(facts, out, |b| Some(b.weight_in_force.into())),
    ),
    of_backend(
        "anycast_lb_backend_owned_slots",
        "Slots of the pool's table that a backend owns: its share of new flows is this by anycast_lb_pool_slots.",
        |facts, out| backend(facts, out, |b| Some(b.owned_slots.into())),
    ),
    of_backend(
        "anycast_lb_backend_remaining_flows",
        "Flows that a draining backend still has. Absent = it is not draining, or could not be asked.",
        |facts, out| backend(facts, out, |b| b.remaining.map(Value::from)),
    ),
    of_backend(
        "anycast_lb_backend_transition_seconds",
        "How long until time ends a backend's filling or draining, or puts its weight in force. Absent = nothing waits.",
        |facts, out| backend(facts, out, |b| b.seconds_left.map(Value::from)),
    ),
    of_backend(
        "anycast_lb_backend_next_hop_resolved",
        "1 where the way to a backend is known; without one its packets are dropped as no_neighbour.",
        |facts, out| {
            backend(facts, out, |b| Some(matches!(b.next_hop, NextHopStatus::Resolved { .. }).into()));
        },
    ),
];

const fn of_pool(name: &'static str, help: &'static str, read: fn(&Facts, &mut Samples<'_, '_>)) -> Metric {
    Metric { name, kind: Kind::Gauge, roles: Roles::Ingress, labels: POOL, help, read }
}

const fn of_backend(
    name: &'static str,
    help: &'static str,
    read: fn(&Facts, &mut Samples<'_, '_>),
) -> Metric {
    Metric { name, kind: Kind::Gauge, roles: Roles::Ingress, labels: BACKEND, help, read }
}

fn pool(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&PoolRow) -> Value) {
    for p in &facts.pools {
        out.put(&[&p.pool], value(p));
    }
}

fn backend(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&BackendRow) -> Option<Value>) {
    for b in &facts.backends {
        out.put_some(&[&b.pool, &b.address, &facts.pop(b)], value(b));
    }
}

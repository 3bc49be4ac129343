//! The other ingress nodes, as this one sees them.

use super::{Kind, Metric, Roles, Samples, Value};
use crate::control::api::PeerRow;
use crate::metrics::Facts;

pub(super) const METRICS: &[Metric] = &[
    of_peer(
        "anycast_lb_peer_reachable",
        "1 where another ingress node answered when it was last asked. Absent = it was never asked.",
        |facts, out| peer(facts, out, |p| p.reachable.map(Value::from)),
    ),
    of_peer(
        "anycast_lb_peer_agrees",
        "1 where another ingress node placed new flows as this one does when it last answered. Absent = not known.",
        |facts, out| peer(facts, out, |p| p.agrees.map(Value::from)),
    ),
    of_peer(
        "anycast_lb_peer_answer_age_seconds",
        "How long ago another ingress node last answered.",
        |facts, out| {
            peer(facts, out, |p| p.seen_seconds_ago.map(Value::from));
        },
    ),
    of_peer(
        "anycast_lb_peer_generation",
        "Generation of another ingress node when it last answered.",
        |facts, out| {
            peer(facts, out, |p| p.generation.map(Value::from));
        },
    ),
];

const fn of_peer(name: &'static str, help: &'static str, read: fn(&Facts, &mut Samples<'_, '_>)) -> Metric {
    Metric { name, kind: Kind::Gauge, roles: Roles::Ingress, labels: &["peer", "peer_pop"], help, read }
}

fn peer(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&PeerRow) -> Option<Value>) {
    for p in &facts.peers {
        out.put_some(&[&p.node, &p.pop], value(p));
    }
}

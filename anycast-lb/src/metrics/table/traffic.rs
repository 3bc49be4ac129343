//! Packets and bytes.

use super::{Kind, Metric, Roles};
use crate::control::api::BackendRow;
use crate::metrics::Facts;
use crate::metrics::table::Samples;

const VERDICT: &[&str] = &["program", "verdict", "kind"];
const VIP: &[&str] = &["vip", "pool"];
const BACKEND: &[&str] = &["pool", "backend", "pop"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "anycast_lb_verdict_packets_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: VERDICT,
        help: "Frames by the way they left the node's XDP program, ingress or backend; kind is transmit, pass or \
               drop. The sum over all verdicts is all that reached the program.",
        read: |facts, out| {
            for v in &facts.verdicts {
                out.put(&[&facts.program, &v.verdict, &v.kind], v.packets);
            }
        },
    },
    Metric {
        name: "anycast_lb_verdict_bytes_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: VERDICT,
        help: "The same in bytes of the frames as they arrived.",
        read: |facts, out| {
            for v in &facts.verdicts {
                out.put(&[&facts.program, &v.verdict, &v.kind], v.bytes);
            }
        },
    },
    Metric {
        name: "anycast_lb_vip_packets_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: VIP,
        help: "Frames that matched a VIP, as in 203.0.113.1:443/tcp, whatever became of them. Echo requests match none.",
        read: |facts, out| {
            for v in &facts.vips {
                out.put(&[&v.vip, &v.pool.as_deref().unwrap_or_default()], v.packets);
            }
        },
    },
    Metric {
        name: "anycast_lb_vip_bytes_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: VIP,
        help: "The same in bytes of the frames as they arrived.",
        read: |facts, out| {
            for v in &facts.vips {
                out.put(&[&v.vip, &v.pool.as_deref().unwrap_or_default()], v.bytes);
            }
        },
    },
    Metric {
        name: "anycast_lb_backend_packets_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: BACKEND,
        help: "Frames that were sent to a backend, or would have been, had they fitted or the way been known.",
        read: |facts, out| each(facts, out, |b| b.packets),
    },
    Metric {
        name: "anycast_lb_backend_bytes_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: BACKEND,
        help: "The same in bytes of the frames as they arrived.",
        read: |facts, out| each(facts, out, |b| b.bytes),
    },
];

fn each(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&BackendRow) -> u64) {
    for b in &facts.backends {
        out.put(&[&b.pool, &b.address, &facts.pop(b)], value(b));
    }
}

//! The node and its daemon.

use super::{Kind, Metric, Roles, Samples};
use crate::metrics::Facts;

/// How bad a finding may be.
pub(in crate::metrics) const SEVERITIES: &[&str] = &["error", "warning", "info"];
/// How the program may be attached.
const MODES: &[&str] = &["native", "generic"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "anycast_lb_node_info",
        kind: Kind::Info,
        roles: Roles::Both,
        labels: &["node", "pop", "role", "lb_instance", "version", "abi", "placement", "seed"],
        help: "Who this node is: its names, release, versions of map bytes and of placement, and on an ingress node \
               the fingerprint of its hash seed.",
        read: |facts, out| {
            let s = &facts.status;
            let seed = s.seed_fingerprint.as_deref().unwrap_or_default();
            out.put(&[&s.node, &s.pop, &s.role, &s.instance, &s.version, &s.abi, &s.placement, &seed], true);
        },
    },
    gauge("anycast_lb_uptime_seconds", "How long ago the daemon started.", |facts, out| {
        out.put(&[], facts.status.uptime_seconds);
    }),
    gauge(
        "anycast_lb_start_time_seconds",
        "When the daemon started, in seconds since 1970.",
        |facts, out| {
            out.put(&[], facts.started);
        },
    ),
    gauge(
        "anycast_lb_adopted",
        "1 where the daemon found the data plane pinned and went on with it, 0 where it made a new one.",
        |facts, out| out.put(&[], facts.status.start == "adopted"),
    ),
    gauge(
        "anycast_lb_config_generation",
        "Accepted changes of the configuration since the daemon started, from 1.",
        |facts, out| out.put(&[], facts.status.generation),
    ),
    gauge(
        "anycast_lb_config_notices",
        "Settings without effect and the like. For what they are: anycast-lb status.",
        |facts, out| out.put(&[], facts.status.notices.len()),
    ),
    Metric {
        name: "anycast_lb_config_changes_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: &["change", "result"],
        help: "Changes of the configuration by command or by reload, accepted or refused, since the daemon started.",
        read: |facts, out| {
            for (change, ended) in [("command", facts.changes.commands), ("reload", facts.changes.reloads)] {
                out.put(&[&change, &"accepted"], ended.accepted);
                out.put(&[&change, &"refused"], ended.refused);
            }
        },
    },
    gauge(
        "anycast_lb_config_last_reload_successful",
        "0 where the files were last read in vain: the configuration in force is an older one. The start counts as \
         a success.",
        |facts, out| out.put(&[], !facts.changes.last_reload_refused),
    ),
    gauge(
        "anycast_lb_config_last_reload_success_timestamp_seconds",
        "When the files were last read with success, in seconds since 1970.",
        |facts, out| out.put_some(&[], facts.changes.last_reload),
    ),
    Metric {
        name: "anycast_lb_host_findings",
        kind: Kind::Gauge,
        roles: Roles::Both,
        labels: &["severity"],
        help: "What on this host does not fit the configuration, by severity: error, warning or info. For what it \
               is: anycast-lb check --host.",
        read: |facts, out| {
            for severity in SEVERITIES {
                out.put(&[severity], facts.findings.iter().filter(|f| f.severity == *severity).count());
            }
        },
    },
    Metric {
        name: "anycast_lb_interface_attached",
        kind: Kind::Gauge,
        roles: Roles::Both,
        labels: &["interface", "mode"],
        help: "How the program is attached to an interface: native or generic. 1 for what holds, none if it is gone.",
        read: |facts, out| {
            for i in &facts.status.interfaces {
                out.put_state(&[&i.interface], MODES, i.mode.as_deref().unwrap_or_default());
            }
        },
    },
    Metric {
        name: "anycast_lb_unresolved_next_hops",
        kind: Kind::Gauge,
        roles: Roles::Ingress,
        labels: &[],
        help: "Backends that cannot be reached, each counted once: no route, or no answer of the neighbour.",
        read: |facts, out| out.put(&[], facts.status.unresolved.len()),
    },
    Metric {
        name: "anycast_lb_map_used_entries",
        kind: Kind::Gauge,
        roles: Roles::Both,
        labels: &["table"],
        help: "Places that are taken in a table of the maps: vips, pools, members (backends in every pool), \
               addresses, services, prefixes, slots (64-bit words of the pools' tables).",
        read: |facts, out| {
            for o in &facts.occupancy {
                out.put(&[&o.table], o.used);
            }
        },
    },
    Metric {
        name: "anycast_lb_map_max_entries",
        kind: Kind::Gauge,
        roles: Roles::Both,
        labels: &["table"],
        help: "Places that there are in a table of the maps.",
        read: |facts, out| {
            for o in &facts.occupancy {
                out.put(&[&o.table], o.capacity);
            }
        },
    },
];

const fn gauge(name: &'static str, help: &'static str, read: fn(&Facts, &mut Samples<'_, '_>)) -> Metric {
    Metric { name, kind: Kind::Gauge, roles: Roles::Both, labels: &[], help, read }
}

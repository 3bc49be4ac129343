//! The daemon's process, by the names that Prometheus' own client libraries use.

use super::{Kind, Metric, Roles, Samples, Value};
use crate::metrics::Facts;
use crate::metrics::process::Process;

pub(super) const METRICS: &[Metric] = &[
    row(
        "process_cpu_seconds_total",
        Kind::Counter,
        "CPU time of the daemon, user and system.",
        |facts, out| {
            put(facts, out, |p| Some(p.cpu_seconds.into()));
        },
    ),
    row(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory of the daemon, mapped tables included.",
        |facts, out| {
            put(facts, out, |p| Some(p.resident_bytes.into()));
        },
    ),
    row("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory of the daemon.", |facts, out| {
        put(facts, out, |p| Some(p.virtual_bytes.into()));
    }),
    row("process_threads", Kind::Gauge, "Threads of the daemon.", |facts, out| {
        put(facts, out, |p| Some(p.threads.into()));
    }),
    row("process_open_fds", Kind::Gauge, "File descriptors that the daemon has open.", |facts, out| {
        put(facts, out, |p| Some(p.open_files.into()));
    }),
    row(
        "process_max_fds",
        Kind::Gauge,
        "File descriptors that it may have open. Absent = no limit.",
        |facts, out| {
            put(facts, out, |p| p.most_files.map(Value::from));
        },
    ),
    row(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process started, in seconds since 1970.",
        |facts, out| {
            put(facts, out, |p| Some(p.started.into()));
        },
    ),
];

const fn row(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&Facts, &mut Samples<'_, '_>),
) -> Metric {
    Metric { name, kind, roles: Roles::Both, labels: &[], help, read }
}

fn put(facts: &Facts, out: &mut Samples<'_, '_>, value: fn(&Process) -> Option<Value>) {
    out.put_some(&[], facts.process.as_ref().and_then(value));
}

//! What the programs report of packets, and what becomes of it: flow log, watches and captures, identity.

use super::{Kind, Metric, Roles};

const STREAM: &[&str] = &["stream", "outcome"];
const OUTCOME: &[&str] = &["outcome"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "anycast_lb_report_records_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: STREAM,
        help: "Records that the node's program had for the daemon since it started; stream is flows (the flow log), packets \
               (watches and captures) or questions (identity). outcome: written, limited (beyond the limit) or lost \
               (nobody read in time). A packet never waits for its record.",
        read: |facts, out| {
            let observed = &facts.observed;
            let streams =
                [("flows", observed.flows), ("packets", observed.packets), ("questions", observed.questions)];
            for (stream, written) in streams {
                out.put(&[&stream, &"written"], written.records);
                out.put(&[&stream, &"limited"], written.limited);
                out.put(&[&stream, &"lost"], written.lost);
            }
        },
    },
    Metric {
        name: "anycast_lb_report_records_dropped_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: &[],
        help: "Records of flows, and questions, that the daemon read and had no room for.",
        read: |facts, out| out.put(&[], facts.unread),
    },
    Metric {
        name: "anycast_lb_flow_log_records_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: OUTCOME,
        help: "Records of the flow log; outcome: written (to files), dropped (the disk was too slow), failed (a file \
               could not be written) or exported (sent to the IPFIX collector, too).",
        read: |facts, out| {
            let counts = &facts.flow_log;
            out.put(&[&"written"], counts.written);
            out.put(&[&"dropped"], counts.dropped);
            out.put(&[&"failed"], counts.failed);
            out.put(&[&"exported"], counts.exported);
        },
    },
    Metric {
        name: "anycast_lb_flow_log_errors_total",
        kind: Kind::Counter,
        roles: Roles::Both,
        labels: &["what"],
        help: "What went wrong with the flow log; what is write (a write to a file) or export (a message to the collector that could not be sent, or a record while there is no way there).",
        read: |facts, out| {
            out.put(&[&"write"], facts.flow_log.errors);
            out.put(&[&"export"], facts.flow_log.export_errors);
        },
    },
    Metric {
        name: "anycast_lb_identity_questions_total",
        kind: Kind::Counter,
        roles: Roles::Ingress,
        labels: OUTCOME,
        help: "Questions for the node's name that the daemon took; outcome: answered, odd (no question, or from where \
               nobody can have asked), limited (beyond the limit) or unsent (the answer could not be sent).",
        read: |facts, out| {
            let counted = &facts.identity;
            out.put(&[&"answered"], counted.answered);
            out.put(&[&"odd"], counted.odd);
            out.put(&[&"limited"], counted.limited);
            out.put(&[&"unsent"], counted.unsent);
        },
    },
];

//! Where flows go.

use std::net::IpAddr;

use anycast_lb_common::abi::Encap;

use super::kind_name;
use crate::control::api::{FlowSpec, FrameWay, OuterHeader, ThenRow, TraceRow, Traces};
use crate::daemon::diff::encapsulation_name;
use crate::daemon::run::View;
use crate::daemon::{Code, Failure};
use crate::dataplane::{Flow, Trace, Way};
use crate::frame::mac_text;
use crate::model::{Config, Encapsulation, Protocol, Role};
use crate::neighbour::Resolution;

/// Where each flow goes.
pub fn trace(view: &mut View<'_>, flows: Vec<FlowSpec>) -> Result<Traces, Failure> {
    refuse_backend(view.core.config())?;
    let traces = flows.into_iter().map(|flow| trace_one(view, flow));
    Ok(Traces { traces: traces.collect::<Result<_, _>>()?, then: None })
}

/// Only an ingress node decides where flows go.
pub fn refuse_backend(config: &Config) -> Result<(), Failure> {
    if config.role == Role::Backend {
        return Err(Failure::new(
            Code::InvalidRequest,
            "this node is a backend: it does not choose where flows go",
        )
        .hint("ask an ingress node; all that share the seed and the pools give the same answer"));
    }
    Ok(())
}

/// Where each flow went at a time: `traces` are the decisions, in the order of `flows`.
pub fn traced_then(view: &View<'_>, flows: Vec<FlowSpec>, traces: Vec<Trace>, then: ThenRow) -> Traces {
    let rows = flows.into_iter().zip(traces).map(|(spec, trace)| row(view, spec, trace));
    Traces { traces: rows.collect(), then: Some(then) }
}

fn trace_one(view: &mut View<'_>, spec: FlowSpec) -> Result<TraceRow, Failure> {
    let trace = view.dataplane.trace(&flow(&spec)?)?;
    Ok(row(view, spec, trace))
}

/// The flow that is asked about.
pub fn flow(spec: &FlowSpec) -> Result<Flow, Failure> {
    let protocol: Protocol = spec.protocol.parse().ok().filter(|p| *p != Protocol::Any).ok_or_else(|| {
        Failure::new(Code::InvalidRequest, format!("protocol \"{}\" cannot be traced", spec.protocol))
            .hint("tcp or udp")
    })?;
    if spec.source.is_ipv4() != spec.destination.is_ipv4() {
        return Err(Failure::new(
            Code::InvalidRequest,
            format!("{} and {} are of different families", spec.source, spec.destination),
        )
        .hint("a packet has two IPv4 addresses or two IPv6 addresses"));
    }
    Ok(Flow { protocol, source: spec.source, destination: spec.destination })
}

fn row(view: &View<'_>, spec: FlowSpec, trace: Trace) -> TraceRow {
    TraceRow {
        flow: spec,
        verdict: trace.verdict.name().to_owned(),
        explanation: trace.verdict.explanation().to_owned(),
        kind: kind_name(trace.verdict.kind()).to_owned(),
        vip: trace.vip,
        pool: trace.pool,
        slot: trace.slot,
        backend: trace.backend,
        encapsulation: trace.encapsulation.map(|encap| carried_by(encap).to_owned()),
        outer: trace.outer.map(|outer| OuterHeader {
            source: outer.source,
            destination: outer.destination,
            source_port: outer.source_port,
        }),
        next_hop: trace.next_hop.map(|way| frame_way(view, trace.backend, &way)),
    }
}

pub(super) fn frame_way(view: &View<'_>, backend: Option<IpAddr>, way: &Way) -> FrameWay {
    let known = match backend.and_then(|b| view.core.resolution(b)) {
        Some(Resolution::Resolved(hop)) if hop.ifindex == way.ifindex => Some(hop.interface.clone()),
        _ => None,
    };
    FrameWay {
        interface: known.unwrap_or_else(|| format!("#{}", way.ifindex)),
        ifindex: way.ifindex,
        source_mac: mac_text(way.source_mac),
        mac: mac_text(way.destination_mac),
        mtu: way.mtu,
    }
}

/// The word of the configuration language.
pub(super) const fn carried_by(encap: Encap) -> &'static str {
    encapsulation_name(match encap {
        Encap::L2 => Encapsulation::L2,
        Encap::Ipip4 | Encap::Ipip6 => Encapsulation::Ipip,
        Encap::Gue4 | Encap::Gue6 => Encapsulation::Gue,
    })
}

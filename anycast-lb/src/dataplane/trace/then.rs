//! The same question about tables that were in force once.

use anycast_lb_common::abi::{Encap, MemberFlags};
use anycast_lb_kept::Decider;

use super::{Flow, Trace, outer, packet, way};
use crate::dataplane::DataplaneError;

/// What became of the first packet of `flow` when the snapshot of `decider` was in force.
///
/// # Errors
/// Its addresses are of two families.
pub fn then(decider: &Decider<'_>, flow: &Flow) -> Result<Trace, DataplaneError> {
    let frame = packet::first_of(flow)
        .ok_or(DataplaneError::Trace("source and destination are of different families"))?;
    let protocol = packet::protocol(flow.protocol);
    let decision = decider.decide(&frame, protocol, flow.source, flow.destination);
    let member = decision.member;
    Ok(Trace {
        verdict: decision.verdict,
        vip: decision.vip.as_ref().and_then(|vip| vip.parse().ok()),
        slot: decision.slot,
        backend: decision.backend(),
        encapsulation: member.and_then(|member| Encap::from_number(member.encap)),
        next_hop: member
            .filter(|member| member.flags & MemberFlags::RESOLVED != 0)
            .map(|member| way(&member)),
        outer: member.and_then(|member| outer(decision.verdict, &member, &decision.frame)),
        pool: decision.pool,
    })
}

//! Answers "what becomes of this very packet?".
//!
//! The second load that answers for flows runs the frame. It shares only the tables, which it reads. What
//! programs write, counters, the memory for fragments and the state of limits, is its own: a packet that
//! is explained leaves no trace, and the live ones leave none in what is explained.

use std::net::{IpAddr, SocketAddr};

use anycast_lb_common::abi::{Encap, MemberNumber, Verdict, VipNumber};
use anycast_lb_common::wire::transport::{TCP, UDP};

use super::trace::{Candidates, Tracer};
use super::{Dataplane, DataplaneError, Flow, Way};
use crate::frame::{Dissected, Ip, dissect};
use crate::model::{Protocol, VipKey};

/// Bytes of a frame that the kernel's test run takes: those of an Ethernet header at least, and what a page
/// holds beside the room in front (`XDP_PACKET_HEADROOM`) and what the kernel keeps behind.
pub const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=4096 - 256 - 320;

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The way out.
    pub verdict: Verdict,
    /// The VIP that takes it.
    pub vip: Option<VipKey>,
    /// Its pool.
    pub pool: Option<String>,
    /// The slot of the pool's table; none if more than the 5-tuple decided.
    pub slot: Option<u32>,
    /// The backend it goes to, or would go to.
    pub backend: Option<IpAddr>,
    /// How packets get to it.
    pub encapsulation: Option<Encap>,
    /// The way to it; none if it is not resolved.
    pub next_hop: Option<Way>,
    /// The frame as the program left it.
    pub output: Vec<u8>,
}

impl Dataplane {
    /// What would become of each of `frames`, had the first interface received them in this order.
    /// Touches neither live counters, nor what is remembered of live packets. Fragments belong to first
    /// ones among `frames`, or, where they `continue` the last question, among those of that.
    ///
    /// # Errors
    ///
    /// A frame's length is not among [`FRAME_BYTES`]; the second load fails.
    pub fn explain(&mut self, frames: &[Vec<u8>], continues: bool) -> Result<Vec<Explained>, DataplaneError> {
        let mut tracer = match self.tracer.take() {
            Some(tracer) => tracer,
            None => Tracer::load(&self.layout, self.program)?,
        };
        if !continues {
            tracer.forget()?;
        }
        let explained = frames.iter().map(|frame| self.explain_one(&mut tracer, frame)).collect();
        // After a failure its counters are anywhere: the next question loads it anew.
        self.tracer = Some(tracer).filter(|_| Result::is_ok(&explained));
        explained
    }

    fn explain_one(&self, tracer: &mut Tracer, frame: &[u8]) -> Result<Explained, DataplaneError> {
        if !FRAME_BYTES.contains(&frame.len()) {
            return Err(DataplaneError::Trace("the kernel's test run takes no frame of this length"));
        }
        let read = dissect(frame);
        let destination = read.ip.map(|ip| ip.destination);
        let vips: Vec<VipNumber> = self
            .names
            .vips
            .iter()
            .filter(|(_, key, _)| Some(key.address) == destination)
            .map(|(number, ..)| *number)
            .collect();
        let members = |vip: VipNumber| self.members_of(vip);
        let candidates = Candidates { vips: &vips, members: &members };
        let flow = plain_flow(&read);
        let ran = tracer.run(&self.tables, frame, self.received_by(), flow.as_ref(), &candidates)?;
        let vip = self.names.vips.iter().find(|(number, ..)| *number == ran.vip && ran.vip != 0);
        let member = self.names.members.iter().find(|m| m.number == ran.member && ran.member != 0);
        Ok(Explained {
            verdict: ran.verdict,
            vip: vip.map(|(_, key, _)| *key),
            pool: vip.and_then(|(_, _, pool)| self.names.pools.get(pool).cloned()),
            slot: ran.slot,
            backend: member.map(|m| m.address),
            encapsulation: member.map(|m| m.encap),
            next_hop: ran.way,
            output: ran.output,
        })
    }

    /// The interface that is taken to have received what is explained; 0 where none is attached.
    fn received_by(&self) -> u32 {
        let mut attachments = self.attached.iter().map(super::Attached::state);
        attachments.find(|a| a.mode.is_some()).map_or(0, |a| a.ifindex)
    }

    fn members_of(&self, vip: VipNumber) -> Vec<MemberNumber> {
        let pool = self.names.vips.iter().find(|(number, ..)| *number == vip).map(|(_, _, pool)| pool);
        let Some(name) = pool.and_then(|pool| self.names.pools.get(pool)) else { return Vec::new() };
        self.names.members.iter().filter(|m| m.pool == *name).map(|m| m.number).collect()
    }
}

/// The flow of a packet that its own ports place, and nothing else.
fn plain_flow(read: &Dissected) -> Option<Flow> {
    let Ip { source, destination, protocol, ports, fragment } = read.ip?;
    let protocol = match protocol {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        _ => return None,
    };
    let (from, to) = ports.filter(|_| !fragment)?;
    Some(Flow {
        protocol,
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

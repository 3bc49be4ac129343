//! What the observed programs report: records in ring buffers, and who asks for which.

use bytemuck::{Pod, Zeroable};

use super::{MemberNumber, Verdict, VipNumber};

/// Why a packet is reported; bits of [`Event::reasons`].
pub struct Reasons;

impl Reasons {
    /// TCP: the packet opens its flow (SYN without ACK).
    pub const BEGIN: u32 = 1;
    /// TCP: the packet ends its flow (FIN or RST).
    pub const END: u32 = 1 << 1;
    /// The backend sent it on to the next one of its list.
    pub const HOP: u32 = 1 << 2;
    /// One of so many of the rest.
    pub const SAMPLE: u32 = 1 << 3;
    /// All that the flow log asks for.
    pub const FLOW_LOG: u32 = Self::BEGIN | Self::END | Self::HOP | Self::SAMPLE;
    /// The first filter wants it; the bits of the others follow.
    pub const FILTER: u32 = 1 << 8;
    /// All filters.
    pub const FILTERS: u32 = ((1 << MAX_FILTERS) - 1) * Self::FILTER;
}

/// Filters of `watch` and `capture` that may be in force at once.
pub const MAX_FILTERS: usize = 4;
/// Bytes of a packet that are kept at most, before and after the decision each.
pub const MAX_SNAP: usize = 1024;
/// Bytes of the ring of the flow log.
pub const FLOW_RING: u32 = 1 << 20;
/// Bytes of the ring of `watch` and `capture`.
pub const PACKET_RING: u32 = 1 << 21;
/// Bytes of the ring of questions for the name of the node.
pub const QUESTION_RING: u32 = 1 << 16;
/// The longest frame with such a question; longer ones go the way of all packets.
pub const MAX_QUESTION: usize = 256;

/// A packet and what became of it. On a backend the flow is that of the packet inside the tunnel.
///
/// In a ring, `before` bytes of the packet as it came follow, and then `after` bytes of the packet as it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    /// When, in ns of the monotonic clock.
    pub time: u64,
    /// Source and destination of the flow, as [`address_key`](super::address_key) gives them; both zero where the
    /// program did not get as far.
    pub source: [u64; 2],
    /// See there.
    pub destination: [u64; 2],
    /// On a backend, who sent it here: the outer source. Else zero.
    pub sender: [u64; 2],
    /// On a backend, whom it is sent on to. Else zero.
    pub next: [u64; 2],
    /// Hash of the flow; 0 on a backend, and where the program did not get as far.
    pub hash: u64,
    /// Port of the client, host order; 0 where there is none.
    pub source_port: u16,
    /// Port of the service, host order; 0 where there is none.
    pub destination_port: u16,
    /// Protocol of the flow.
    pub protocol: u8,
    /// Flags of TCP.
    pub tcp_flags: u8,
    /// The [`Verdict`], by its number.
    pub verdict: u8,
    /// Zero.
    pub reserved: u8,
    /// [`Reasons`].
    pub reasons: u32,
    /// [`Buffer::version`](super::Buffer::version) of the tables.
    pub version: u32,
    /// The VIP, or 0; 0 on a backend.
    pub vip: VipNumber,
    /// The member, or 0; 0 on a backend.
    pub member: MemberNumber,
    /// The interface it came in by.
    pub ifindex: u32,
    /// Bytes of the frame as it came.
    pub length: u32,
    /// Bytes of the frame as it left; 0 if it was dropped.
    pub length_after: u32,
    /// Bytes that follow of the frame as it came.
    pub before: u32,
    /// Bytes that follow of the frame as it left, behind those.
    pub after: u32,
    /// Zero.
    pub reserved_too: u64,
}

/// Which packets one `watch` or `capture` wants: those that match in all that is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Filter {
    /// [`Self::ON`]; 0 = there is no filter here.
    pub flags: u32,
    /// One of so many, 1 = each; never 0 where there is a filter.
    pub sample: u32,
    /// Verdicts, a bit for each number; 0 = all.
    pub verdicts: u64,
    /// Client.
    pub source: [u64; 2],
    /// Destination.
    pub destination: [u64; 2],
    /// Port of the client, host order.
    pub source_port: u16,
    /// Port of the service, host order.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: u16,
    /// The VIP.
    pub vip: VipNumber,
}

impl Filter {
    /// The filter is in force.
    pub const ON: u32 = 1;
}

/// What the observed programs report; the one element of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Observer {
    /// [`Reasons::FLOW_LOG`], as far as they are asked for.
    pub flow_log: u32,
    /// The flow log takes one of so many of the packets that neither begin nor end a flow nor hop; 0 = none.
    pub sample: u32,
    /// Time in ns between records of the flow log at its limit; 0 = no limit.
    pub flow_interval: u64,
    /// Time in ns between records of the filters at their limit; 0 = no limit.
    pub packet_interval: u64,
    /// Bytes to keep of a packet as it came, and as it left each; at most [`MAX_SNAP`], 0 = none.
    pub snap: u32,
    /// How many of the first filters may be in force.
    pub filters: u32,
    /// The filters.
    pub filter: [Filter; MAX_FILTERS],
}

/// How many records one CPU wrote and did not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Written {
    /// Written.
    pub records: u64,
    /// Beyond the limit.
    pub limited: u64,
    /// The ring was full: nobody read it in time.
    pub lost: u64,
}

/// What one CPU counts of what it reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Observed {
    /// Of the flow log.
    pub flows: Written,
    /// Of the filters.
    pub packets: Written,
    /// Of the questions.
    pub questions: Written,
}

/// A frame with a question for the name of the node, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Question {
    /// The interface it came in by.
    pub ifindex: u32,
    /// Bytes that count.
    pub len: u32,
    /// The frame, from its Ethernet header on.
    pub bytes: [u8; MAX_QUESTION],
}

const _: () = {
    assert!(Verdict::COUNT <= u8::MAX as u32 && Verdict::COUNT <= u64::BITS);
    assert!(size_of::<Event>() == 128);
    assert!(size_of::<Filter>() == 56);
    assert!(size_of::<Question>() == 8 + MAX_QUESTION);
    assert!(FLOW_RING.is_power_of_two() && PACKET_RING.is_power_of_two() && QUESTION_RING.is_power_of_two());
};

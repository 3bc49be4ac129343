//! The flow log.

use std::net::SocketAddr;

/// What of flows is remembered, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLog {
    /// One of so many of the packets that neither begin nor end a flow nor hop; 0 = none.
    pub sample: u32,
    /// Records a second at most; at least 1.
    pub per_second: u32,
    /// Bytes of all files at most.
    pub max_bytes: u64,
    /// The collector that is told, too (RFC 7011, over UDP).
    pub ipfix: Option<SocketAddr>,
}

impl Default for FlowLog {
    /// Some 3 million records. At the limit that is ten minutes; nodes that see 100 new flows a second keep half a
    /// day.
    fn default() -> Self {
        FlowLog { sample: 0, per_second: 5000, max_bytes: 1 << 30, ipfix: None }
    }
}

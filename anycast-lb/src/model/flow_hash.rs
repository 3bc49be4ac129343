//! What of a packet decides about its backend.

use std::fmt;

use anycast_lb_common::abi::VipFlags;

/// What the flow hash of a VIP reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlowHash {
    /// Addresses, ports and protocol: every flow for itself.
    #[default]
    FiveTuple,
    /// The client's address alone: all that a client sends to VIPs of one pool has one backend.
    Source,
    /// The client's address and port: all that a client's socket sends has one backend.
    SourceAndPort,
    /// The VIP's port alone: all who send to a port have one backend.
    DestinationPort,
}

impl FlowHash {
    /// All of them.
    pub const ALL: [FlowHash; 4] =
        [FlowHash::FiveTuple, FlowHash::Source, FlowHash::SourceAndPort, FlowHash::DestinationPort];

    /// The word in files and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            FlowHash::FiveTuple => "5-tuple",
            FlowHash::Source => "source",
            FlowHash::SourceAndPort => "source-and-port",
            FlowHash::DestinationPort => "destination-port",
        }
    }

    /// The part of a VIP's flags by which the packet path knows it.
    pub const fn flags(self) -> u16 {
        match self {
            FlowHash::FiveTuple => 0,
            FlowHash::Source => VipFlags::HASH_SOURCE,
            FlowHash::SourceAndPort => VipFlags::HASH_SOURCE | VipFlags::HASH_SOURCE_PORT,
            FlowHash::DestinationPort => VipFlags::HASH_DESTINATION_PORT,
        }
    }
}

impl fmt::Display for FlowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

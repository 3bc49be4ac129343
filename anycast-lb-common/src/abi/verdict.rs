//! The named ways out of the two programs: counters, documentation and `stats` all come from the
//! one table below.

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sent on, by this NIC or another.
    Transmit,
    /// Given to this host's kernel.
    Pass,
    /// Dropped.
    Drop,
}

/// Which program gives the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// The balancer.
    Ingress,
    /// The decapsulator on the backends.
    Backend,
}

macro_rules! verdicts {
    ($( $variant:ident, $name:literal, $program:ident, $kind:ident, $text:literal; )*) => {
        /// A way out of one of the programs; the number is the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum Verdict {
            $( #[doc = $text] $variant, )*
        }

        /// All verdicts in the order of their numbers.
        pub const VERDICTS: &[Verdict] = &[ $( Verdict::$variant, )* ];

        impl Verdict {
            /// How many verdicts there are.
            pub const COUNT: u32 = VERDICTS.len() as u32;

            /// Name in counters and output: lower case with underscores.
            pub const fn name(self) -> &'static str {
                match self { $( Verdict::$variant => $name, )* }
            }

            /// One sentence for people.
            pub const fn explanation(self) -> &'static str {
                match self { $( Verdict::$variant => $text, )* }
            }

            /// Which program gives it.
            pub const fn program(self) -> Program {
                match self { $( Verdict::$variant => Program::$program, )* }
            }

            /// What happens to the packet.
            #[inline(always)]
            pub const fn kind(self) -> Kind {
                match self { $( Verdict::$variant => Kind::$kind, )* }
            }
        }
    };
}

verdicts! {
    ForwardedGue, "forwarded_gue", Ingress, Transmit, "Sent to a backend in GUE.";
    ForwardedIpip, "forwarded_ipip", Ingress, Transmit, "Sent to a backend in IPIP, IP6IP6, 4in6 or 6in4.";
    ForwardedL2, "forwarded_l2", Ingress, Transmit, "Sent to a backend by rewriting the MAC addresses.";
    ForwardedQuic, "forwarded_quic", Ingress, Transmit, "Sent to the backend that a QUIC connection ID names, by the encapsulation of its pool.";
    EchoReply, "echo_reply", Ingress, Transmit, "An ICMP echo request to a VIP, answered here.";
    TooBigAnswered, "too_big_answered", Ingress, Transmit, "Does not fit the path to the backend once encapsulated: the sender was told what does.";
    Identity, "identity", Ingress, Drop, "A question for the name of the node (identity): the daemon answers it.";
    IdentityLimited, "identity_limited", Ingress, Drop, "A question for the name of the node, and the limit on answering is reached, or the daemon does not read.";
    NotIp, "not_ip", Ingress, Pass, "Neither IPv4 nor IPv6: ARP, LLDP and the like.";
    NotVip, "not_vip", Ingress, Pass, "The destination is none of our VIPs and in none of our prefixes.";
    UnmatchedPass, "unmatched_pass", Ingress, Pass, "No service matches and unmatched = \"pass\".";
    UnmatchedService, "unmatched_service", Ingress, Drop, "A VIP's address, but no VIP for this protocol and port.";
    UnmatchedPrefix, "unmatched_prefix", Ingress, Drop, "An address of an announced prefix that is no VIP.";
    TruncatedLink, "truncated_link", Ingress, Drop, "The frame ends inside its Ethernet or VLAN header.";
    MalformedIpv4, "malformed_ipv4", Ingress, Drop, "IPv4 with a wrong version or header length, or cut short.";
    MalformedIpv6, "malformed_ipv6", Ingress, Drop, "IPv6 with a wrong version, or cut short.";
    LengthBeyondFrame, "length_beyond_frame", Ingress, Drop, "The IP length says more than the frame holds.";
    TruncatedTransport, "truncated_transport", Ingress, Drop, "The packet ends inside its TCP, UDP or ICMP header.";
    ExtensionHeaders, "extension_headers", Ingress, Drop, "More IPv6 extension headers than we follow, or one cut short.";
    Fragment, "fragment", Ingress, Drop, "A fragment to a VIP whose first one has not come this way lately, or one of ICMP.";
    IcmpUnsupported, "icmp_unsupported", Ingress, Drop, "ICMP to a VIP that is neither an echo request nor an error.";
    IcmpErrorQuote, "icmp_error_quote", Ingress, Drop, "An ICMP error to a VIP that does not quote enough of a packet from that VIP.";
    IcmpErrorService, "icmp_error_service", Ingress, Drop, "An ICMP error to a VIP about a packet that no VIP of that protocol and port has sent.";
    EchoSource, "echo_source", Ingress, Drop, "An echo request from an address that cannot be answered (multicast, loopback, zero, a VIP), or sent to a group.";
    EmptyTable, "empty_table", Ingress, Drop, "The VIP's pool has no backend for new flows.";
    BadTable, "bad_table", Ingress, Drop, "A table names what does not exist: a fault of the controller.";
    NoNeighbour, "no_neighbour", Ingress, Drop, "The route or the MAC address of the backend is not known.";
    TooBig, "too_big", Ingress, Drop, "Does not fit the path to the backend once encapsulated, and the sender must not be told: an ICMP error, a later fragment, a source that cannot be answered, or what every path should carry.";
    TooBigNoDf, "too_big_no_df", Ingress, Drop, "Does not fit the path to the backend once encapsulated, and does not forbid fragmentation: its sender does not ask for the path MTU.";
    TooBigLimited, "too_big_limited", Ingress, Drop, "Does not fit the path to the backend once encapsulated, and the limit on telling so is reached.";
    NoHeadroom, "no_headroom", Ingress, Drop, "The driver left no room for the outer header, or refused to resize the frame.";

    DecapGue, "decap_gue", Backend, Pass, "GUE taken off, inner packet given to the kernel.";
    DecapLast, "decap_last", Backend, Pass, "No socket here and no backend left to ask: the kernel answers as it would have.";
    DecapIpip, "decap_ipip", Backend, Pass, "Outer IP header taken off, inner packet given to the kernel.";
    BackendNotIp, "backend_not_ip", Backend, Pass, "Neither IPv4 nor IPv6: ARP, LLDP and the like.";
    NotTunnel, "not_tunnel", Backend, Pass, "Not one of our tunnel protocols, or too damaged to tell: the kernel's business.";
    NotForUs, "not_for_us", Backend, Pass, "Tunnelled, but not addressed to this host.";
    OuterFragment, "outer_fragment", Backend, Drop, "The outer packet is a fragment.";
    OuterMalformed, "outer_malformed", Backend, Drop, "The outer IP or UDP header is damaged or its length wrong.";
    Stranger, "stranger", Backend, Drop, "The outer source is not an allowed sender, or an address of this host.";
    GueVersion, "gue_version", Backend, Drop, "GUE of a version other than 0, a control message, or with flags.";
    GueProtocol, "gue_protocol", Backend, Drop, "GUE that carries neither IPv4 nor IPv6.";
    GueLength, "gue_length", Backend, Drop, "The GUE header length does not fit the packet, its private word or its hops.";
    GueType, "gue_type", Backend, Drop, "The private data is of a type that the outer family does not use.";
    GueHops, "gue_hops", Backend, Drop, "The next hop's index is beyond the hop count.";
    Hop, "hop", Backend, Transmit, "No socket here: sent on to the next backend of the list.";
    HopStranger, "hop_stranger", Backend, Drop, "No socket here, and the next backend of the list is a VIP or not an allowed sender.";
    HopLimited, "hop_limited", Backend, Drop, "No socket here, and the limit on packets sent on is reached.";
    HopTtl, "hop_ttl", Backend, Drop, "No socket here, and the outer TTL does not allow another hop.";
    InnerMalformed, "inner_malformed", Backend, Drop, "The inner IP header is damaged.";
    InnerLength, "inner_length", Backend, Drop, "The inner IP length does not fit the outer packet, or the frame could not be shortened to it.";
    InnerNotVip, "inner_not_vip", Backend, Drop, "The inner destination is no VIP of this backend.";
    InnerCe, "inner_ce", Backend, Drop, "Marked congested on the way, but the inner packet knows no ECN (RFC 6040).";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_speak_in_one_style() {
        let names: HashSet<_> = VERDICTS.iter().map(|v| v.name()).collect();
        assert_eq!(names.len(), VERDICTS.len());
        for v in VERDICTS {
            assert!(v.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(v.explanation().ends_with('.'), "{}", v.name());
            assert_eq!(VERDICTS[*v as usize], *v);
        }
    }
}

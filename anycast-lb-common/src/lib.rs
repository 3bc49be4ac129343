//! What both sides of anycast-lb agree on: the bytes in the shared maps ([`abi`]), the packets on
//! the wire ([`wire`]), and the whole packet logic as ordinary Rust.
//!
//! Nothing here needs `std`, an allocator or aya: the eBPF programs are thin glue around
//! [`ingress::run`] and [`backend::run`], and the very same functions are tested, fuzzed and
//! replayed against the kernel on the host.
#![no_std]

#[cfg(any(test, feature = "host"))]
extern crate std;

pub mod abi;
pub mod backend;
pub mod checksum;
mod decap;
mod echo;
mod encap;
mod fragments;
pub mod hash;
mod holding;
mod hop;
mod hops;
#[cfg(any(test, feature = "host"))]
pub mod host;
mod icmp_error;
mod identity;
pub mod ingress;
mod link;
pub mod mss;
mod mtu;
pub mod observe;
pub mod packet;
mod parse;
pub mod probe;
pub mod quic;
mod quote;
pub mod rate;
pub mod relay;
mod sight;
pub mod sockets;
pub mod tables;
pub mod template;
pub mod wire;

/// What became of a packet, and what to count it under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The way out.
    pub verdict: abi::Verdict,
    /// VIP, or 0 where none was found.
    pub vip: abi::VipNumber,
    /// Member that was chosen, or 0.
    pub member: abi::MemberNumber,
    /// Interface to transmit on; 0 = the one it came in by.
    pub ifindex: u32,
    /// Bytes of IP that fit on the way to the member, where something is left to do that depends on it: the
    /// packet was too big and its sender may be told, or its MSS is to be clamped.
    pub fits: u64,
    /// Bytes of the packet behind what was put in front, if its MSS is to be clamped; else 0.
    pub clamped: u64,
}

//! What both sides of anycast-lb agree on: the bytes in the shared maps ([`abi`]), the packets on
//! the wire ([`wire`]), and the whole packet logic as ordinary Rust.
//!
//! Nothing here needs `std`, an allocator or aya: the eBPF programs are thin glue around
//! [`ingress::run`] and [`backend::run`], and the very same functions are tested, fuzzed and
//! replayed against the kernel on the host.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod template;

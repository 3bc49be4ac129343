//! Headers as they lie in a frame, one protocol a file.
//!
//! Every type is `#[repr(C)]` with byte-array fields: alignment 1, network byte order visible in
//! the accessors, no reads that depend on where in memory the frame lies.

pub mod ethernet;
pub mod gue;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod transport;

pub use ethernet::Ethernet;
pub use gue::{Gue, Private};
pub use icmp::IcmpEcho;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use transport::{Ports, Tcp, Udp};

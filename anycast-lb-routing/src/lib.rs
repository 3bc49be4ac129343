//! What routers are told, and what they and RPKI validators tell: a BGP speaker that only announces, an
//! RTR client, a BMP station. Pure state machines, and thin drivers for them.

pub mod announce;
pub mod bgp;
pub mod bmp;
mod keepalive;
pub mod rpki;

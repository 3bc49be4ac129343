//! Hijack watch: routers send what they see by BMP (RFC 7854), and this tells when one of our prefixes, or a part of
//! one, is announced from an AS that is not ours.
//!
//! ```text
//! bytes    a cursor that ends instead of reading on; pure
//! message  BMP messages; pure
//! update   the BGP UPDATE within one; pure
//! watch    what of it concerns us: sightings and alarms; pure
//! station  listens, reads, logs
//! ```
//!
//! Only what is needed is decoded, and by code of our own: a library that refuses an UPDATE as a whole because of an
//! attribute that does not matter here would let a hijacker hide behind a malformed one.

mod bytes;
pub mod message;
pub mod station;
#[cfg(test)]
mod testing;
pub mod update;
pub mod watch;

pub use station::{Settings, Station};
pub use watch::{Own, Sight, Watch};

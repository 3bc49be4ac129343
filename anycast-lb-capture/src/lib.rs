//! Packets as the observed programs report them, for `watch` and `capture`.
//!
//! ```text
//! wanted     which packets somebody wants, and the filter of the programs that says so
//! sight      a packet and what became of it, with names in place of numbers
//! text       that as a line
//! pcapng     that as packets of a file which Wireshark opens
//! merge      what several nodes saw, by time
//! ```
//!
//! All of it is pure.

pub mod hex;
pub mod merge;
pub mod pcapng;
mod printable;
mod sight;
pub mod text;
mod wanted;

pub use printable::printable;
pub use sight::{Frame, Names, Sight, Where};
pub use wanted::{Flow, FlowError, MOST_PACKETS, MOST_SECONDS, Wanted, WantedError};

//! The daemon: one loop that takes events, asks the pure [`core`] what to do, and does it.
//!
//! * [`core`] decides and does no I/O.
//! * [`ports`] are the traits behind which the I/O lies; [`wiring`] fills them with the kernel, the
//!   files, the resolver and the API.
//! * [`run`] is the loop and the handle by which the API reaches it.

pub mod core;
pub mod diff;
mod failure;
pub mod ports;
pub mod run;
#[cfg(test)]
pub mod testing;
pub mod wiring;

pub use failure::{Code, Failure};

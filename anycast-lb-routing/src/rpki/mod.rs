//! RPKI: whether an origin AS may announce a prefix, as validators say over RTR (RFC 6810, RFC 8210).
//!
//! ```text
//! validity  route origin validation over a validator's data (RFC 6811); pure
//! stream    what may come from a validator at all: sizes, times, whole messages
//! client    one session after another with one validator
//! guard     what follows from the answers of all validators: alarms, permissions; pure
//! watch     runs clients, feeds the guard, logs its alarms
//! ```

pub mod client;
pub mod guard;
mod stream;
pub mod validity;
pub mod watch;

pub use guard::{Guard, Mode, Permission, Route};
pub use validity::{Answer, Validity, Vrp, VrpSet};
pub use watch::{Rpki, Validator};

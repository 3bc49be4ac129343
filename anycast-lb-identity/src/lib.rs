//! Which server answered: all nodes share an address, so they are asked for their name.
//!
//! ```text
//! frame       what a question looks like on the wire: link, IP, UDP              (pure)
//! dns         the question and its answer (RFC 4892, RFC 5001)                    (pure)
//! packet      the answer as an IP packet                                          (pure)
//! limit       how often clients are answered                                      (pure)
//! responder   whether a frame is answered, and with what                          (pure)
//! driver      the task that reads questions and sends answers by raw sockets      (I/O)
//! ask         the other side: asks a service who answers, from many ports
//! ```
//!
//! A node answers at most as much as the protocol needs, never twice, and whatever is odd not at all.

pub mod ask;
pub mod dns;
pub mod driver;
mod frame;
mod limit;
mod packet;
pub mod responder;
mod sender;

pub use driver::{Counted, Counts};
pub use responder::{Disclosure, Settings};

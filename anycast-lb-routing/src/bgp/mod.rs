//! A BGP speaker that only announces (RFC 4271).
//!
//! ```text
//! route     what is announced, and how: attributes, communities
//! message   what we say, in bytes
//! decode    what a neighbour says, as far as a speaker that only announces has to understand it
//! session   the state machine of one neighbour: pure
//! socket    what TCP must be told: MD5 signatures, TTL security
//! driver    sockets and timers for it, and all neighbours together
//! ```
//!
//! It opens connections and accepts none, so there are no collisions to resolve. It learns no routes: UPDATEs
//! of a neighbour are counted and skipped. Graceful restart is not offered, on purpose: a session that ends
//! shall take its routes with it, since nobody knows whether the node still serves.

pub mod decode;
pub mod driver;

pub mod message;
pub mod route;
pub mod session;
pub mod socket;

/// Port of BGP.
pub const PORT: u16 = 179;

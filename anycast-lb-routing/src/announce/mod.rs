//! Whether a prefix is announced, and who is told.
//!
//! ```text
//! gate     what is true of a prefix → announced, announced with the marks of a drain, or withdrawn, and why
//! damping  a hold-down that grows with each flap
//! drain    maintenance of the node: marks, a pause, withdrawal
//! machine  the three together, for all prefixes: pure
//! driver   who is told: the BGP speaker, BIRD, a command
//! ```

pub mod bird;
pub mod command;
pub mod damping;
pub mod drain;
pub mod driver;
pub mod gate;
pub mod machine;
mod retry;

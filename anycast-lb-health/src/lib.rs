//! Health checks of backends.
//!
//! ```text
//! machine    one checked backend: when the next probe is due, what its results mean   (pure)
//! schedule   many of them: which are due, how many may be under way                   (pure)
//! probe      what a probe is: TCP, HTTP, DNS, UDP, ICMP, a command                    (I/O)
//! checker    the task that starts what the schedule asks for and tells what changed   (I/O)
//! ```
//!
//! What is pure is told the time and does nothing; what does I/O ends by a deadline and takes a bounded
//! number of bytes, whatever the other side does.

pub mod checker;
pub mod machine;
pub mod probe;
mod reason;
pub mod schedule;

pub use machine::{Change, Health, Timing};
pub use reason::Reason;

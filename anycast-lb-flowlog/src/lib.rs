//! The flow log: which node sent which flow where, and which backend had it.
//!
//! ```text
//! record     what is known of one packet that opened, ended or moved its flow; one line of JSON
//! ```

mod record;
mod stamp;

pub use record::{Event, Events, Program, Record};
pub use stamp::{parse_stamp, stamp};

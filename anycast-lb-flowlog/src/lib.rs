//! The flow log: which node sent which flow where, and which backend had it.
//!
//! ```text
//! record     what is known of one packet that opened, ended or moved its flow; one line of JSON
//! files      the files that lines go to: bounded, named by time                             (I/O)
//! task       takes records from a channel, and never keeps who sends them waiting           (I/O)
//! ipfix      the same for a collector                                                    (pure)
//! filter     which records somebody asks for                                                (pure)
//! search     finds them in files, within bounds of time and size                            (I/O)
//! story      what many nodes say of one flow, put together                                  (pure)
//! ```

mod files;
mod filter;
mod ipfix;
mod record;
mod search;
mod stamp;
mod story;
mod task;

pub use filter::{Endpoint, Filter, FlowKey};
pub use record::{Event, Events, Program, Record};
pub use search::{Bounds, Found, search_directory, search_files};
pub use stamp::{moment, parse_stamp, stamp};
pub use story::{Hop, Served, Sight, Story, tell};
pub use task::{Counts, FlowLog, Settings};

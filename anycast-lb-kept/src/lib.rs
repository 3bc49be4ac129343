//! What a node decided then: the tables that were in force, kept for some days.
//!
//! ```text
//! snapshot   all that decides about a packet, and its bytes                       (pure)
//! store      the files: each snapshot one, each table of a pool one, none twice    (I/O)
//! queue      what waits for the disk, and what is left out if it is too slow       (pure)
//! keeper     the thread that writes them, so that nobody waits for the disk        (I/O)
//! decide     lets the program's own logic decide by a snapshot                     (pure)
//! ```
//!
//! The files hold the keys of the flow hash: nobody else may read them.

mod bytes;
mod decide;
mod keeper;
mod queue;
mod snapshot;
mod store;

pub use decide::{Decider, Decision};
pub use keeper::{Keeper, KeeperCounts};
pub use snapshot::{Beginning, Damaged, Pool, Snapshot, Table, Vip};
pub use store::{Gap, Limits, NotKept, Then, at};

//! Health of backends: which checks a configuration asks for, and what their verdicts mean for a pool.
//! The checks themselves are made by the crate `anycast-lb-health`.

mod place;
mod servable;
mod wanted;

pub use place::{Place, place};
pub use servable::{Servable, servable};
pub use wanted::wanted;

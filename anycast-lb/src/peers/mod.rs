//! What the other hosts say: which ingress nodes list whom, and how many flows a draining backend
//! still holds. Joins and drains wait for it; where a host gives no answer, time decides.
//!
//! [`machine`] decides whom to ask and what the answers mean, without I/O; [`driver`] asks.

pub mod driver;
pub mod machine;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use machine::{Machine, Own, Question, Target};

/// The machine, shared by its driver, the API and who decides.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Mutex<Machine>>);

impl Peers {
    /// The machine, for the moment of a look or an event.
    pub fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

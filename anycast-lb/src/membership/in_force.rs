//! What the data plane is to hold at this moment: the output of the machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Config;

/// A backend of a pool: the pool's name and the backend's address.
pub type Key = (String, IpAddr);

/// Whether a backend is given the flows of the slots it owns. Decided slot by slot after the owners
/// are computed, so that it moves no other slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fitness {
    /// It is.
    #[default]
    Fit,
    /// Its health came back: another one stands in until all nodes list it again.
    Returning,
    /// It is down: another one stands in.
    Failed {
        /// Whether it is listed still, for the flows it has if the alarm is false.
        held: bool,
    },
}

/// What is true of a backend beside its state and weight in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it gets the flows of its slots.
    pub fitness: Fitness,
    /// The larger weight that it is about to have.
    pub coming_weight: Option<u32>,
}

/// Standings that differ from the usual one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings(BTreeMap<Key, Standing>);

impl Standings {
    /// The standing of a backend.
    pub fn of(&self, pool: &str, address: IpAddr) -> Standing {
        if self.0.is_empty() {
            return Standing::default();
        }
        self.0.get(&(pool.to_owned(), address)).copied().unwrap_or_default()
    }

    /// Notes a standing.
    pub fn set(&mut self, key: Key, standing: Standing) {
        if standing != Standing::default() {
            self.0.insert(key, standing);
        }
    }
}

/// What the data plane is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The configuration with states and weights in force; without backends that are gone.
    pub config: Config,
    /// What else is true of its backends.
    pub standings: Standings,
}

impl From<Config> for InForce {
    /// All backends are as configured, and healthy.
    fn from(config: Config) -> Self {
        InForce { config, standings: Standings::default() }
    }
}

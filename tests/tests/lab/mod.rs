//! Stories told in network namespaces of their own.

mod agreement;
mod encapsulation;
mod errors;
mod host;
mod instances;
mod hostile_hops;
mod namespace;
mod neighbour;
mod network_changes;
mod reload;
mod restart;
mod scale;
mod stand;
mod write_back;
mod second_chance;
